"""What a sandbox shows to a worker: the interpreter, the libraries, the lab's modules that it calls, its submission."""

import os
import shutil
import sys
from pathlib import Path

LAB = Path(__file__).resolve().parent.parent
MODULES = (
    *("data_utils.py", "submission_api.py", "inference.py", "model.py"),
    *(
        path.relative_to(LAB).as_posix()
        for folder in ("lab", "checks")
        for path in sorted((LAB / folder).rglob("*.py"))
    ),
    *("ta/__init__.py", "ta/worker.py", "ta/attack.py", "ta/confine.py", "ta/exchange.py"),
)
SYSTEM = ("/etc/ld.so.cache", "/sys/devices/system/cpu")  # where libraries lie, and what the processor can do


def interpreter_paths():
    """Return the folders that Python needs: the virtual environment and the installation under it, each also under
    the name that its links lead to."""
    paths = [Path(sys.prefix), Path(sys.base_prefix)]
    return list(dict.fromkeys(path for short in paths for path in (short, short.resolve())))


def readable_paths(submission, inputs):
    """Return what Landlock leaves readable."""
    libraries = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib"]
    devices = ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"]
    own = ["/proc/self", "/proc/cpuinfo", "/proc/meminfo"]
    paths = [*libraries, *devices, *own, *SYSTEM, *interpreter_paths(), submission, inputs]
    return [*map(str, paths), *(str(LAB / name) for name in MODULES)]


def bubblewrap(submission, inputs, uid, scratch_size):
    """Return the command that a worker's command is appended to.

    uid: if this is root, the user that the worker becomes. Root mounts as root, so that what lies under a private home
    is found, and drops its rights inside; everyone else gets a user namespace.
    """
    binds = {
        **{path: path for path in map(str, interpreter_paths()) if not path.startswith("/usr/") and path != "/usr"},
        **{path: path for path in SYSTEM if os.path.exists(path)},
        **{str(LAB / name): f"/lab/{name}" for name in MODULES},
        str(submission): "/submission",
        str(inputs): "/inputs",
    }
    command = [shutil.which("bwrap") or "bwrap", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    command += ["--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    if uid is None:
        # The worker is process 1 itself: bubblewrap's own would be the same user, and open to it through /proc.
        command += ["--unshare-user", "--disable-userns", "--as-pid-1"]
    else:
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
    # Folders on the way to a mount: bubblewrap's own would be open to root alone.
    parents = {str(parent): None for path in binds.values() for parent in reversed(Path(path).parents)}
    for parent in sorted(parents):
        command += ["--dir", parent]
    command += ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        if os.path.islink(f"/{name}"):
            command += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        elif os.path.isdir(f"/{name}"):
            command += ["--ro-bind", f"/{name}", f"/{name}"]
    for source, target in binds.items():
        command += ["--ro-bind", source, target]
    command += ["--perms", "1777", "--size", str(scratch_size), "--tmpfs", "/scratch"]
    command += ["--remount-ro", "/", "--chdir", "/scratch"]
    if uid is not None:
        command += ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--no-new-privs"]
        command += ["--bounding-set", "-all", "--inh-caps", "-all"]
    return command

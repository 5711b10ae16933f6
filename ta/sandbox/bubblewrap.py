"""Tier A: namespaces and an empty file system, with bubblewrap."""

import os
import shutil
from pathlib import Path

from lab.cli import ROOT
from ta.sandbox.base import Sandbox
from ta.sandbox.mounts import OWN, SYSTEM, interpreter_paths, lab_paths

ROOT_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")


class Bubblewrap(Sandbox):
    """Root mounts as root, so that files under a private home are found, and drops its rights inside; other users get a
    user namespace. Nothing that is mounted can be written to."""

    name = "bubblewrap"
    title = "tier A: bubblewrap and seccomp"

    def confinement(self, step):
        folders = ("/usr", *ROOT_FOLDERS, "/dev", "/lab", "/submission")
        paths = [*folders, *OWN, *SYSTEM, *interpreter_paths()]
        return super().confinement(step) | ({"read": paths} if self.has_landlock else {})

    def command(self, step, worker):
        binds = {
            **{path: path for path in interpreter_paths() if not path.startswith("/usr/") and path != "/usr"},
            **{path: path for path in SYSTEM if os.path.exists(path)},
            **{str(ROOT / name): f"/lab/{name}" for name in lab_paths()},
            **{str(path): f"/submission/{path.name}" for path in step.files},
        }
        command = [shutil.which("bwrap") or "bwrap", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
        command += ["--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
        if step.uid is None:
            # The worker itself is process 1: bubblewrap's would have the same user, and be open to it through /proc.
            command += ["--unshare-user", "--disable-userns", "--as-pid-1"]
        else:
            command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
        # Parent folders of the mounts: those that bubblewrap creates would be readable by root only.
        parents = {str(parent): None for path in binds.values() for parent in reversed(Path(path).parents)}
        for parent in sorted(parents):
            command += ["--dir", parent]
        command += ["--dir", "/submission", "--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
        for path in ROOT_FOLDERS:
            if os.path.islink(path):
                command += ["--symlink", os.readlink(path), path]
            elif os.path.isdir(path):
                command += ["--ro-bind", path, path]
        for source, target in binds.items():
            command += ["--ro-bind", source, target]
        command += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]
        if step.uid is not None:
            command += ["setpriv", "--reuid", str(step.uid), "--regid", str(step.uid), "--clear-groups"]
            command += ["--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all"]
        return [*command, *worker]

"""The strongest tier: a separate kernel for each worker, with gVisor's runsc (https://gvisor.dev).

A program answers a worker's system calls, and almost none of them reach this machine's kernel: the worker sees no
locks, page faults or processes of others. Each step takes a few seconds longer. The grader has to be root.
"""

import contextlib
import json
import os
import shutil
import subprocess
from functools import cache

import psutil

from lab.cli import ROOT
from ta.sandbox.base import MAX_FILES, Sandbox, clean_environment
from ta.sandbox.mounts import SYSTEM, interpreter_paths, lab_paths


class GVisor(Sandbox):
    name = "gvisor"
    title = "gVisor: a kernel of its own and seccomp, the strongest tier"
    max_threads = 1024  # many of them belong to its kernel
    overhead = 2**29  # its kernel, and its cache of library files

    def confinement(self, step):
        return super().confinement(step) | {"tasks": None}  # its kernel does not count them; the watchdog does

    def command(self, step, worker):
        if shutil.which("runsc") is None:
            raise OSError("runsc is not installed: apt-get install runsc")
        if step.uid is None:
            raise OSError("runsc needs root: run this with sudo")
        bundle = step.folder / "bundle"
        (bundle / "rootfs").mkdir(parents=True)
        (bundle / "config.json").write_text(json.dumps(self.bundle(step, worker)))
        return [*self.runsc(step), "run", "--bundle", str(bundle), step.folder.name]

    def runsc(self, step):
        options = [f"--platform={platform()}", "--network=none", "--ignore-cgroups", f"--root={step.folder / 'state'}"]
        return [shutil.which("runsc"), *options]

    def bundle(self, step, worker):
        """Return the configuration of an OCI bundle (https://github.com/opencontainers/runtime-spec)."""
        binds = {
            **{path: path for path in ("/usr", "/bin", "/sbin", "/lib", "/lib64", *interpreter_paths(), *SYSTEM)},
            **{str(ROOT / name): f"/lab/{name}" for name in lab_paths()},
            **{str(path): f"/submission/{path.name}" for path in step.files},
        }
        mounts = [{"destination": "/proc", "type": "proc", "source": "proc"}]
        mounts += [
            {"destination": target, "type": "bind", "source": os.path.realpath(source), "options": ["ro", "rbind"]}
            for source, target in binds.items()
            if os.path.exists(source)
        ]
        process = {
            "user": {"uid": step.uid, "gid": step.uid},
            "args": worker,
            "env": [f"{name}={value}" for name, value in clean_environment().items()],
            "cwd": "/",
            "capabilities": {},
            "noNewPrivileges": True,
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": MAX_FILES, "soft": MAX_FILES}],
        }
        return {
            "ociVersion": "1.0.2",
            "process": process,
            "root": {"path": "rootfs", "readonly": True},
            "hostname": "worker",
            "mounts": mounts,
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
        }

    def memory_of(self, process):
        """The worker's pages are shared between gVisor's processes: each counts its proportional share."""
        with contextlib.suppress(psutil.Error):
            return process.memory_full_info().pss
        return 0

    def end(self, step):
        state = step.folder / "state"
        if state.exists():
            command = [*self.runsc(step), "delete", "--force", step.folder.name]
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)


@cache
def platform():
    """Return the fastest of gVisor's platforms that needs no virtual machine."""
    done = subprocess.run(["runsc", "flags"], capture_output=True, text=True)
    return "systrap" if "systrap" in done.stdout + done.stderr else "ptrace"

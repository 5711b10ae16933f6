"""Tier B: Landlock's rules for files and the network, on machines that allow no namespaces."""

import os

from lab.cli import ROOT
from ta.sandbox.base import Sandbox
from ta.sandbox.confine import SCOPING, landlock_version
from ta.sandbox.mounts import OWN, SYSTEM, WORKER, interpreter_paths, lab_paths

LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


class Landlock(Sandbox):
    name = "landlock"
    title = "tier B: Landlock and seccomp, no namespaces"
    sees_names = True
    worker_path = str(ROOT / WORKER)

    @classmethod
    def ways_to_drop(cls, drop_uid):
        return list(dict.fromkeys([drop_uid, False]))

    @property
    def alone(self):
        """On an older kernel, a worker that runs as the grader's own user may send signals like the grader."""
        return not self.drop_uid and landlock_version() < SCOPING

    def command(self, step, worker):
        return worker

    def inside(self, step):
        return str(step.submission)

    def confinement(self, step):
        lab = [str(ROOT / name) for name in lab_paths()]
        paths = [*LIBRARIES, *DEVICES, *OWN, *SYSTEM, *interpreter_paths(), *lab, *map(str, step.files)]
        own = {"read": paths, "uid": step.uid, "parent": os.getpid()}
        # Processes are counted per user, and the grader's own user may already have many.
        return super().confinement(step) | own | ({"tasks": None} if step.uid is None else {})

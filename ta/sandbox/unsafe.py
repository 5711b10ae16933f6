"""Tier C: no isolation at all, for code that a person has read."""

from lab.cli import ROOT
from ta.sandbox.base import Sandbox
from ta.sandbox.mounts import WORKER


class Unsafe(Sandbox):
    name = "none"
    title = "tier C: NO ISOLATION (--unsafe-no-sandbox)"
    alone = True
    sees_names = True
    worker_path = str(ROOT / WORKER)

    def command(self, step, worker):
        return worker

    def inside(self, step):
        return str(step.submission)

    def confinement(self, step):
        return None

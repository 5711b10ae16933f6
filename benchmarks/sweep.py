"""The throughput of a sweep with two jobs at the same time compared with one, on the demo MLP."""

import os
import statistics
import subprocess
import sys
import time
from tempfile import TemporaryDirectory

from lab.cli import ROOT

ROUNDS = 2
KNOBS = {"SUBMISSION": "examples/demo_mlp.py", "TASKS": "VAEwolabel", "LATENT_DIMS": "10 20", "EPOCHS": "1"}


def seconds_of(jobs):
    """Return the seconds for a sweep of two points, from the command to the summary."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sweep", f"JOBS={jobs}", "--out", folder]
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, env=os.environ | KNOBS, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def bench():
    """Return one measurement, as a list of {name, value, bar, passed}; the two ways take turns."""
    ratio = statistics.median([seconds_of(1) / seconds_of(2) for _ in range(ROUNDS)])
    name = "sweep of two points of the demo MLP, JOBS=2, times the throughput of JOBS=1"
    return [{"name": name, "value": ratio, "bar": 1.3, "passed": ratio >= 1.3}]

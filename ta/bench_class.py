"""How fast a class is graded, honest MLPs on 10,000 pictures in the sandbox that this machine offers, and how fast its
pages are made."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ta.report import write_pages
from tests.graded_class import make_class
from tests.hostile import train_honest

ROOT = Path(__file__).resolve().parent.parent
STUDENTS = 12  # that are graded ...
CLASS = 40  # ... for a class of so many
MOST_CPU = 15.0  # seconds a student, imports included
MOST_WALL = 480.0  # seconds a class
PAGES = 300  # students of a class whose pages are made
MOST_PAGES = 20.0  # seconds
MOST_SIZE = 30.0  # MB


def bench():
    """Return [{name, value, bar, passed}, ...]."""
    with np.load(ROOT / "dataset" / "valid.npz") as split:
        images, labels = split["images"], split["labels"]
    return [*bench_grading(images, labels), *bench_pages(images)]


def bench_pages(images):
    """Make the pages of PAGES results."""
    with tempfile.TemporaryDirectory() as name:
        make_class(Path(name), images, PAGES)
        start = time.perf_counter()
        write_pages(Path(name))
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in Path(name).rglob("*.html")) / 2**20
    return [
        row(f"seconds for the pages of {PAGES} students", seconds, MOST_PAGES),
        row(f"MB of the pages of {PAGES} students", size, MOST_SIZE),
    ]


def bench_grading(images, labels):
    """Grade STUDENTS honest submissions with --jobs 2."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train_honest(folder / "honest", images[:700], labels[:700])
        for number in range(STUDENTS):
            shutil.copytree(folder / "honest", folder / "class" / f"student_{number}")
        command = [sys.executable, "-m", "ta", "grade", folder / "class", "--test_data", ROOT / "dataset" / "valid.npz"]
        start, before = time.perf_counter(), os.times()
        subprocess.run([*map(str, command), "--out", str(folder / "out"), "--jobs", "2"], cwd=ROOT, check=True)
        wall, after = time.perf_counter() - start, os.times()
        results = [json.loads(path.read_text()) for path in (folder / "out" / "results").glob("*.json")]
    assert all(result["status"] == "ok" for result in results), results
    # The workers end inside a process namespace of their own, so their time is what the watchdog saw, not the shell.
    grader = after.children_user + after.children_system - before.children_user - before.children_system
    cpu = (grader + sum(result["worker_cpu_seconds"] for result in results)) / STUDENTS
    scaled = wall * CLASS / STUDENTS
    return [
        row(f"CPU seconds a student ({results[0]['isolation']})", cpu, MOST_CPU),
        row(f"seconds for {CLASS} students with --jobs 2 (scaled from {STUDENTS})", scaled, MOST_WALL),
    ]


def row(name, value, bar):
    return {"name": name, "value": round(value, 1), "bar": bar, "passed": value <= bar}


if __name__ == "__main__":
    for line in bench():
        print(line)

"""What the sandbox costs: a class is graded, honest MLPs on 10,000 pictures, and one of them by the student's own
commands, in the same run. And how fast a class's pages are made."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from grade import CAPS
from ta.report import write_pages
from tests.graded_class import make_class
from tests.hostile import train_honest

ROOT = Path(__file__).resolve().parent.parent
STUDENTS = 8
MOST_CPU = 1.6  # times the CPU time of the same without a sandbox
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
        gradebook, _ = make_class(Path(name), images, PAGES)
        start = time.perf_counter()
        write_pages(gradebook, gradebook.rows())
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in Path(name).rglob("*.html")) / 2**20
    return [
        row(f"seconds for the pages of {PAGES} students", seconds, MOST_PAGES),
        row(f"MB of the pages of {PAGES} students", size, MOST_SIZE),
    ]


def bench_grading(images, labels):
    """Grade STUDENTS copies of an honest submission, and the same submission without a sandbox."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train_honest(folder / "honest", images[:700], labels[:700])
        for number in range(STUDENTS):
            shutil.copytree(folder / "honest", folder / "class" / f"student_{number}")
        test_data = ROOT / "dataset" / "valid.npz"
        grader = cpu_seconds(
            *("-m", "ta", "grade", folder / "class", "--test_data", test_data, "--out", folder / "out", "--jobs", 2)
        )
        results = [json.loads(path.read_text()) for path in (folder / "out" / "results").glob("*.json")]
        alone = cpu_alone(folder / "honest", test_data, folder)
    assert len(results) == STUDENTS and all(result["status"] == "ok" for result in results), results
    # The workers end inside a process namespace of their own, so their time is what the watchdog saw, not the shell.
    in_class = (grader + sum(result["worker_cpu_seconds"] for result in results)) / STUDENTS
    name = f"CPU time of grading in a class, times check + inference + grade ({results[0]['isolation']})"
    return [row(name, in_class / alone, MOST_CPU)]


def cpu_alone(submission, test_data, folder):
    """Return the CPU seconds of check.py, inference.py for both tasks, and grade.py."""
    total = cpu_seconds("check.py", "--submission", submission / "submission.py", may_fail=True)
    outputs = []
    for task in CAPS:
        outputs += [f"--{task}_output_dir", folder / task]
        total += cpu_seconds(
            *("inference.py", "--task", task, "--checkpoint_path", submission / f"{task}.pth"),
            *("--data_path", test_data, "--save_dir", folder / task),
        )
    return total + cpu_seconds("grade.py", "--test_data_path", test_data, *outputs, "--out", folder / "grade.json")


def cpu_seconds(*command, may_fail=False):
    """Run a command of the lab; return the CPU seconds of it and of what it waited for."""
    before = os.times()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=not may_fail, env=environment)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def row(name, value, bar):
    return {"name": name, "value": round(value, 2), "bar": bar, "passed": value <= bar}


if __name__ == "__main__":
    for line in bench():
        print(line)

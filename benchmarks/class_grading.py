"""The overhead of the sandbox: a class of demo MLPs is graded on 10,000 pictures, and one of them with the student's
own commands, in the same run. Also the time for making a class's pages.

    python -m benchmarks.class_grading
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab.cli import ROOT
from lab.files import read_sealed, write_sealed
from lab.tasks import TASKS
from ta.gradebook import Gradebook
from ta.report import write_pages
from ta.submissions import Student

STUDENTS = 8
MAX_CPU = 1.6  # times the CPU time of the same without a sandbox
PAGES = 300  # students added to that class before its pages are made
MAX_SECONDS = 20.0
MAX_SIZE = 30.0  # MB


def bench():
    """Return [{name, value, bar, passed}, ...]."""
    test_data = ROOT / "dataset" / "valid.npz"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train_honest(folder)
        for number in range(STUDENTS):
            shutil.copytree(folder / "honest", folder / "class" / f"student_{number}")
        grader = cpu_seconds(
            *("-m", "ta", "grade", folder / "class", "--data", test_data, "--out", folder / "out", "--jobs", 2)
        )
        results = [json.loads(path.read_text()) for path in (folder / "out" / "results").glob("*.json")]
        alone = cpu_alone(folder / "honest", test_data, folder)
        assert len(results) == STUDENTS and all(result["status"] == "ok" for result in results), results
        # The workers end inside their own process namespace, so their time is the one measured by the watchdog.
        in_class = (grader + sum(result["worker_cpu_seconds"] for result in results)) / STUDENTS
        name = f"CPU time of grading in a class, times check + inference + grade ({results[0]['isolation']})"
        return [row(name, in_class / alone, MAX_CPU), *bench_pages(folder / "out")]


def train_honest(folder):
    """Train both models of the demo MLP for one epoch, and make the submission honest/."""
    (folder / "honest").mkdir()
    demo = ROOT / "examples" / "demo_mlp.py"
    shutil.copy(demo, folder / "honest" / "submission.py")
    for task in TASKS:
        run = folder / "runs" / task
        cpu_seconds("train.py", "--task", task, "--submission", demo, "--epochs", 1, "--save_dir", run)
        shutil.copy(run / "best.pth", folder / "honest" / f"{task}.pth")


def bench_pages(folder):
    """Make the pages of PAGES students, whose results are copies of one result in a graded class."""
    gradebook = Gradebook(folder)
    path = min((folder / "results").glob("*.json"))
    result = read_sealed(path)
    students = [Student(f"folder s{number:04}", [], f"s{number:04}") for number in range(PAGES)]
    gradebook.register(students, folder, [])
    for student in students:
        write_sealed(folder / "results" / f"{student.id}.json", result | {"id": student.id})
        shutil.copy(path.with_suffix(".npz"), folder / "results" / f"{student.id}.npz")
    start = time.perf_counter()
    write_pages(gradebook, gradebook.rows())
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in folder.rglob("*.html")) / 2**20
    return [
        row(f"seconds for the pages of {PAGES} students", seconds, MAX_SECONDS),
        row(f"MB of the pages of {PAGES} students", size, MAX_SIZE),
    ]


def cpu_alone(submission, test_data, folder):
    """Return the CPU seconds of check.py, inference.py for both tasks, and grade.py."""
    total = cpu_seconds("check.py", "--submission", submission / "submission.py", may_fail=True)
    outputs = []
    for task in TASKS:
        outputs += [f"--{task}_output_dir", folder / task]
        total += cpu_seconds(
            *("inference.py", "--task", task, "--checkpoint_path", submission / f"{task}.pth"),
            *("--data", test_data, "--save_dir", folder / task),
        )
    return total + cpu_seconds("grade.py", "--data", test_data, *outputs, "--out", folder / "grade.json")


def cpu_seconds(*command, may_fail=False):
    """Run a command of the lab; return the CPU seconds that it and its children used."""
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

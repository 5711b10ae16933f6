"""Grade a class of submissions that nobody trusts on a test set that nobody has seen.

    python -m ta grade SUBMISSIONS --test_data hidden.npz --out grades/ --jobs 2

SUBMISSIONS holds a folder or a zip for each student. Writes results/ID.json as soon as a student is done, then
grades.csv, report.html and feedback/. Called again, it grades only what is missing or has changed. With --slurm the
students are jobs of a cluster, --jobs at a time.
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import queue
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import psutil
import skimage
import torch
from tqdm import tqdm

from data_utils import load_split
from grade import CAPS
from lab.cli import LabError, number
from lab.files import write_whole
from lab.slurm import Cluster
from ta.collect import CollectError, collect, find_students
from ta.report import write_pages
from ta.sandbox.base import Limits
from ta.sandbox.choose import ISOLATIONS, choose_sandbox
from ta.sandbox.mounts import LAB, lab_paths
from ta.sandbox.wire import clean
from ta.student import Grading, HiddenSet
from ta.table import overall_status, read_result, read_table, read_theory, write_grades

UNITS = {"M": 2**20, "G": 2**30}
SMALLEST_MEMORY = 2**29  # torch alone needs 300 MB
GRADER_MEMORY = 2**31  # bytes that a Slurm job needs beside its worker: the metrics, and torch
PRESENTATION = ("__main__.py", "table.py", "report.py", "slurm.py")  # no result depends on them


def size(text):
    """Parse a size of memory: 4G, 1500M."""
    match = re.fullmatch(r"([0-9.]+)([MG])", text.upper())
    if not match or float(match[1]) * UNITS[match[2]] < SMALLEST_MEMORY:
        raise argparse.ArgumentTypeError(f"expected a size like 4G or 1500M, of at least 512M, got {text!r}")
    return int(float(match[1]) * UNITS[match[2]])


def add_arguments(parser):
    parser.add_argument("submissions", type=Path, help="a folder with a folder or zip for each student")
    parser.add_argument("--out", type=Path, required=True, help="the folder for results, grades.csv and the pages")
    parser.add_argument("--jobs", type=number(int, 1, below=1e9), default=1, help="students at a time")
    add_grading_arguments(parser)
    parser.add_argument("--only", action="append", metavar="ID", help="grade only this student (may be repeated)")
    parser.add_argument("--force", action="store_true", help="grade again what is already graded")
    parser.add_argument("--theory", type=Path, help="CSV with id and theory (0 to 40), merged into grades.csv")
    parser.add_argument("--roster", type=Path, help="CSV with id and any other columns, which go into grades.csv")
    parser.add_argument(
        "--slurm", action="store_true", help="grade on a Slurm cluster, called where jobs are submitted"
    )
    parser.add_argument("--sbatch_args", default="", help='further arguments for sbatch: "--partition=cpu --time=10"')
    parser.add_argument("--results_only", action="store_true", help="write results/ only, as the cluster's jobs do")


def add_grading_arguments(parser):
    """Add the arguments that say on what, and within which limits, a submission is graded."""
    parser.add_argument("--test_data", type=Path, required=True, help="of python -m ta hidden")
    parser.add_argument("--timeout", type=number(float, 1, below=1e9), default=120, help="seconds that a step may take")
    parser.add_argument("--memory", type=size, default=size("4G"), help="memory that a step may use")
    parser.add_argument(
        "--isolation", choices=ISOLATIONS, help="default: bubblewrap, else Landlock; gvisor is stronger"
    )
    parser.add_argument(
        "--unsafe-no-sandbox", action="store_true", help="where no sandbox holds: run it all unprotected"
    )


def main(args):
    roster = read_table(args.roster, []) if args.roster else None
    theory = read_theory(args.theory) if args.theory else None
    hidden = load_hidden(args.test_data)
    students = find_students(args.submissions)
    chosen = choose_students(students, args.only)
    roster, theory = (table and by_student(table, students) for table in (roster, theory))
    if args.out.resolve() == args.submissions.resolve():
        raise LabError(f"--out {args.out} is where the submissions are: give a folder of its own.")
    unknown = sorted(set(theory or ()) - {student.id for student in students} - set(roster or ()))
    if unknown:
        print(f"note: --theory has points for {unknown}, who handed in nothing and are on no roster", file=sys.stderr)
    (args.out / "results").mkdir(parents=True, exist_ok=True)
    grader = ClassGrader(hidden, args.out / "results", args.timeout, args.memory, args.force)
    try:
        if args.slurm:
            grader.grade_on_cluster(chosen, args)
        else:
            remove_leftovers()
            real = (args.test_data, args.submissions, args.out)
            limits = Limits(args.timeout, args.memory)
            sandbox = choose_sandbox(limits, args.isolation, args.unsafe_no_sandbox, real)
            print(f"isolation: {sandbox.title}", flush=True)
            grader.grade(chosen, args.jobs, sandbox)
    finally:
        if not args.results_only:
            stored = {student.id: read_result(args.out / "results", student.id) for student in students}
            results = {name: result for name, result in stored.items() if result} | grader.results
            write_grades(args.out / "grades.csv", results, roster, theory, [student.id for student in students])
    if not args.results_only:
        write_pages(args.out)
    counts = Counter(grader.results[student.id]["status"] for student in chosen)
    print(f"students: {len(chosen)}: " + ", ".join(f"{count} {status}" for status, count in counts.most_common()))
    print(f"written to {args.out / ('results' if args.results_only else 'grades.csv')}")
    if counts["infra_error"]:
        raise LabError("infra_error is a fault of this machine, not of a submission: mend it and call this again.")


def by_student(table, students):
    """Return a table's rows by the students' ids, where it names them as their folder or zip does."""
    names = {student.path.name.removesuffix(".zip"): student.id for student in students}
    return {names.get(name, name): row for name, row in table.items()}


def choose_students(students, only):
    """Return the students that --only names, all of them without it."""
    unknown = sorted(set(only or ()) - {student.id for student in students})
    if unknown:
        raise LabError(
            f"--only {unknown[0]}: there is no such submission. The first are {[s.id for s in students[:5]]}."
        )
    return [student for student in students if not only or student.id in only]


def load_hidden(path):
    """Return the HiddenSet of a split; one that `ta hidden` did not write generates from inference.py's seed."""
    images, labels = load_split(path)
    with np.load(path, allow_pickle=False) as arrays:
        try:
            gen_seed = int(arrays["gen_seed"]) if "gen_seed" in arrays.files else 0
        except (ValueError, TypeError) as error:
            raise LabError(f"{path}: expected gen_seed to be one whole number ({error}).") from error
    return HiddenSet(images, labels, gen_seed, hashlib.sha256(path.read_bytes()).hexdigest())


def remove_leftovers():
    """Remove the temporary folders of graders that were killed."""
    for folder in Path(tempfile.gettempdir()).glob("ta-*-*"):
        pid = re.fullmatch(r"ta-([0-9]{1,7})-\w+", folder.name)
        with contextlib.suppress(OSError):
            if pid and folder.lstat().st_uid == os.geteuid() and not psutil.pid_exists(int(pid[1])):
                shutil.rmtree(folder, ignore_errors=True)


def grader_version():
    """Return a hash of everything that a result depends on beside the submission and the test set."""
    loaded = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    files = {Path(file) for file in loaded if file}
    for path in (LAB / name for name in lab_paths()):
        files |= set(path.rglob("*.py")) if path.is_dir() else {path}
    folders = [LAB / name for name in (".", "lab", "checks", "ta", "ta/sandbox")]
    own = sorted(
        path
        for path in files
        if (path.parent in folders or LAB / "checks" in path.parents) and path.name not in PRESENTATION
    )
    digest = hashlib.sha256(json.dumps(versions()).encode())
    for path in own:
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def versions():
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scikit-image": skimage.__version__,
    }


class ClassGrader:
    """Grades students, several at a time, each into a file of its own in a folder.

    hidden: the HiddenSet; timeout, memory: the limits of a step, which the sandbox keeps; force: believe no result that
    is there already.
    """

    def __init__(self, hidden, folder, timeout, memory, force=False):
        self.hidden, self.folder, self.force = hidden, folder, force
        self.limits = {"timeout": timeout, "memory": memory}
        self.sandbox = None  # where this process grades itself
        self.version = grader_version()
        self.results = {}  # of this call
        self.slots = queue.SimpleQueue()

    def grade(self, students, jobs, sandbox):
        """Grade students with a progress bar; Ctrl-C ends the workers and loses the students in flight only."""
        self.sandbox = sandbox
        for slot in range(min(jobs, len(students))):
            self.slots.put(slot)
        failures = Counter()
        bar = tqdm(total=len(students), unit="student", smoothing=0.1)
        with bar, ThreadPoolExecutor(min(jobs, len(students))) as executor:
            futures = [executor.submit(self.grade_one, student) for student in students]
            try:
                for future in as_completed(futures):
                    result = future.result()
                    self.results[result["id"]] = result
                    for task, figures in result["tasks"].items():
                        if figures["status"] != "ok":
                            failures[figures["status"]] += 1
                            first_line = figures["message"].partition("\n")[0][:120]
                            bar.write(f"{result['id']}: {task} {figures['status']}: {first_line}", file=sys.stderr)
                    bar.set_postfix(failures)
                    bar.update()
            finally:
                self.sandbox.stop.set()
                executor.shutdown(cancel_futures=True)

    def grade_one(self, student):
        """Return a student's result, from its file if that is still right. Whatever fails here is a fault of ours, and
        costs this student's result only."""
        slot = self.slots.get()
        try:
            with tempfile.TemporaryDirectory(prefix=f"ta-{os.getpid()}-") as name:
                return self.grade_files(student, Path(name), slot)
        except Exception as error:
            if self.sandbox.stop.is_set():
                raise
            result = self.result(student, infra_error(f"{type(error).__name__}: {error}"), 0.0)
            with contextlib.suppress(OSError):
                self.store(result, {})
            return result
        finally:
            self.slots.put(slot)

    def grade_files(self, student, folder, slot):
        start = time.monotonic()
        files = self.collect(student, folder)
        key = self.key(folder, files)
        old = self.stored_result(student, key)
        if old and old["isolation"] == self.sandbox.title:
            return old
        self.sandbox.hand_over(folder, slot)
        grading = Grading(student.id, folder, files, self.sandbox, self.hidden, slot)
        tasks = grading.run()
        result = self.result(student, tasks, time.monotonic() - start, key, grading.steps.cpu_seconds)
        self.store(result, grading.pictures)
        return result

    def grade_on_cluster(self, students, args):
        """Grade students as Slurm jobs: those that have no right result yet and are not in the queue already."""
        command = [sys.executable, "-m", "ta", "grade", args.submissions.resolve(), "--out", args.out.resolve()]
        command += ["--test_data", args.test_data.resolve(), "--results_only"]
        command += ["--timeout", args.timeout, "--memory", f"{args.memory >> 20}M"]
        command += ["--isolation", args.isolation] if args.isolation else []
        command += [f"--{flag}" for flag in ("force", "unsafe-no-sandbox") if getattr(args, flag.replace("-", "_"))]
        memory = (args.memory + GRADER_MEMORY) >> 20
        cluster = Cluster(args.out / "slurm", "students", [*command, "--only="], args.jobs, args.sbatch_args, memory)
        graded, before = set(), {}
        with cluster.submitting() as queued:
            for student in tqdm(students, desc="looking for results", unit="student", leave=False):
                if student.id not in queued and self.is_graded(student):
                    graded.add(student.id)
                elif student.id not in queued:
                    before[student.id] = self.time_of_result(student)
            cluster.submit(list(before))
        cluster.wait({student.id for student in students})
        self.force = False  # what the jobs wrote is new
        lost = infra_error(
            "its Slurm job ended without a result (cancelled, killed, out of time or of memory?): its output is in "
            f"{cluster.folder}, and the same command submits it again"
        )
        for student in students:
            result = read_result(self.folder, student.id)
            is_new = result and self.time_of_result(student) != before.get(student.id)
            is_right = is_new and (result["status"] == "infra_error" or self.is_graded(student))
            known = student.id in graded or is_right
            self.results[student.id] = result if known else self.result(student, lost, 0.0)

    def time_of_result(self, student):
        """Return when a student's result was written, None if there is none."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / f"{student.id}.json").stat().st_mtime_ns

    def is_graded(self, student):
        """Return whether a student's stored result is still right."""
        with contextlib.suppress(OSError), tempfile.TemporaryDirectory(prefix=f"ta-{os.getpid()}-") as name:
            key = self.key(Path(name), self.collect(student, Path(name)))
            return self.stored_result(student, key) is not None
        return False

    def collect(self, student, folder):
        """Copy a student's files into a folder; return {name: None, or what is wrong with it}."""
        try:
            return collect(student, folder)
        except CollectError as error:
            return {"submission.py": str(error)}

    def stored_result(self, student, key):
        """Return a student's stored result if it has this key and nothing speaks for another try, else None."""
        old = None if self.force else read_result(self.folder, student.id)
        has_pictures = (self.folder / f"{student.id}.npz").is_file()
        is_right = old and has_pictures and old.get("key") == key and old["status"] != "infra_error"
        if is_right and not self.could_be_more(old):
            return old
        return None

    def store(self, result, pictures):
        """Write a student's pictures, then the result, each whole or not at all."""
        with write_whole(self.folder / f"{result['id']}.npz") as temporary:
            np.savez_compressed(temporary, **pictures)
        with write_whole(self.folder / f"{result['id']}.json") as temporary:
            temporary.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def key(self, folder, files):
        """Return a hash of all that a result depends on."""
        digest = hashlib.sha256(f"{self.hidden.digest} {self.version}".encode())
        for name, problem in sorted(files.items()):
            content = b"" if problem else (folder / name).read_bytes()
            digest.update(f"{name} {problem} ".encode(errors="replace") + hashlib.sha256(content).digest())
        return digest.hexdigest()

    def could_be_more(self, result):
        """Return whether a student failed for limits that are wider now."""
        statuses = {task["status"] for task in result["tasks"].values()}
        limits = result["limits"]
        return any(name in statuses and self.limits[name] > limits[name] for name in ("timeout", "memory"))

    def result(self, student, tasks, seconds, key="", cpu_seconds=0.0):
        """Return a student's result as plain values."""
        return {
            "id": student.id,
            "submission": clean(student.path.name),
            "status": overall_status(tasks),
            "isolation": self.sandbox.title if self.sandbox else "",
            "tasks": tasks,
            "seconds": round(seconds, 2),
            "worker_cpu_seconds": round(cpu_seconds, 2),
            "limits": self.limits,
            "key": key,
            "grader_version": self.version,
            "versions": versions(),
        }


def infra_error(message):
    """Return the tasks of a student whom a fault of this machine kept from being graded."""
    task = {"status": "infra_error", "message": clean(message)}
    return {name: task | {"private": True, "score": None, "completion": None, "checks": []} for name in CAPS}

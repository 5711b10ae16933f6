"""The loop over the students of a class: who is graded, by which of several graders, and what is stored."""

import contextlib
import json
import os
import platform
import queue
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lab.archives import CollectError
from lab.cli import versions
from lab.files import sha256, write_sealed, write_whole
from lab.tasks import TASKS
from ta.collect import Collected, collect
from ta.gradebook import KNOWN, locked, read_result
from ta.sandbox.wire import clean
from ta.student import PHASES, Grading, stored_phases
from ta.table import overall_status
from ta.version import grader_version

POLL = 0.5  # seconds between two looks at a student whom another grader has claimed
TITLES = {"public": "checks and generation", "encode": "encoding", "decode": "decoding"}


class ClassGrader:
    """Grades students, several at the same time, each into a file of their own in a folder.

    hidden: the HiddenSet; timeout, memory: the limits per step, which the sandbox enforces; force: ignore existing
    results; accuracy_gate: as in grade.py.
    """

    def __init__(self, hidden, folder, timeout, memory, force=False, accuracy_gate=None):
        self.hidden, self.folder, self.force, self.gate = hidden, folder, force, accuracy_gate
        self.limits = {"timeout": timeout, "memory": memory}
        self.sandbox = None  # set if this process grades itself
        self.version = grader_version()
        self.results = {}  # of this call
        self.slots = queue.SimpleQueue()
        self.seconds = Counter()  # of each student, in this call
        self.began = time.time_ns()
        for name in (".claims", ".phases"):
            (folder / name).mkdir(exist_ok=True)

    def grade(self, students, jobs, sandbox, phases=PHASES):
        """Take a class through the phases, everybody through one before the next begins, so that no code of the class
        has seen a hidden picture while anything that students may read is still being written.

        Ctrl-C ends the workers; whatever was stored by then is kept.
        """
        self.sandbox = sandbox
        for slot in range(min(jobs, len(students))):
            self.slots.put(slot)
        with ThreadPoolExecutor(min(jobs, len(students))) as executor:
            try:
                for phase in phases:
                    if students:
                        students = self.go_through(phase, students, executor)
            finally:
                self.sandbox.stop.set()
                executor.shutdown(cancel_futures=True)

    def go_through(self, phase, students, executor):
        """Take students through one phase, with a progress bar; return those who are not done yet."""
        further, failures = [], Counter()
        with tqdm(total=len(students), desc=TITLES[phase], unit="student", smoothing=0.1) as bar:
            for wait in (False, True):  # first those whom no other grader is working on
                futures = {executor.submit(self.grade_one, student, phase, wait): student for student in students}
                students = []
                for future in as_completed(futures):
                    if future.result() is None:
                        students.append(futures[future])
                        continue
                    result, is_new = future.result()
                    bar.update()
                    if result is None:
                        further.append(futures[future])
                        continue
                    self.results[result["id"]] = result
                    if is_new:
                        bar.write(describe_failures(result), file=sys.stderr, end="")
                    failures.update({result["status"]} - {"ok"})
                    bar.set_postfix(failures)
        return further

    def grade_one(self, student, phase, wait):
        """Take a student through a phase; return the result and whether it is new, (None, False) if more phases follow,
        None if another grader has claimed this student.

        Any error here is a fault on our side, and affects only this student's result.
        """
        slot = self.slots.get()
        try:
            with self.claim(student, wait) as is_mine:
                if not is_mine:
                    return None
                with tempfile.TemporaryDirectory(prefix=f"ta-{os.getpid()}-") as name:
                    return self.grade_files(student, Path(name), slot, phase)
        except Exception as error:
            if self.sandbox.stop.is_set():
                raise
            result = self.result(student, infra_error(f"{type(error).__name__}: {error}"))
            if read_result(self.folder, student.id) is None:
                with contextlib.suppress(OSError):
                    self.store(result, {})
            return result, True
        finally:
            self.slots.put(slot)

    @contextlib.contextmanager
    def claim(self, student, wait):
        """Claim a student among all graders of this folder; yield False if another grader has the claim or, with
        `wait`, when this one is stopped. A grader that is killed loses its claims."""
        path = self.folder / ".claims" / student.id
        while True:
            with locked(path, wait=False) as is_mine:
                if is_mine:
                    path.write_text(f"{platform.node()}, process {os.getpid()}, since {now()}\n")
                    try:
                        yield True
                    finally:
                        path.unlink(missing_ok=True)
                    return
            if not wait or self.sandbox.stop.wait(POLL):
                yield False
                return

    def grade_files(self, student, folder, slot, phase):
        start = time.monotonic()
        collected, files = self.collect(student, folder)
        content, old = digest(files), read_result(self.folder, student.id)
        is_right = self.is_right(student, content, old) and old["isolation"] == self.sandbox.title
        if is_right or self.is_earlier(student, content, old):
            return old, False
        stored = self.phases_of(student.id)
        if phase == "public" and self.force:
            stored.unlink(missing_ok=True)
        self.sandbox.hand_over(folder, slot)
        grading = Grading(student.id, folder, collected.files, self.sandbox, self.hidden, slot, self.gate)
        grading.advance(phase, stored, self.phase_key(content))
        if len(grading.failures) == len(TASKS):  # this code will never see a hidden picture
            grading.advance("decode", stored, self.phase_key(content))
        self.seconds[student.id] += time.monotonic() - start
        broken = "infra_error" in {failure["status"] for failure in grading.failures.values()}
        if grading.phases != [*PHASES] and not broken:
            return None, False
        result = self.result(student, grading.result(), files, collected.notes, old)
        result["trained_with"] = collected.versions
        result["seconds"] = round(self.seconds[student.id], 2)
        result["worker_cpu_seconds"] = round(grading.steps.cpu_seconds, 2)
        is_worse = result["status"] == "infra_error" and old and old["content"] == content
        if not is_worse or old["status"] == "infra_error":
            self.store(result, grading.pictures)
        if result["status"] != "infra_error":
            stored.unlink(missing_ok=True)
        return result, True

    def phases_of(self, student_id):
        """Return the file that stores a student's finished phases until all of them are done."""
        return self.folder / ".phases" / f"{student_id}.npz"

    def has_public(self, student_id, contents):
        """Return whether a student's public phase is done. contents: {id: hash of the files}."""
        return "public" in stored_phases(self.phases_of(student_id), self.phase_key(contents[student_id]))

    def time_of_result(self, student):
        """Return the time at which a student's result was written, None without one."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / f"{student.id}.json").stat().st_mtime_ns

    def content_of(self, student):
        """Return a hash of a student's files, "" if they cannot be read."""
        with contextlib.suppress(OSError), tempfile.TemporaryDirectory(prefix=f"ta-{os.getpid()}-") as name:
            return digest(self.collect(student, Path(name))[1])
        return ""

    def is_graded(self, student, content):
        """Return whether a student's stored result is still valid."""
        old = read_result(self.folder, student.id)
        return self.is_earlier(student, content, old) or self.is_right(student, content, old)

    def collect(self, student, folder):
        """Copy a student's files into a folder; return Collected, and {name: its hash, or what is wrong with it}."""
        try:
            collected = collect(student.parts, folder)
        except CollectError as error:
            collected = Collected({"submission.py": str(error)})
        return collected, {
            name: clean(problem or sha256((folder / name).read_bytes())) for name, problem in collected.files.items()
        }

    def is_earlier(self, student, content, old):
        """Return whether this attempt is older than the one that counts, which came from a different folder."""
        place = (student.source, student.submission)
        earlier = [attempt["content"] for attempt in old["earlier"]] if old else []
        return content in earlier and old["content"] != content and place != (old["source"], old["submission"])

    def is_right(self, student, content, old):
        """Return whether a stored result belongs to these files and there is no reason to grade them again."""
        has_pictures = (self.folder / f"{student.id}.npz").is_file()
        if not old or old["key"] != self.key(content) or not has_pictures:
            return False
        if self.force and self.time_of_result(student) < self.began:
            return False
        return overall_status(old["tasks"]) != "infra_error" and not self.limits_were_raised(old)

    def limits_were_raised(self, result):
        """Return whether something failed because of limits that have been raised since."""
        checks = [check for task in result["tasks"].values() for check in task["checks"]]
        statuses = {part["status"] for part in (*result["tasks"].values(), *checks)}
        return any(name in statuses and self.limits[name] > result["limits"][name] for name in self.limits)

    def store(self, result, pictures):
        """Write a student's pictures, then the result, each whole or not at all."""
        with write_whole(self.folder / f"{result['id']}.npz") as temporary:
            np.savez_compressed(temporary, **pictures)
        write_sealed(self.folder / f"{result['id']}.json", result)

    def key(self, content):
        """Return a hash of everything that a result depends on."""
        return sha256(f"{self.hidden.digest} {self.version} {self.gate} {content}".encode())

    def phase_key(self, content):
        """Return a hash of everything that the phases depend on: what failed may pass with different limits."""
        return digest([self.key(content), self.limits])

    def result(self, student, tasks, files=None, notes=(), old=None):
        """Return a student's result as plain values; old: the result stored before, of this or another attempt."""
        content, earlier, seen = digest(files) if files else "", [], now()
        if old and old["content"] == content:
            earlier, seen = old["earlier"], old["seen"]
        elif old:
            earlier = old["earlier"] + [{name: old[name] for name in ("content", "source", "submission")}]
        before = [f"handed in earlier: {attempt['submission']} in {attempt['source']}" for attempt in earlier]
        return {
            "id": student.id,
            "student": {name: getattr(student, name) for name in KNOWN} | {"sources": [student.source]},
            **{"submission": clean(student.submission), "source": student.source},
            **{"attempt": student.attempt, "late": student.late},
            "notes": [clean(note) for note in (*student.notes, *notes, *before)],
            "status": overall_status(tasks),
            "isolation": self.sandbox.title if self.sandbox else "",
            "tasks": tasks,
            **{"seconds": 0.0, "worker_cpu_seconds": 0.0},
            "limits": self.limits,
            "accuracy_gate": self.gate,
            "files": files or {},
            **{"content": content, "earlier": earlier, "seen": seen},
            "key": self.key(content) if content else "",
            "test_set": self.hidden.digest[:16],
            "grader_version": self.version,
            "versions": versions(),
        }


def digest(value):
    return sha256(json.dumps(value, sort_keys=True).encode())


def infra_error(message):
    """Return the tasks of a student who could not be graded because of a fault of this machine."""
    task = {"status": "infra_error", "message": clean(message)}
    return {name: task | {"private": True, "score": None, "completion": None, "checks": []} for name in TASKS}


def describe_failures(result):
    """Return one line per failure of a student; tasks that failed in the same way share one."""
    failures = {}
    for task, metrics in result["tasks"].items():
        if metrics["status"] != "ok":
            failures.setdefault((metrics["status"], metrics["message"]), []).append(task)
    return "".join(
        f"{result['id']}: {', '.join(tasks)}: {status}: {' '.join(message.split())}\n"
        for (status, message), tasks in failures.items()
    )


def now():
    return datetime.now(UTC).isoformat(timespec="microseconds")

"""Runs the worker on a submission that nobody trusts, and says how it ended.

    sandbox = choose_sandbox(timeout=120, memory=4 * 2**30)         # of ta/tiers.py
    outcome = sandbox.run({"mode": "encode", "task": "VAEwolabel"}, submission, {"images": images})

Tier A: bubblewrap (namespaces, an empty file system). Tier B: Landlock. In both the worker also takes system calls and
resources away from itself (ta/confine.py) and a watchdog stops it. Tier C: no isolation, only by --unsafe-no-sandbox.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from ta.exchange import clean, read_records
from ta.mounts import LAB, bubblewrap, readable_paths

UIDS = range(60600, 60900)  # whom root's workers run as; no distribution gives these numbers to anyone
START_TIMEOUT = 120  # seconds for Python and torch to start; not the student's
POLL = 0.05  # seconds between two looks at a worker ...
RESCAN = 0.5  # ... and between two searches for its children
KILLED = 10  # seconds in which a killed process must be gone
MAX_TASKS = 64  # processes and threads
MAX_OUTPUT = 2**23  # bytes of stdout and stderr
MAX_SCRATCH = 2**26  # bytes of files
MIN_FILE = 2**26  # bytes that the largest file may always have
MIN_ADDRESS_SPACE = 2**33  # torch does not start with less
FREE_DISK = 2**28  # bytes that must be left before a worker starts


@dataclass
class Outcome:
    """How a call of the worker ended.

    status: exited, timeout, memory, output_flood, crash (too many threads), infra_error, stopped; message says more.
    started: the submission's code had the word; imported: it says that its module was loaded. records: what came
    back, as ta.exchange reads it. output: the end of what was printed. cpu_seconds: as far as the watchdog saw.
    """

    status: str
    message: str = ""
    started: bool = False
    imported: bool = False
    records: list = field(default_factory=list)
    output: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass
class Sandbox:
    """A way to run the worker. timeout: seconds of wall time a call; memory: bytes; stop: ends every call when set."""

    tier: str
    timeout: float
    memory: int
    filter: str = ""
    drop_uid: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    users: dict = field(default_factory=dict)

    def user(self, slot):
        """Return the uid that a slot's worker becomes, None for this process's own.

        No other grader on this machine has it at the same time, for a bound abstract socket stands for it until this
        process ends: two students under one uid could signal each other and would share their limit of processes.
        """
        if self.drop_uid and slot not in self.users:
            for uid in UIDS:
                claim = socket.socket(socket.AF_UNIX)
                with contextlib.suppress(OSError):  # somebody else has this one
                    claim.bind(f"\0vae-lab-{uid}")
                    self.users[slot] = uid, claim
                    break
                claim.close()
            else:
                raise OSError(f"all the uids from {UIDS[0]} to {UIDS[-1]} are in use by other graders")
        return self.users[slot][0] if self.drop_uid else None

    def hand_over(self, folder, slot):
        """Let a slot's worker look into a folder that only this user can open, whatever the umask."""
        uid = self.user(slot)
        if uid is not None:
            for path in (folder, *Path(folder).rglob("*")):
                os.chown(path, uid, uid)

    def run(self, job, submission, inputs, slot=0, largest=0):
        """Start a fresh worker, wait for its end, kill what is left of it, and return an Outcome.

        job: {"mode", "task", ...}; submission: the folder that it may read; inputs: {name: array} for it; slot: a
        number that no other call in progress has; largest: bytes that it must be able to write.
        """
        try:
            uid = self.user(slot)
            with tempfile.TemporaryDirectory(prefix=f"ta-{os.getpid()}-") as name, tempfile.TemporaryFile() as result:
                folder = Path(name)
                if shutil.disk_usage(folder).free < FREE_DISK + largest:
                    return Outcome("infra_error", f"the disk of {tempfile.gettempdir()} is full")
                (folder / "inputs").mkdir()
                (folder / "scratch").mkdir()
                for key, array in inputs.items():
                    np.save(folder / "inputs" / f"{key}.npy", array, allow_pickle=False)
                self.hand_over(folder, slot)
                return self.start(job, submission, folder, uid, result, max(MIN_FILE, 2 * largest))
        except OSError as error:
            return Outcome("infra_error", f"{type(error).__name__}: {error}")

    def start(self, job, submission, folder, uid, result, file_size):
        progress, progress_end = socket.socketpair()
        with progress, progress_end, tempfile.TemporaryFile() as output:
            job = job | {"result_fd": result.fileno(), "progress_fd": progress_end.fileno()}
            confinement = {
                "filter": self.filter,
                "memory": max(MIN_ADDRESS_SPACE, 2 * self.memory),
                "file_size": file_size,
                "cpu_seconds": int(self.timeout * os.cpu_count()) + START_TIMEOUT,
            }
            if self.tier == "A":
                inside = {"submission": "/submission", "inputs": "/inputs"}
                confinement["tasks"] = MAX_TASKS
                wrapper = bubblewrap(submission, folder / "inputs", uid, MAX_SCRATCH)
                worker, scratch = "/lab/ta/worker.py", "/scratch"
            else:
                inside = {"submission": str(submission), "inputs": str(folder / "inputs")}
                wrapper, worker, scratch = [], str(LAB / "ta" / "worker.py"), str(folder / "scratch")
                confinement |= {
                    "uid": uid,
                    "tasks": None if uid is None else MAX_TASKS,
                    "read": readable_paths(submission, folder / "inputs"),
                    "write": [scratch, "/dev/null"],
                    "parent": os.getpid(),
                }
            job |= inside | {"confine": None if self.tier == "C" else confinement}
            start = time.monotonic()
            process = subprocess.Popen(
                [*wrapper, sys.executable, "-s", "-P", "-B", worker, json.dumps(job)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(result.fileno(), progress_end.fileno()),
                cwd=None if self.tier == "A" else scratch,
                env=clean_environment(scratch),
                start_new_session=True,
            )
            progress_end.close()
            progress.setblocking(False)
            watch = Watch(self, process, progress, output, folder / "scratch")
            try:
                outcome = watch.wait()
            finally:
                kill_tree(process, watch.tree)
            outcome.seconds = time.monotonic() - start
            outcome.records = read_records(result)
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - 2000))
            outcome.output = clean(output.read().decode(errors="replace")).strip()
            if outcome.status == "infra_error":
                outcome.message += f": {outcome.output[-500:]}" if outcome.output else ""
            return outcome


class Watch:
    """Looks at a running worker until it ends or breaks a limit."""

    def __init__(self, sandbox, process, progress, output, scratch):
        self.sandbox, self.process, self.progress = sandbox, process, progress
        self.output, self.scratch = output, scratch
        self.marks = b""
        self.tree, self.scanned, self.cpu_seconds = [], 0.0, 0.0

    def wait(self):
        """Return the Outcome, without records."""
        begin = time.monotonic()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(POLL)
            if not self.marks.startswith(b"r"):
                ended = self.process.returncode is not None
                self.read_marks()
                if self.marks.startswith(b"r"):
                    begin = time.monotonic()
                elif ended or time.monotonic() - begin > START_TIMEOUT:
                    return self.outcome("infra_error", f"exit code {self.process.returncode}")
            if self.process.returncode is not None:
                return self.outcome(*self.judge_exit(self.process.returncode))
            if self.sandbox.stop.is_set():
                return self.outcome("stopped", "")
            broken = self.look(time.monotonic() - begin)
            if broken:
                return self.outcome(*broken)

    def read_marks(self):
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self.marks += self.progress.recv(16)

    def outcome(self, status, message):
        self.read_marks()
        started = self.marks.startswith(b"r")
        if not started and status != "stopped":
            status, message = "infra_error", f"the worker did not start: {message or status}"
        return Outcome(status, message, started, b"i" in self.marks, cpu_seconds=self.cpu_seconds)

    def judge_exit(self, code):
        """Return status and message for an exit code."""
        if os.fstat(self.output.fileno()).st_size >= MAX_OUTPUT:
            return "output_flood", f"printed more than {MAX_OUTPUT >> 20} MB"
        if code < 0 and self.sandbox.tier == "A":
            # That is bubblewrap itself, which a submission cannot reach: somebody else ended it.
            return "infra_error", f"the sandbox was killed from outside by signal {-code}"
        return "exited", "" if code == 0 else f"the process ended with exit code {code}"

    def look(self, seconds):
        """Return status and message of a limit that is broken, else None."""
        sandbox = self.sandbox
        if seconds > sandbox.timeout and self.marks:
            return "timeout", f"not done after {sandbox.timeout:g} seconds"
        if os.fstat(self.output.fileno()).st_size >= MAX_OUTPUT:
            return "output_flood", f"printed more than {MAX_OUTPUT >> 20} MB"
        now = time.monotonic()
        if now - self.scanned > RESCAN:
            self.scanned = now
            self.tree = process_tree(self.process.pid)
            if sandbox.tier != "A" and folder_size(self.scratch) > MAX_SCRATCH:
                return "output_flood", f"wrote more than {MAX_SCRATCH >> 20} MB of files"
        memory = tasks = cpu_seconds = 0
        for member in self.tree:
            with contextlib.suppress(psutil.Error):
                memory += member.memory_info().rss
                tasks += member.num_threads()
                cpu_seconds += sum(member.cpu_times()[:2])
        self.cpu_seconds = max(self.cpu_seconds, cpu_seconds)
        if memory > sandbox.memory:
            return "memory", f"used more than {sandbox.memory / 2**30:.3g} GB of memory"
        if tasks > 2 * MAX_TASKS:
            return "crash", f"started more than {2 * MAX_TASKS} threads"
        return None


def process_tree(pid):
    """Return a process and all that it started, as psutil.Process; empty if it is gone."""
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def kill_tree(process, known):
    """Kill a worker and all that it started, and wait for their end. known: what was seen of them; psutil tells them
    from other processes that have got their numbers since."""
    tree = known if process.returncode is not None else process_tree(process.pid)
    for member in tree:
        with contextlib.suppress(psutil.Error):
            member.kill()
    process.wait()
    end = time.monotonic() + KILLED
    while any(is_alive(member) for member in tree) and time.monotonic() < end:
        time.sleep(POLL / 5)


def is_alive(process):
    """Return whether a process can still do anything; a zombie only waits for init, which may take its time."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def folder_size(folder):
    """Return the bytes of the files under a folder, as far as they can be seen."""
    total = 0
    for path, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
    return total


def clean_environment(scratch):
    """Return the whole environment of a worker; the hash seed makes a submission's sets come in one order."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": scratch,
        "TMPDIR": scratch,
        "USER": "student",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
    }

"""The interface of every backend: `Sandbox.run` starts a fresh worker and returns an `Outcome`.

A backend defines how a worker is started (`command`), which rights the worker gives up (`confinement`), and under which
path it finds the submission (`inside`). Nothing else differs.
"""

import contextlib
import glob
import os
import shutil
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

from ta.sandbox.cgroups import make_group
from ta.sandbox.confine import landlock_version
from ta.sandbox.mounts import WORKER
from ta.sandbox.users import Users
from ta.sandbox.watch import START_TIMEOUT, Watch
from ta.sandbox.wire import clean, read_results, write_record

MAX_TASKS = 64  # processes and threads
MIN_FILE = 2**26  # bytes that are always allowed for a worker's results
MIN_ADDRESS_SPACE = 2**33  # torch does not start with less
FREE_DISK = 2**28  # bytes that must be free before a worker starts
MAX_FILES = 256  # open at a time


@dataclass
class Limits:
    """timeout: seconds of CPU time per step, and of wall time without the time spent waiting for a processor; memory:
    bytes."""

    timeout: float
    memory: int


@dataclass
class Outcome:
    """How a call of the worker ended.

    status: exited, timeout, memory, output_flood, crash (too many threads), infra_error, stopped; message: the details.
    started: the submission was running; imported: its module was loaded; doubtful: something outside it failed, and it
    may or may not be the cause.
    records: what it returned, read by ta.sandbox.wire. output: the end of what it printed. cpu_seconds: as measured by
    the watchdog; charged: the seconds that count against the limit.
    """

    status: str
    message: str = ""
    started: bool = False
    imported: bool = False
    doubtful: bool = False
    records: list = field(default_factory=list)
    output: str = ""
    cpu_seconds: float = 0.0
    charged: float = 0.0


@dataclass
class Step:
    """One call of a worker. names: the files in a student's folder that it may read; folder: a temporary one for the
    grader; uid: the worker's user, None for the grader's own."""

    submission: Path
    names: list
    folder: Path
    uid: int | None

    @property
    def files(self):
        return [self.submission / name for name in self.names if (self.submission / name).exists()]


class Sandbox:
    """A way to run the worker. limits: per step; filter_bpf: from syscalls.py; drop_uid: the worker gets a user of its
    own, for which the grader has to be root. `stop` ends every call when it is set."""

    title = ""  # shown in results, in grades.csv and in the reports
    name = ""
    alone = False  # isolates a worker from files and the network, but not from all other processes
    worker_path = f"/lab/{WORKER}"  # as the worker sees it
    sees_names = False  # a worker cannot read files outside, but can find out their sizes and times
    max_threads = 2 * MAX_TASKS  # above which the watchdog ends a worker
    overhead = 0  # bytes used by the backend's own processes
    has_landlock = landlock_version() > 0

    def __init__(self, limits, filter_bpf=b"", drop_uid=False):
        self.limits, self.filter_bpf, self.drop_uid = limits, filter_bpf, drop_uid
        self.users = Users()
        self.stop = threading.Event()

    @classmethod
    def ways_to_drop(cls, drop_uid):
        """Return the values of drop_uid to try. drop_uid: whether the grader can become other users."""
        return [drop_uid]

    def command(self, step, worker):
        """Return the command that runs a worker's command inside; raises OSError if that is impossible."""
        raise NotImplementedError

    def inside(self, step):
        """Return where the worker finds the submission's files."""
        return "/submission"

    def confinement(self, step):
        """Return the arguments for `confine`, None for no confinement."""
        return {
            "memory": max(MIN_ADDRESS_SPACE, 2 * self.limits.memory),
            "files": MAX_FILES,
            "cpu_seconds": int(self.limits.timeout) + START_TIMEOUT,
            "tasks": MAX_TASKS,
        }

    def memory_of(self, process):
        """Return the bytes of memory that a process of the worker uses (process: psutil.Process)."""
        return resident(process.pid)

    def end(self, step):
        """Clean up after a worker that has been killed."""

    def user(self, slot):
        """Return the uid for a slot's worker, None for this process's own."""
        return self.users.of(slot) if self.drop_uid else None

    def hand_over(self, folder, slot):
        """Let a slot's worker read a folder, whatever the umask; the owner stays this user."""
        uid = self.user(slot)
        if uid is not None:
            for path in (Path(folder), *Path(folder).rglob("*")):
                os.chown(path, -1, uid)
                path.chmod(0o750 if path.is_dir() else 0o640)

    def run(self, job, submission, names, inputs=None, slot=0, largest=0, seconds=None):
        """Start a fresh worker, wait for its end, kill whatever is left of it, and return an Outcome.

        job: {"parts": [...]}, see worker.py; submission: a folder, and `names` the files in it that the worker may
        read; inputs: {name: array}; slot: a number that no other call in progress has; largest: bytes that must be
        possible for the results; seconds: the time limit, if it is less than `limits.timeout`.
        """
        watch = None
        try:
            uid = self.user(slot)
            prefix = f"ta-{os.getpid()}-"
            with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
                step = Step(Path(submission), names, Path(name), uid)
                if shutil.disk_usage(name).free < FREE_DISK + largest:
                    return Outcome("infra_error", f"the disk of {tempfile.gettempdir()} is full")
                confinement, file_size = self.confinement(step), max(MIN_FILE, 2 * largest)
                if confinement is not None:
                    job = job | {"confine": confinement | {"file_size": file_size}}
                job = job | {"submission": self.inside(step)}
                with open(step.folder / "job", "wb") as file:
                    write_record(file, job, {"filter": memoryview(self.filter_bpf), **(inputs or {})})
                watch = Watch(self, step, min(seconds or self.limits.timeout, self.limits.timeout), file_size)
                return self.attend(step, watch)
        except Exception as error:
            # Once the submission is running, it may be the cause of any failure outside: see Steps.call.
            started = watch is not None and watch.started
            message = clean(f"{type(error).__name__}: {error}")
            return Outcome("infra_error", message, started, doubtful=started)

    def attend(self, step, watch):
        """Run a step's worker under supervision; return the Outcome."""
        group = make_group(self.limits.memory, 2 * MAX_TASKS)
        command = self.command(step, [sys.executable, "-s", "-P", "-B", self.worker_path])
        try:
            outcome = watch.attend(group.entering(command) if group else command, group)
        finally:
            if group:
                group.remove()
            self.end(step)
        outcome.imported, outcome.records = read_results(watch.result)
        if outcome.status == "infra_error":
            outcome.message += f": {outcome.output[-500:]}" if outcome.output else ""
        return outcome


def resident(pid):
    """Return the bytes of a process's private memory, including swapped pages and page tables (proc_pid_status(5)).
    Pages of libraries do not count: they are shared, and the kernel can drop them."""
    kilobytes = 0
    # A process whose first thread has ended does not report its memory, but its other threads do.
    for path in (f"/proc/{pid}/status", *glob.iglob(f"/proc/{pid}/task/*/status")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(path) as file:
            values = dict(line.split(":", 1) for line in file)
            if "RssAnon" in values:
                names = ("RssAnon", "RssShmem", "VmSwap", "VmPTE")
                kilobytes = sum(int(values[name].split()[0]) for name in names if name in values)
                break
    return kilobytes * 1024


def clean_environment():
    """Return the complete environment of a worker; the hash seed fixes the order of a submission's sets."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/",
        "USER": "student",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "TORCHINDUCTOR_CACHE_DIR": "/",  # an optimizer needs the folder's name, but no file in it
    }

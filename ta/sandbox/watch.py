"""The watchdog: observes a running worker until it ends or exceeds a limit, and kills whatever is left of it."""

import contextlib
import os
import subprocess
import time

import psutil

from ta.sandbox.wire import clean

START_TIMEOUT = 300  # seconds for Python and torch to start, which do not count for the student
POLL = 0.05  # seconds between two looks at a worker ...
RESCAN = 0.5  # ... and between two searches for its children
KILLED = 10  # seconds to wait for killed processes to end
MAX_OUTPUT = 2**23  # bytes of printed output
MAX_WAITING = 10  # times the limit, in wall time, even if the worker spent it waiting for a processor


class Watch:
    """Supervises one call of a worker. seconds: the limit on CPU time and on wall time, without the time that it waited
    for a processor because all were busy. file_size: the limit on the bytes of its results."""

    def __init__(self, sandbox, step, seconds, file_size):
        self.sandbox, self.seconds, self.file_size = sandbox, seconds, file_size
        self.job, self.result, self.output = (step.folder / name for name in ("job", "result", "output"))
        self.process = self.group = None
        self.started = False
        self.begin = time.monotonic()
        self.tree, self.scanned = [], 0.0
        self.cpu_seconds = self.cpu_before = self.waited = self.waited_before = self.charged = 0.0

    def attend(self, command, group=None):
        """Start a command, wait for its end, kill whatever is left, and return the Outcome, without records."""
        from ta.sandbox.base import Outcome, clean_environment

        self.group = group
        with open(self.job, "rb") as job, create(self.result) as result, create(self.output) as output:
            options = {"stdin": job, "stdout": result, "stderr": output, "cwd": "/"}
            self.process = subprocess.Popen(command, **options, env=clean_environment(), start_new_session=True)
        try:
            status, message, doubtful = self.wait()
        finally:
            kill_tree(self.process, self.tree)
        self.see_start()
        if not self.started and status != "stopped":
            status, message = "infra_error", f"the worker did not start: {message or status}"
        outcome = Outcome(status, message, self.started, doubtful=doubtful and self.started)
        outcome.output = read_end(self.output)
        outcome.cpu_seconds, outcome.charged = self.cpu_seconds, self.charged
        return outcome

    def wait(self):
        """Wait until the worker has ended or must end; return status, message and whether that is doubtful."""
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(POLL)
            self.see_start()
            if self.process.returncode is not None:
                return self.judge_exit(self.process.returncode)
            if self.sandbox.stop.is_set():
                return "stopped", "", False
            broken = self.look()
            if broken:
                return *broken, False

    def see_start(self):
        """Notice the first byte of the results, after which the submission is running."""
        if not self.started and os.stat(self.result).st_size > 0:
            self.started, self.begin = True, time.monotonic()
            self.tree, self.scanned = process_tree(self.process.pid), self.begin
            self.count()
            self.cpu_before, self.waited_before = self.cpu_seconds, self.waited

    def judge_exit(self, code):
        """Return status, message and doubt for an exit code."""
        if os.stat(self.output).st_size >= MAX_OUTPUT:
            return "output_flood", f"printed more than {MAX_OUTPUT >> 20} MB", False
        if self.group and self.group.ran_out_of_memory():
            return *self.too_much_memory(), False
        # No submission can send a signal: somebody else did, or the kernel did because memory ran out.
        killed = code in (-9, 128 + 9)
        return "exited", "" if code == 0 else f"the process ended with exit code {code}", killed

    def look(self):
        """Return the status and message for a limit that is exceeded, else None."""
        seconds = time.monotonic() - self.begin
        if os.stat(self.output).st_size >= MAX_OUTPUT:
            return "output_flood", f"printed more than {MAX_OUTPUT >> 20} MB"
        if os.stat(self.result).st_size > self.file_size:  # gVisor's kernel does not enforce RLIMIT_FSIZE
            return "output_flood", f"returned more than {self.file_size >> 20} MB"
        if time.monotonic() - self.scanned > RESCAN:
            self.scanned = time.monotonic()
            self.tree = process_tree(self.process.pid)
        memory, tasks = self.count()
        if not self.started:
            return ("timeout", f"no start within {START_TIMEOUT} seconds") if seconds > START_TIMEOUT else None
        cpu_seconds = self.cpu_seconds - self.cpu_before
        awake = seconds - (self.waited - self.waited_before)
        self.charged = max(self.charged, cpu_seconds, awake)
        if cpu_seconds > self.seconds:
            return "timeout", f"used more than {self.seconds:g} seconds of CPU time"
        if awake > self.seconds or seconds > MAX_WAITING * self.seconds:
            return "timeout", f"not finished after {self.seconds:g} seconds"
        if memory > self.sandbox.limits.memory + self.sandbox.overhead:
            return self.too_much_memory()
        if tasks > self.sandbox.max_threads:
            return "crash", f"started more than {self.sandbox.max_threads} threads"
        return None

    def count(self):
        """Return the worker's memory (bytes) and number of threads; record its CPU time, and how long its processes
        have waited for a processor."""
        memory = tasks = cpu_seconds = waited = 0
        for member in self.tree:
            with contextlib.suppress(psutil.Error, OSError, ValueError, IndexError):
                memory += self.sandbox.memory_of(member)
                tasks += member.num_threads()
                cpu_seconds += sum(member.cpu_times()[:2])
                waited = max(waited, waiting_time(member.pid))
        self.cpu_seconds, self.waited = max(self.cpu_seconds, cpu_seconds), max(self.waited, waited)
        return memory, tasks

    def too_much_memory(self):
        return "memory", f"used more than {self.sandbox.limits.memory / 2**30:.3g} GB of memory"


def create(path):
    """Create a file to append to. Readers open it again, so a worker's changes to its own descriptor affect nobody."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600), "wb", buffering=0)


def read_end(path):
    """Return the end of a worker's printed output."""
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 2000))
        return clean(file.read().decode(errors="replace")).strip()


def waiting_time(pid):
    """Return the seconds for which a process's first thread was ready to run but no processor was free."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[1]) / 1e9


def process_tree(pid):
    """Return a process and its descendants, as psutil.Process; empty if it is gone."""
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def kill_tree(process, known):
    """Kill a worker and its descendants, and wait for their end. known: those seen so far; psutil does not confuse them
    with new processes of the same number."""
    tree = known if process.returncode is not None else process_tree(process.pid)
    for member in tree:
        with contextlib.suppress(psutil.Error):
            member.kill()
    with contextlib.suppress(OSError):
        process.kill()
    process.wait()
    end = time.monotonic() + KILLED
    while any(is_alive(member) for member in tree) and time.monotonic() < end:
        time.sleep(POLL / 5)


def is_alive(process):
    """Return whether a process can still do anything; a zombie only waits for its parent."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False

"""How check.py supervises a submission's code: it ends calls that do not return, and shows only the first lines of
output. Class grading has a sandbox for both."""

import contextlib
import io
import os
import sys
import threading
import time
import traceback
from pathlib import Path

from lab import contract

PATIENCE = 30  # seconds per call
MOST_LINES = 20  # of a submission's output
LONGEST_LINE = 300  # characters


class Guard:
    """Supervises each call of a submission's code (lab.contract.supervise).

    out: the stream for its output.
    """

    def __init__(self, out):
        self.printed = FirstLines(out)
        self.running = []  # [what, time at which it started or continued], the innermost last
        self.main = threading.get_ident()

    @contextlib.contextmanager
    def supervise(self, what):
        """Record that `what` is running, and catch its output."""
        self.running.append([what, time.monotonic()])
        try:
            with contextlib.redirect_stdout(self.printed), contextlib.redirect_stderr(self.printed):
                yield
        finally:
            self.running.pop()
            if self.running:
                self.running[-1][1] = time.monotonic()

    def watch(self, stop):
        """End the process, with a message, when a call takes too long. Runs in a thread until `stop` is set."""
        while not stop.wait(min(1, PATIENCE / 4)):
            with contextlib.suppress(IndexError):  # the last call has just ended
                what, start = self.running[-1]
                if time.monotonic() - start > PATIENCE:
                    self.printed.close_with_rest()
                    sys.stdout.flush()
                    print(f"error: {what} has not returned after {PATIENCE} s{self.place()}.", file=sys.__stderr__)
                    cause = "an infinite loop, input(), or training code that runs when the file is imported"
                    print(f"Likely cause: {cause}.", file=sys.__stderr__, flush=True)
                    os._exit(2)

    def place(self):
        """Return the line of the submission that is running, as text."""
        for frame in reversed(traceback.extract_stack(sys._current_frames().get(self.main))):
            module = sys.modules.get(f"submission_at_{Path(frame.filename).resolve()}")
            if module is not None:
                return f" ({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})"
        return ""


class FirstLines(io.TextIOBase):
    """A stream that passes its first lines on, and counts the rest."""

    def __init__(self, out):
        self.out, self.line, self.lines = out, "", 0

    def writable(self):
        return True

    def write(self, text):
        *whole, self.line = (self.line + text).replace("\r", "\n").split("\n")
        for line in whole:
            self.put(line)
        self.line = self.line[:LONGEST_LINE]
        return len(text)

    def put(self, line):
        self.lines += 1
        if self.lines <= MOST_LINES:
            print(line[:LONGEST_LINE], file=self.out, flush=True)

    def close_with_rest(self):
        """Print how many lines were left out."""
        if self.line:
            self.put(self.line)
            self.line = ""
        if self.lines > MOST_LINES:
            print(f"(the submission printed {self.lines - MOST_LINES:,} more lines)", file=self.out, flush=True)


@contextlib.contextmanager
def guard(out):
    """While the block runs, no call of a submission's code may take longer than PATIENCE, and the first lines of its
    output go to `out`."""
    keeper, stop = Guard(out), threading.Event()
    thread = threading.Thread(target=keeper.watch, args=[stop], daemon=True)
    contract.supervise, before = keeper.supervise, contract.supervise
    thread.start()
    try:
        yield
    finally:
        contract.supervise = before
        stop.set()
        keeper.printed.close_with_rest()


@contextlib.contextmanager
def only_json():
    """Yield a stream to stdout; anything else that this process or its children write to stdout goes to stderr."""
    sys.stdout.flush()
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # it is not a real file, as in tests
        yield sys.stdout
        return
    with os.fdopen(os.dup(number), "w", encoding="utf-8") as stream:
        os.dup2(2, number)
        yield stream

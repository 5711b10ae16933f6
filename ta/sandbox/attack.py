"""The attack that decides whether a sandbox holds: everything here must fail inside it.

A worker runs it in place of a submission, on targets that the grader has prepared outside, and on the real test data
and submissions. `ATTACKS` maps a name to a function of the targets; an attack succeeds if it raises nothing.
"""

import array
import contextlib
import ctypes
import fcntl
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

F_SETOWN_EX, F_SETSIG, F_NOTIFY, F_SETLEASE, F_SETOWN = 15, 10, 1026, 1024, 8
FIOSETOWN, SIOCSPGRP = 0x8901, 0x8902
HIGH = 1 << 32  # a bit of an argument that the kernel ignores
MANY = 1000  # open files that nobody needs
LIBRARY = ctypes.__file__  # a file that every worker can read


def attack(**targets):
    """Return the names of the attacks that succeeded, and of the things that a model needs but cannot do.

    targets: `secret`, a file outside that must not be readable; `folder`, one outside that must not be writable;
    `port`, a listener on the loopback interface; `parent`, the process id of the grader; `real`, paths whose content
    and existence must stay secret.
    """
    got = []
    for name, attempt in ATTACKS.items():
        with contextlib.suppress(Exception):
            attempt(targets)
            got.append(name)
    for path in targets["real"]:
        for what, attempt in (("read", read), ("find out the size of", os.stat), ("list", os.listdir)):
            with contextlib.suppress(Exception):
                attempt(path)
                got.append(f"{what} {path}")
    for name, need in NEEDS.items():
        try:
            need()
        except Exception as error:
            got.append(f"a model cannot {name} ({error})")
    return got


def read(path):
    with open(path, "rb") as file:
        file.read(1)


def system_call(name, *arguments):
    """Call libc's function `name`; raise OSError if it fails."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def write_anywhere(targets):
    """Create a file, pipe, link or folder wherever that might be possible."""
    folders = [".", "/", "/tmp", "/var/tmp", "/dev/shm", "/dev", "/submission", "/scratch", os.environ.get("HOME", "/")]
    for folder in folders:
        for attempt in (lambda path: open(path, "w").close(), os.mkdir, os.mkfifo, lambda path: os.symlink("x", path)):
            with contextlib.suppress(OSError):
                attempt(os.path.join(folder, f"written_{os.getpid()}"))
                return
    raise PermissionError


def use_capabilities(targets):
    """Raise PermissionError if this process has none of root's capabilities."""
    status = Path("/proc/self/status").read_text()
    if int(status.split("CapEff:")[1].split()[0], 16) == 0:
        raise PermissionError


def open_many(targets):
    files = []
    try:
        for _ in range(MANY):
            files.append(os.dup(2))
    finally:
        for file in files:
            os.close(file)


def change_flags(flag):
    """Return an attack that changes the flags of every open file."""

    def attempt(targets):
        done = False
        for number in range(1, 32):
            with contextlib.suppress(OSError):
                fcntl.fcntl(number, fcntl.F_SETFL, fcntl.fcntl(number, fcntl.F_GETFL) | flag)
                done = True
        if not done:
            raise PermissionError

    return attempt


def with_library(attempt):
    """Return an attack on a file that other students' processes also read."""

    def on_library(targets):
        with open(LIBRARY, "rb") as file:
            attempt(file, targets)

    return on_library


def advise(advice):
    def attempt(file, targets):
        pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        pages.madvise(advice)

    return with_library(attempt)


def own_by_structure(file, targets):
    fcntl.fcntl(file, F_SETOWN_EX, array.array("i", [1, targets["parent"]]).tobytes())


def read_the_job(targets):
    """Look for the job in the arguments, the environment and the open input."""
    text = Path("/proc/self/cmdline").read_bytes() + Path("/proc/self/environ").read_bytes()
    if b"parts" not in text and not os.fstat(0).st_size:
        raise PermissionError


ATTACKS = {
    "read a file outside": lambda targets: read(targets["secret"]),
    "write a file outside": lambda targets: (Path(targets["folder"]) / "written").write_text("x"),
    "write over a file outside": lambda targets: open(targets["secret"], "r+").close(),
    "change a file's mode outside": lambda targets: os.chmod(targets["secret"], 0o644),
    "read /etc/passwd": lambda targets: read("/etc/passwd"),
    "write beside the interpreter": lambda targets: (Path(sys.prefix) / "written").write_text("x"),
    "write anywhere": write_anywhere,
    "read the grader's environment": lambda targets: read(f"/proc/{targets['parent']}/environ"),
    "read the grader's memory": lambda targets: open(f"/proc/{targets['parent']}/mem", "rb").close(),
    "list the grader's files": lambda targets: os.listdir(f"/proc/{targets['parent']}/fd"),
    "read its job again": read_the_job,
    "signal the grader": lambda targets: os.kill(targets["parent"], 0),
    "signal by F_SETOWN": with_library(lambda file, targets: fcntl.fcntl(file, F_SETOWN, targets["parent"])),
    "signal by F_SETOWN_EX": with_library(own_by_structure),
    "choose a signal by F_SETSIG": with_library(lambda file, targets: fcntl.fcntl(file, F_SETSIG, signal.SIGKILL)),
    "signal by FIOSETOWN": lambda targets: fcntl.ioctl(0, FIOSETOWN, targets["parent"].to_bytes(4, "little")),
    "signal by SIOCSPGRP": lambda targets: fcntl.ioctl(0, SIOCSPGRP, targets["parent"].to_bytes(4, "little")),
    "set O_ASYNC": change_flags(os.O_ASYNC),
    "set O_DIRECT": change_flags(os.O_DIRECT),
    "lock a library by flock": with_library(lambda file, targets: fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)),
    "lock a library by fcntl": with_library(lambda file, targets: fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)),
    "take a lease": with_library(lambda file, targets: fcntl.fcntl(file, F_SETLEASE, fcntl.F_RDLCK)),
    "watch a folder": lambda targets: fcntl.fcntl(os.open("/usr/lib", os.O_RDONLY), F_NOTIFY, 1),
    "load a library's pages ahead": advise(mmap.MADV_WILLNEED),
    "send pages away": advise(20),  # MADV_COLD
    "page a library out": advise(21),  # MADV_PAGEOUT
    "open many files": open_many,
    "make a pipe": lambda targets: os.pipe(),
    "make a pair of sockets": lambda targets: socket.socketpair(),
    "make an event": lambda targets: os.eventfd(0),
    "make a file in memory": lambda targets: os.memfd_create("x"),
    "connect by TCP": lambda targets: socket.create_connection(("127.0.0.1", targets["port"]), timeout=1).close(),
    "send by UDP": lambda targets: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", targets["port"])),
    "start a process": lambda targets: os.fork() or os._exit(0),
    "run a program": lambda targets: subprocess.run(["/bin/true"]),
    "outlive the grader": lambda targets: system_call("prctl", ctypes.c_ulong(HIGH | 1), 0, 0, 0, 0),
    "change another process's limits": lambda targets: resource.prlimit(targets["parent"], resource.RLIMIT_CPU, (9, 9)),
    "bind another process to a processor": lambda targets: os.sched_setaffinity(targets["parent"], {0}),
    "use root's capabilities": use_capabilities,
}
NEEDS = {
    "import a module late": lambda: __import__("wave"),
    "read /dev/null": lambda: read("/dev/null"),
    "draw random numbers": lambda: os.urandom(8),
}

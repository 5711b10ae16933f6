"""The attack that decides whether a sandbox holds: everything here must fail inside it.

A worker runs it in place of a submission, on targets that the TA's process has set up outside.
"""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path


def attack(secret, folder, port, parent):
    """Return the names of the attacks that succeeded, and of the things a model needs that are not to be had.

    secret: a file outside that must not be readable; folder: one outside that must not be writable; port: a listener
    on the loopback interface; parent: the process id of the grader.
    """
    attacks = {
        "read a file outside": lambda: Path(secret).read_bytes(),
        "write a file outside": lambda: (Path(folder) / "written").write_text("x"),
        "change a file's mode outside": lambda: os.chmod(secret, 0o644),
        "read /etc/passwd": lambda: Path("/etc/passwd").read_bytes(),
        "write beside the interpreter": lambda: (Path(sys.prefix) / "written").write_text("x"),
        "read the grader's environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
        "read the grader's memory": lambda: open(f"/proc/{parent}/mem", "rb").close(),
        "list the grader's files": lambda: os.listdir(f"/proc/{parent}/fd"),
        "signal the grader": lambda: os.kill(parent, 0),
        "connect by TCP": lambda: socket.create_connection(("127.0.0.1", port), timeout=1).close(),
        "send by UDP": lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)),
        "start a process": lambda: os.fork() or os._exit(0),
        "run a program": lambda: subprocess.run(["/bin/true"]),
        "use root's capabilities": use_capabilities,
    }
    got = []
    for name, attempt in attacks.items():
        with contextlib.suppress(Exception):
            attempt()
            got.append(name)

    needs = {
        "write its scratch folder": lambda: Path("scratch").write_text("x"),
        "import a module late": lambda: __import__("wave"),
        "write /dev/null": lambda: Path("/dev/null").write_text("x"),
    }
    for name, need in needs.items():
        try:
            need()
        except Exception as error:
            got.append(f"a model cannot {name} ({error})")
    return got


def use_capabilities():
    """Raise PermissionError if this process has none of root's capabilities."""
    status = Path("/proc/self/status").read_text()
    if int(status.split("CapEff:")[1].split()[0], 16) == 0:
        raise PermissionError

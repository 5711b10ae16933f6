"""Chooses the strongest sandbox that holds on this machine, by attacking each one from inside."""

import contextlib
import os
import socket
import tempfile
from pathlib import Path

from checks.sections import make_inputs
from lab.cli import LabError
from lab.tasks import all_sections
from ta.sandbox.bubblewrap import Bubblewrap
from ta.sandbox.gvisor import GVisor
from ta.sandbox.landlock import Landlock
from ta.sandbox.syscalls import build_filter
from ta.sandbox.unsafe import Unsafe
from ta.sandbox.users import can_become_other_users

ISOLATIONS = {backend.name: backend for backend in (GVisor, Bubblewrap, Landlock)}
# An honest submission: it is not a model, because workers can read this file, but it needs what a model needs.
CANARY = "import torch\n\nkept = torch.rand(2000, 2000) @ torch.rand(2000, 2000)\n"


def choose_sandbox(limits, isolation=None, unsafe=False, real=(), alone=False):
    """Return a Sandbox with the first backend that withstands the attack.

    isolation: the one name of ISOLATIONS to try; None for bubblewrap, else Landlock. unsafe: run without isolation if
    no sandbox holds; real: paths (the test data, the submissions) that no worker may reach; alone: nothing worth
    attacking runs beside the worker, as in a container of its own. Raises LabError if no sandbox holds.
    """
    reasons = []
    try:
        filter_bpf = build_filter()
        drop_uid = can_become_other_users()
        backends = [ISOLATIONS[isolation]] if isolation else [Bubblewrap, Landlock]
        # Other users may be unable to read an interpreter under root's home: then root without its rights.
        for backend, drop in dict.fromkeys((b, d) for b in backends for d in b.ways_to_drop(drop_uid)):
            sandbox = backend(limits, filter_bpf, drop)
            reason = find_hole(sandbox, real) if alone or not sandbox.alone else NOT_ALONE
            if reason is None:
                return sandbox
            reasons.append(f"{backend.title}: {reason}")
    except (ImportError, RuntimeError, OSError) as error:  # no Linux, no libseccomp
        reasons.append(f"no system call filter: {type(error).__name__}: {error}")
    if unsafe:
        return Unsafe(limits)
    raise LabError(
        "no sandbox holds on this machine, and students' code is never run without one. Expected Linux with bubblewrap "
        "(apt-get install bubblewrap libseccomp2; on Windows inside WSL2), with gVisor (apt-get install runsc, then "
        "--isolation gvisor) or with Landlock.\n  "
        + "\n  ".join(reasons)
        + "\n--unsafe-no-sandbox runs every submission with all your rights: use it only for code that you have read."
    )


NOT_ALONE = (
    "on this kernel (before Linux 6.12) a submission under your own user could send signals to the grader: install "
    "bubblewrap (apt-get install bubblewrap), or grade as root, so that submissions become other users"
)


def find_hole(sandbox, real=()):
    """Attack a sandbox from inside; return None if it holds, else a description of the hole."""
    with (
        tempfile.TemporaryDirectory(prefix=f"ta-{os.getpid()}-") as name,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        outside = Path(name) / "outside"
        submission = Path(name) / "submission"
        outside.mkdir()
        submission.mkdir()
        for folder in (name, outside, submission):
            os.chmod(folder, 0o777)  # so that only the sandbox prevents access
        secret = outside / "secret"
        secret.write_text("secret")
        secret.chmod(0o666)
        targets = {"secret": str(secret), "folder": str(outside), "port": listener.getsockname()[1]}
        targets |= {"parent": os.getpid(), "real": [str(Path(path).resolve()) for path in real]}
        outcome = sandbox.run({"parts": [{"do": "attack", "targets": targets}]}, submission, [])
    if outcome.status != "exited" or len(outcome.records) != 1 or outcome.records[0][0]["status"] != "ok":
        reports = [report.get("message", "") for report, _ in outcome.records]
        return " ".join([outcome.message or outcome.status, *reports, outcome.output[-300:]]).strip()
    got = [str(name) for name in outcome.records[0][1]["got"]]
    if sandbox.sees_names:
        got = [name for name in got if not name.startswith("find out the size of")]
    return f"from inside it was possible to: {', '.join(got)}" if got else None


def works_now(sandbox, slot=0):
    """Run an honest submission in a sandbox; return whether it succeeds. If so, the failure just before it was that
    submission's fault, whatever it looked like."""
    with tempfile.TemporaryDirectory(prefix=f"ta-{os.getpid()}-") as name, contextlib.suppress(OSError):
        (Path(name) / "submission.py").write_text(CANARY)
        sandbox.hand_over(name, slot)
        job = {"parts": [{"do": "checks", "sections": list(all_sections())[:1]}]}
        outcome = sandbox.run(job, name, ["submission.py"], make_inputs(0), slot)
        return outcome.status == "exited" and len(outcome.records) == 1 and outcome.records[0][0]["status"] == "ok"
    return False

"""Chooses the strongest sandbox that holds on this machine, by attacking each from inside."""

import os
import socket
import tempfile
from pathlib import Path

from lab.cli import LabError
from ta.confine import build_filter
from ta.sandbox import UIDS, Sandbox

TIERS = {
    "A": "tier A: bubblewrap and seccomp",
    "B": "tier B: Landlock and seccomp, no namespaces",
    "C": "tier C: NO ISOLATION (--unsafe-no-sandbox)",
}


def choose_sandbox(timeout, memory, unsafe=False):
    """Return a Sandbox of the first tier whose probe holds; its `tier` says which.

    timeout: seconds of wall time a call; memory: bytes; unsafe: take tier C where neither A nor B holds. Raises
    LabError if there is none.
    """
    reasons = []
    try:
        filter_bpf = build_filter().hex()
        drop_uid = can_become_other_users()
        # Another user may not be able to read an interpreter under root's home: then root without its rights.
        for tier, drop in dict.fromkeys([("A", drop_uid), ("B", drop_uid), ("B", False)]):
            sandbox = Sandbox(tier, timeout, memory, filter_bpf, drop)
            reason = find_hole(sandbox)
            if reason is None:
                return sandbox
            reasons.append(f"tier {tier}: {reason}")
    except (ImportError, RuntimeError, OSError) as error:  # no Linux, no libseccomp
        reasons.append(f"no system call filter: {type(error).__name__}: {error}")
    if unsafe:
        return Sandbox("C", timeout, memory)
    raise LabError(
        "no sandbox holds on this machine, and students' code runs in nothing less. Expected Linux with bubblewrap "
        "(apt-get install bubblewrap libseccomp2; on Windows inside WSL2) or with Landlock.\n  "
        + "\n  ".join(reasons)
        + "\n--unsafe-no-sandbox runs every submission with all your rights: only for code that you have read."
    )


def can_become_other_users():
    """Return whether this process is root with the right to start its workers as somebody else."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.chown(folder, UIDS[0], UIDS[0])
        except OSError:  # root of a user namespace that holds no other user
            return False
    return True


def find_hole(sandbox):
    """Attack a sandbox from inside; return None if it holds, else a text that says what is wrong with it."""
    with (
        tempfile.TemporaryDirectory(prefix=f"ta-{os.getpid()}-") as name,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        outside = Path(name) / "outside"
        submission = Path(name) / "submission"
        outside.mkdir()
        submission.mkdir()
        for folder in (name, outside, submission):
            os.chmod(folder, 0o777)  # so that nothing but the sandbox stands in the way
        secret = outside / "secret"
        secret.write_text("secret")
        secret.chmod(0o666)
        targets = {
            "secret": str(secret),
            "folder": str(outside),
            "port": listener.getsockname()[1],
            "parent": os.getpid(),
        }
        outcome = sandbox.run({"mode": "attack", "targets": targets}, submission, {})
    if outcome.status != "exited" or len(outcome.records) != 1 or outcome.records[0][0]["status"] != "ok":
        reports = [report.get("message", "") for report, _ in outcome.records]
        return " ".join([outcome.message or outcome.status, *reports]).strip()
    got = outcome.records[0][1]["got"].tolist()
    return f"from inside it was possible to: {', '.join(got)}" if got else None

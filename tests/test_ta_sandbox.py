"""Every backend under attack, as root and as a user; and what keeps the parent's side of it standing."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from conftest import ROOT, require_system
from hostile import HONEST, together

from checks.sections import make_inputs
from lab.cli import LabError
from ta.grade_class import remove_leftovers
from ta.sandbox import cgroups, choose
from ta.sandbox.base import Limits, resident
from ta.sandbox.landlock import Landlock
from ta.sandbox.mounts import lab_paths
from ta.sandbox.syscalls import build_filter
from ta.sandbox.unsafe import Unsafe
from ta.sandbox.watch import Watch
from ta.sandbox.wire import MAX_HEAD, READY, read_results, write_record

ATTACK = """
import json, sys
from ta.sandbox import choose
from ta.sandbox.base import Limits
from checks.sections import make_inputs
name, drop, folder, *real = sys.argv[1:]
sandbox = choose.ISOLATIONS[name](Limits(60, 2**29), choose.build_filter(), drop == "drop")
hole = choose.find_hole(sandbox, real)
outcome = None
if hole is None:
    sandbox.hand_over(folder, 0)
    job = {"parts": [{"do": "checks", "sections": ["2.2.1"]}]}
    outcome = sandbox.run(job, folder, ["submission.py"], make_inputs(0))
reports = outcome and [report for report, _ in outcome.records]
errors = outcome and [str(text) for _, arrays in outcome.records for k, text in arrays.items() if k.endswith(".error")]
print(json.dumps([hole, reports, errors, outcome and outcome.output[-500:]]))
"""


def open_root():
    """Return the start of a command that runs as root where other users can read the interpreter, and where bubblewrap
    does not work."""
    start = ["bwrap", "--dev-bind", "/", "/", "--ro-bind", "/bin/false", shutil.which("bwrap") or "/usr/bin/bwrap"]
    home, interpreter = Path.home(), Path(sys.base_prefix)
    if interpreter.is_relative_to(home):
        parents = [path for path in reversed(interpreter.parents) if path.is_relative_to(home) and path != home]
        start += ["--perms", "755", "--tmpfs", str(home)]
        start += [word for path in parents for word in ("--perms", "755", "--dir", str(path))]
        start += ["--ro-bind", str(interpreter), str(interpreter)]
    return start


AS_USER = ["bwrap", "--unshare-user", "--uid", "1000", "--gid", "1000", "--dev-bind", "/", "/"]
WAYS = {
    "bubblewrap as root": ("bubblewrap", "drop", list),
    "bubblewrap as a user": ("bubblewrap", "keep", lambda: [*AS_USER, "--proc", "/proc"]),
    "landlock as root": ("landlock", "drop", open_root),
    "landlock as a user": ("landlock", "keep", lambda: [*AS_USER, "--proc", "/proc", "--disable-userns"]),
    "gvisor": ("gvisor", "drop", list),
}


@pytest.fixture
def open_folder():
    """A folder that other users get to, as those of a class's students are; pytest's own are its user's."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_gets_out(way, tmp_path, open_folder):
    name, drop, wrapper = WAYS[way]
    require_system("runsc" if name == "gvisor" else "bwrap")
    if os.geteuid() != 0:
        pytest.skip("made for root")
    submission, outside = open_folder, tmp_path / "outside"
    outside.mkdir()
    (outside / "hidden.npz").write_bytes(b"hidden")
    targets = {"HIDDEN": outside / "hidden.npz", "OUT": outside, "CLASS": outside, "REFERENCE": ROOT / "ta" / "pages"}
    head = "".join(f"{key} = {str(value)!r}\n" for key, value in targets.items()) + f"PORT = 1\nPID = {os.getpid()}\n"
    (submission / "submission.py").write_text(HONEST + head + together())
    command = [*wrapper(), sys.executable, "-c", ATTACK, name, drop, submission, outside / "hidden.npz", outside]
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    hole, reports, errors, output = json.loads(done.stdout)
    assert hole is None
    assert [report["status"] for report in reports] == ["ok"], (reports, output)
    assert errors == [], "the honest model in it still trains"
    assert os.listdir(outside) == ["hidden.npz"]


def run(sandbox, folder, text, seconds=None):
    """Run the check 2.2 on a submission; return the Outcome."""
    folder.mkdir(exist_ok=True)
    (folder / "submission.py").write_text(HONEST + text)
    sandbox.hand_over(folder, 0)
    job = {"parts": [{"do": "checks", "sections": ["2.2.1"]}]}
    return sandbox.run(job, folder, ["submission.py"], make_inputs(0), seconds=seconds)


@pytest.fixture
def sandbox():
    require_system("bwrap")
    return choose.choose_sandbox(Limits(60, 2**29))


def test_a_submission_that_writes_a_file_or_starts_a_process_is_told_why_it_cannot(sandbox, tmp_path):
    report, _ = run(sandbox, tmp_path / "a", "open('debug.log', 'w')").records[-1]
    assert report["status"] == "import_error" and "cannot write files here" in report["message"]
    report, _ = run(sandbox, tmp_path / "b", "import os\nos.fork()").records[-1]
    assert "cannot start processes or use the network" in report["message"]
    report, _ = run(sandbox, tmp_path / "c", "open('/proc/vmstat')").records[-1]  # counts what all processes do
    assert report["status"] == "import_error" and "Permission denied" in report["message"]


def test_what_the_constructor_fails_with_is_said_also_where_the_checkpoint_lacks_its_latent_dim(sandbox, tmp_path):
    own = "def __init__(self, latent_dim):\n    super(VAE, self).__init__()\n    torch.ones(1).cuda()\n"
    (tmp_path / "submission.py").write_text(f"{HONEST}\n{own}\nVAE.__init__ = __init__\n")
    torch.save({"model_state_dict": {"weight": torch.ones(3, 4)}}, tmp_path / "VAEwolabel.pth")
    sandbox.hand_over(tmp_path, 0)
    job = {"parts": [{"do": "rehearse", "task": "VAEwolabel"}]}
    report, _ = sandbox.run(job, tmp_path, ["submission.py", "VAEwolabel.pth"], make_inputs(0)).records[-1]
    assert report["status"] == "crash" and report["message"].startswith("VAE(latent_dim=3) failed")


def test_no_system_call_of_torch_is_missing(tmp_path):
    """If this names a call that torch makes since a new version, and it is harmless, it belongs in syscalls.py."""
    require_system("strace")
    trace = tmp_path / "trace"

    class Traced(Landlock):
        def command(self, step, worker):
            return ["strace", "-f", "-qq", "-o", str(trace), *worker]

        def confinement(self, step):
            return super().confinement(step) | {"parent": None}

    everything = (ROOT / "tests" / "everything.py").read_text()
    outcome = run(Traced(Limits(300, 2**32), build_filter()), tmp_path / "a", everything)
    assert [report["status"] for report, _ in outcome.records] == ["ok"], (outcome.records, outcome.output)
    lines = trace.read_text(errors="replace").partition('"r", 1)')[2].splitlines()
    refused = {re.search(r"(\w+)\(", line)[1] for line in lines if re.search(r"= -1 E(NOSYS|PERM|ROFS)", line)}
    # libc tries clone after clone3; memory is not bound to a node; torch's caches and semaphores are not needed.
    assert refused <= {"clone3", "mbind", "mkdir", "openat"}, refused


def test_whatever_fails_after_the_start_is_the_submissions_fault_unless_an_honest_one_fails_too(
    sandbox, tmp_path, monkeypatch
):
    def fail(*arguments):
        raise OSError("the results cannot be read")

    monkeypatch.setattr("ta.sandbox.base.read_results", fail)
    outcome = run(sandbox, tmp_path / "a", "")
    assert outcome.started and outcome.doubtful and outcome.status == "infra_error"
    assert not choose.works_now(sandbox)
    monkeypatch.undo()
    assert choose.works_now(sandbox)


def test_long_heads_and_heads_of_other_types_are_not_parsed(tmp_path):
    def results(report, names=()):
        with open(tmp_path / "results", "wb") as file:
            file.write(READY)
            write_record(file, report, dict.fromkeys(names, np.zeros(1)))
        return read_results(tmp_path / "results")[1]

    assert results({"status": "ok"}, ["a"])[0][0] == {"status": "ok"}
    assert results({"status": "ok"}, ["x" * MAX_HEAD]) == []
    assert results({"status": "x" * MAX_HEAD}) == []
    for report in ({"status": 1}, ["ok"], "ok", None, {"status": ["ok"] * 10}):
        assert results(report) == []


def test_time_without_a_processor_does_not_count(tmp_path, monkeypatch):
    watch = Watch(Unsafe(Limits(10, 2**30)), type("Step", (), {"folder": tmp_path}), 10, 2**20)
    watch.output.write_bytes(b"")
    watch.result.write_bytes(b"")
    watch.process, watch.started, watch.scanned = psutil.Process(), True, time.monotonic() + 99
    for awake, waited, cpu, ends in (
        (9, 0, 9, None),
        (40, 35, 5, None),
        (11, 0, 0, "timeout"),
        (40, 35, 11, "timeout"),
    ):
        watch.begin, watch.waited, watch.cpu_seconds = time.monotonic() - awake, waited, cpu
        assert (watch.look() or [None])[0] == ends
    watch.begin, watch.waited, watch.cpu_seconds = time.monotonic() - 101, 100, 0
    assert watch.look()[0] == "timeout"
    os.truncate(watch.result, 2**20 + 1)
    assert watch.look() == ("output_flood", "returned more than 1 MB")


def test_memory_is_what_a_process_holds_itself():
    before = resident(os.getpid())
    kept = np.ones(2**24)
    assert resident(os.getpid()) - before > 0.9 * kept.nbytes
    # Nor does a process get rid of it by ending its first thread, after which /proc/PID/status says nothing of it.
    exit_thread = 60 if platform.machine() == "x86_64" else 93
    program = f"""
import ctypes, threading, time
kept = bytearray(b"x") * 2**27
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).syscall({exit_thread}, 0)"""
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        end = time.monotonic() + 30
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
            time.sleep(0.05)
        held = resident(process.pid)
        process.kill()
    assert held > 2**27


def test_a_cgroup_is_used_where_one_can_be_had(tmp_path):
    base = tmp_path / "cgroup" / "mine"
    base.mkdir(parents=True)
    (tmp_path / "self").mkdir()
    mount = tmp_path / "cgroup"
    (tmp_path / "self" / "mountinfo").write_text(f"30 20 0:26 / {mount} rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "self" / "cgroup").write_text("0::/mine\n")
    (mount / "cgroup.subtree_control").write_text("cpu\n")
    (base / "cgroup.controllers").write_text("cpu memory pids\n")
    assert cgroups.find_base(1, tmp_path) == base
    assert (base / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert (base / "ta-1-grader" / "cgroup.procs").read_text() == "1"
    (base / "cgroup.controllers").write_text("cpu\n")
    assert cgroups.find_base(2, tmp_path) is None

    group = cgroups.Group(base)
    done = subprocess.run(group.entering(["/bin/echo", "a b", "c"]), capture_output=True, text=True)
    assert done.stdout == "a b c\n" and (base / "cgroup.procs").read_text().strip().isdigit()
    assert not group.ran_out_of_memory()
    (base / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert group.ran_out_of_memory()


def test_leftovers_are_ours_and_none_stops_a_call(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names = ["ta-²-x", "ta-1-x", "ta-99999999-x", "ta--x", "ta-9999999-gone", "ta-9999998-file", f"ta-{os.getpid()}-x"]
    for name in names[:5] + names[6:]:
        (tmp_path / name).mkdir()
    (tmp_path / "ta-9999998-file").write_text("x")
    (tmp_path / "ta-9999999-gone" / "kept").mkdir()
    (tmp_path / "ta-9999999-gone" / "kept").chmod(0o300)
    remove_leftovers()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({*names} - {"ta-9999999-gone"})


def test_landlock_under_the_graders_own_user_needs_a_kernel_that_keeps_signals_apart(monkeypatch):
    monkeypatch.setattr("ta.sandbox.landlock.landlock_version", lambda: 5)
    monkeypatch.setattr(choose, "can_become_other_users", lambda: False)
    monkeypatch.setattr(choose, "find_hole", lambda sandbox, real: None)
    with pytest.raises(LabError, match=r"before Linux 6\.12[^~]*apt-get install bubblewrap"):
        choose.choose_sandbox(Limits(60, 2**30), "landlock")
    assert choose.choose_sandbox(Limits(60, 2**30), "landlock", alone=True).name == "landlock"
    monkeypatch.setattr(choose, "can_become_other_users", lambda: True)
    assert choose.choose_sandbox(Limits(60, 2**30), "landlock").drop_uid


def test_a_worker_finds_whole_folders_and_nothing_of_the_staffs():
    assert {"lab", "checks", "ta/sandbox"} <= set(lab_paths())
    assert not any((ROOT / name).is_relative_to(ROOT / "ta" / "reference") for name in lab_paths())

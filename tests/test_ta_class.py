"""Grading a class: what a TA relies on."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from conftest import ROOT, require_system
from hostile import train_honest

from data_utils import load_split
from lab.cli import LabError
from ta.hidden import load_hidden
from ta.sandbox import choose
from ta.sandbox.base import Limits, Outcome
from ta.sandbox.bubblewrap import Bubblewrap
from ta.sandbox.syscalls import build_filter
from ta.sandbox.watch import Watch
from ta.sandbox.wire import READY, read_results, write_record
from ta.student import PHASES, Grading
from ta.table import overall_status

SLEEPS = "\nimport time\ntime.sleep(1e6)\n"
KILLS = "\nimport os\nfor pid in (os.getppid(), 1, -1):\n    os.kill(pid, 9)\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with valid.npz (200 pictures) and honest/, an honest submission."""
    folder = tmp_path_factory.mktemp("class")
    images, labels = load_split(ROOT / "dataset" / "valid.npz")
    np.savez_compressed(folder / "valid.npz", images=images[700:900], labels=labels[700:900])
    train_honest(folder / "honest", images[:700], labels[:700])
    return folder


def start(place, submissions, out, *arguments):
    command = [sys.executable, "-m", "ta", "grade", submissions, "--test_data", place / "valid.npz", "--out", out]
    pipe = subprocess.PIPE
    return subprocess.Popen([*map(str, [*command, *arguments])], cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def grade(place, submissions, out, *arguments):
    """Run the command; return the rows of grades.csv by id."""
    process = start(place, submissions, out, *arguments)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    assert printed.startswith("isolation: tier ")
    return read_table(out)


def read_table(out):
    with open(out / "grades_full.csv", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def student(place, folder, name, *tasks):
    """Copy the honest submission, with the checkpoints of some tasks."""
    (folder / name).mkdir(parents=True)
    for file in ("submission.py", *(f"{task}.pth" for task in tasks)):
        shutil.copy(place / "honest" / file, folder / name)
    return folder / name


def test_a_student_gets_the_figures_that_grade_py_prints(place, lab, tmp_path):
    require_system("bwrap")
    submissions, honest = tmp_path / "class", place / "honest"
    student(place, submissions, "ann", "VAEwolabel", "Genwithlabel")
    for task in ("VAEwolabel", "Genwithlabel"):
        arguments = ("--checkpoint_path", honest / f"{task}.pth", "--submission", honest / "submission.py")
        lab(
            "inference.py",
            "--task",
            task,
            *arguments,
            "--data_path",
            place / "valid.npz",
            "--save_dir",
            tmp_path / task,
        )
    folders = [word for task in ("VAEwolabel", "Genwithlabel") for word in (f"--{task}_output_dir", tmp_path / task)]
    lab("grade.py", "--test_data_path", place / "valid.npz", *folders, "--out", tmp_path / "own.json")
    own = json.loads((tmp_path / "own.json").read_text())["tasks"]

    grade(place, submissions, tmp_path / "grades")
    result = json.loads((tmp_path / "grades" / "results" / "ann.json").read_text())
    for task, figures in own.items():
        for name in ("mse", "ssim", "fid", "latent_dim", "bonus", "raw", "score"):
            assert result["tasks"][task].get(name) == figures.get(name), (task, name)
    pictures = np.load(tmp_path / "grades" / "results" / "ann.npz")
    assert pictures["generated"].shape == (10, 16, 28, 28)


def test_a_second_call_grades_only_what_is_missing_or_changed(place, lab_ta, tmp_path):
    require_system("bwrap")
    submissions, out = tmp_path / "class", tmp_path / "grades"

    def grade(*arguments):
        code, _, errors = lab_ta("grade", submissions, "--data", place / "valid.npz", "--out", out, *arguments)
        assert code == 0, errors
        return read_table(out)

    student(place, submissions, "ann", "VAEwolabel")
    bob = student(place, submissions, "bob")
    (tmp_path / "roster.csv").write_text("id,canvas_id,name\nann,17,=Ann\nbob,18,Bob\ncarl,19,Carl\n")
    (tmp_path / "theory.csv").write_text("id,theory\nann,31.5\n")
    tables = ("--roster", tmp_path / "roster.csv", "--theory", tmp_path / "theory.csv", "--jobs", 2)
    rows = grade(*tables)
    assert list(rows) == ["ann", "bob", "carl"]
    assert (rows["ann"]["canvas_id"], rows["ann"]["name"]) == ("17", "'=Ann")
    assert float(rows["ann"]["total"]) == float(rows["ann"]["lab"]) + 31.5
    assert rows["bob"]["VAEwolabel_status"] == rows["carl"]["status"] == "missing"
    assert (rows["ann"]["theory"], rows["bob"]["theory"], rows["bob"]["total"]) == ("31.5", "", "")

    def times():
        return {path.stem: path.stat().st_mtime_ns for path in (out / "results").glob("*.json")}

    before = times()
    assert grade() == rows, "the tables are remembered"
    assert times() == before
    (bob / "submission.py").write_text("raise ValueError('no')")
    assert grade()["bob"]["VAEwolabel_status"] == "import_error"
    assert times()["ann"] == before["ann"] and times()["bob"] != before["bob"]
    before = times()
    grade("--only", "bob", "--force")
    assert times()["ann"] == before["ann"] and times()["bob"] != before["bob"]
    code, _, errors = lab_ta("grade", submissions, "--data", place / "valid.npz", "--out", out, "--only", "zoe")
    assert code == 2 and "there is no submission with this id" in errors


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_grader_leaves_whole_results_and_no_process(place, tmp_path, kill):
    require_system("bwrap")
    submissions, out = tmp_path / "class", tmp_path / "grades"
    student(place, submissions, "a_broken")
    (submissions / "a_broken" / "submission.py").write_text("1 / 0")
    (student(place, submissions, "b_sleeps") / "submission.py").write_text(SLEEPS)
    process = start(place, submissions, out)
    wait_for(lambda: (out / "results" / "a_broken.json").exists())
    wait_for(lambda: any("worker.py" in " ".join(p.cmdline()) for p in children(process)))
    time.sleep(1)  # bubblewrap asks to die with its parent a moment after it has started
    family = children(process)
    process.send_signal(kill)
    process.communicate()
    wait_for(lambda: not any(p.is_running() and p.status() != "zombie" for p in family))
    assert json.loads((out / "results" / "a_broken.json").read_text())["status"] == "import_error"
    assert not (out / "results" / "b_sleeps.json").exists()
    if kill == signal.SIGINT:
        assert process.returncode == 130 and "a_broken" in (out / "grades.csv").read_text()
        assert "a_broken" in (out / "report.html").read_text()


def test_a_cluster_gives_the_grades_of_this_machine(place, tmp_path, cluster):
    require_system("bwrap")
    submissions, out = tmp_path / "class", tmp_path / "grades"
    (student(place, submissions, "al sleeps") / "submission.py").write_text(SLEEPS)
    student(place, submissions, "bob o'neil", "Genwithlabel")
    (student(place, submissions, "eve") / "submission.py").write_text("1 / 0")
    (student(place, submissions, "fay kills") / "submission.py").write_text(KILLS)
    limits = ("--timeout", 15, "--memory", "2G", "--jobs", 2)

    # The call that waits is killed, the next one finds the jobs, and then one of them is cancelled.
    process = start(place, submissions, out, *limits, "--slurm", "--sbatch_args=--time=10 --mem=1000")
    printed = ""
    while "waiting for" not in printed:
        printed += process.stdout.readline()
    wait_for(lambda: "al sleeps" in running_students(out))
    process.kill()
    process.communicate()
    assert [int(count) for count in re.findall(r"submitted (\d+) students as job", printed)] == [2, 2]
    process = start(place, submissions, out, *limits, "--slurm")
    assert process.stdout.readline().startswith("waiting for 4 students"), "none is submitted again"
    subprocess.run(["scancel", running_students(out)["al sleeps"]], check=True)
    printed, errors = process.communicate()
    assert process.returncode == 2, errors
    assert "1 infra_error" in printed
    assert "its Slurm job ended without a result" in (out / "grades.csv").read_text()

    times = {path: path.stat().st_mtime_ns for path in (out / "results").glob("*.json")}
    assert len(times) == 3
    process = start(place, submissions, out, *limits, "--slurm", "--sbatch_args=--mem=1000")
    rows = grade(place, submissions, tmp_path / "here", *limits)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "submitted 1 students" in printed
    assert times == {path: path.stat().st_mtime_ns for path in times}
    assert rows["bob o'neil"]["Genwithlabel_status"] == "ok" and rows["al sleeps"]["VAEwolabel_status"] == "timeout"
    assert read_table(out) == rows


def running_students(out):
    """Return {id: job} of the students whom Slurm's jobs are at."""
    queue = subprocess.run(["squeue", "-h", "-r", "-t", "R", "-o", "%j %K %i"], capture_output=True, text=True)
    found = {}
    for name, index, job in map(str.split, queue.stdout.splitlines()):
        (ids,) = (out / "slurm").glob(f"*/students.{name.rpartition('.')[2]}")
        found[ids.read_text().splitlines()[int(index) - 1]] = job
    return found


def children(process):
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        return []


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():
                return
        except psutil.Error:
            pass
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def grade_in_process(place, folder, sandbox, files=("submission.py", "VAEwolabel.pth")):
    """Go through the phases as a class does, with a Grading of its own for each."""
    for phase in PHASES:
        grading = Grading("ann", folder, dict.fromkeys(files), sandbox, load_hidden(place / "valid.npz"))
        grading.advance(phase, folder.parent / "stored.npz", "key")
    assert set(grading.pictures) <= {"originals", "VAEwolabel_recon"}
    return grading.result()


def test_a_sandbox_that_is_killed_from_outside_is_tried_again(place, tmp_path):
    require_system("bwrap")
    sandbox = choose.choose_sandbox(Limits(60, 2**31))
    if not isinstance(sandbox, Bubblewrap):
        pytest.skip("bubblewrap does not hold here")
    calls, run = [], sandbox.run

    def count(job, *arguments):
        calls.append([part["do"] for part in job["parts"]])
        if len(calls) == 1:
            see_start = Watch.see_start

            def killed(watch):
                see_start(watch)
                if watch.started:
                    Watch.see_start = see_start
                    os.kill(watch.process.pid, signal.SIGKILL)

            Watch.see_start = killed
        return run(job, *arguments)

    sandbox.run = count
    tasks = grade_in_process(place, student(place, tmp_path, "ann", "VAEwolabel"), sandbox)
    assert calls == [[*["checks"] * 3, "rehearse"]] * 2 + [["encode"], ["decode"]]
    assert tasks["VAEwolabel"]["status"] == "ok"


def test_a_fault_of_the_machine_is_no_zero(place, tmp_path):
    sandbox = Bubblewrap(Limits(60, 2**31))
    sandbox.run = lambda *arguments: Outcome("infra_error", "the disk is full")
    (tmp_path / "ann").mkdir()
    tasks = grade_in_process(place, tmp_path / "ann", sandbox)
    assert tasks["VAEwolabel"]["status"] == "infra_error"
    assert tasks["VAEwolabel"]["score"] is None and tasks["VAEwolabel"]["completion"] is None
    tasks = {task: figures | {"status": "ok", "score": 5.0} for task, figures in tasks.items()}
    assert overall_status(tasks) == "infra_error", "a fault in the checks alone leaves points unknown"


def test_without_a_sandbox_it_refuses_unless_told_otherwise(monkeypatch):
    def fail():
        raise ImportError("no libseccomp")

    monkeypatch.setattr(choose, "build_filter", fail)
    with pytest.raises(LabError, match=r"no sandbox holds on this machine[^~]*no libseccomp"):
        choose.choose_sandbox(Limits(60, 2**31))
    assert choose.choose_sandbox(Limits(60, 2**31), unsafe=True).name == "none"


def test_a_sandbox_with_a_hole_is_not_chosen(monkeypatch):
    monkeypatch.setattr(Bubblewrap, "command", lambda self, step, worker: worker)  # one that isolates nothing
    monkeypatch.setattr(Bubblewrap, "worker_path", str(ROOT / "ta" / "sandbox" / "worker.py"))
    assert "find out the size of" in choose.find_hole(Bubblewrap(Limits(60, 2**31), build_filter()), [ROOT])


def test_records_of_hostile_bytes_end_where_they_stop_making_sense(tmp_path):
    def records(content):
        (tmp_path / "records").write_bytes(READY + content)
        return read_results(tmp_path / "records")[1]

    with open(tmp_path / "written", "wb") as file:
        write_record(file, {"status": "ok"}, {"codes": np.zeros((2, 3), np.float16), "text": np.array("hé")})
        whole = file.tell()
        write_record(file, {"status": "ok"}, {"objects": np.zeros(2)})
    content = (tmp_path / "written").read_bytes()
    (report, arrays), _ = records(content)
    assert report == {"status": "ok"} and arrays["codes"].shape == (2, 3) and str(arrays["text"]) == "hé"
    for damaged in (
        content[: len(content) - 1],
        content[:whole] + content[whole:].replace(b"<f8", b"|O8"),
        content[:whole] + content[whole:].replace(b"(2,)", b"(-2,"),
        content[:whole] + content[whole:].replace(b"(2,), ", b"(9**9,)"),
        content[:whole] + os.urandom(500),
        content[:whole] + b"\x93NUMPY\x01\x00\xff\xff" + b"[" * 65535,
    ):
        assert len(records(damaged)) == 1

"""A class of hostile submissions: what each of them gets, and what survives them."""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading

import numpy as np
import psutil
import pytest
from conftest import ROOT, require_system
from hostile import FILES, TOGETHER, build_files, build_others, expected, read_results, train_honest

from data_utils import load_split
from ta.hidden import make_hidden

ESCAPES = (
    *("together", "smuggles_beside_the_codes", "fork_bomb", "disk_bomb", "stdout_flood", "memory_bomb"),
    *("burns_processors", "one_task_breaks_the_other", "long_head"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with hidden.npz (60 pictures) and honest/, an honest submission."""
    folder = tmp_path_factory.mktemp("hostile")
    images, labels = load_split(ROOT / "dataset" / "valid.npz")
    hidden, hidden_labels, gen_seed = make_hidden(images, labels, "secret", 6)
    np.savez_compressed(folder / "hidden.npz", images=hidden, labels=hidden_labels, gen_seed=gen_seed)
    train_honest(folder / "honest" / "honest", images[:700], labels[:700])
    return folder


@pytest.fixture(scope="module")
def honest(place):
    """The honest submission's figures, graded alone."""
    grade(place, place / "honest", place / "alone")
    tasks = read_results(place / "alone" / "results")["honest"]["tasks"]
    assert [figures["completion"] for figures in tasks.values()] == [30, 20]
    return tasks


class Listener:
    """Listens by TCP and UDP on one port of the loopback interface and keeps what comes."""

    def __enter__(self):
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.got = []
        for wait in (self.tcp.accept, lambda: self.udp.recv(100)):
            threading.Thread(target=self.keep, args=(wait,), daemon=True).start()
        return self

    def keep(self, wait):
        with contextlib.suppress(OSError):
            self.got.append(wait())

    def __exit__(self, *error):
        self.tcp.close()
        self.udp.close()


def grade(place, submissions, out, wrapper=(), timeout=8, memory="1G"):
    """Run the command as a TA would; return what it printed."""
    command = [*wrapper, sys.executable, "-m", "ta", "grade", submissions, "--test_data", place / "hidden.npz"]
    command += ["--out", out, "--jobs", "2", "--timeout", str(timeout), "--memory", memory]
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def snapshot(*folders):
    """Return {path: hash} of the files under folders."""
    paths = [
        path for folder in folders for path in folder.rglob("*") if path.is_file() and "__pycache__" not in str(path)
    ]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def grade_hostile(place, folder, names=None, others=False, wrapper=(), honest_count=1):
    """Grade a class of hostile submissions and some honest ones; check all that must survive them. Returns the results
    by the submission's name, what was expected of each, and what was printed."""
    submissions, out, canary = folder / "class", folder / "grades", folder / "canary"
    for path in (submissions, out, canary):
        path.mkdir(parents=True)
    with Listener() as listener:
        targets = {
            "HIDDEN": str(place / "hidden.npz"),
            "OUT": str(out),
            "CLASS": str(submissions),
            "REFERENCE": str(ROOT / "ta" / "reference" / "submission.py"),
            "PORT": listener.port,
            "PID": os.getpid(),
        }
        expectations = build_files(submissions, place / "honest" / "honest", targets, names)
        if others:
            expectations |= build_others(submissions, place / "honest" / "honest", canary, place / "hidden.npz")
        for name in [f"honest {number}" for number in range(honest_count)]:
            expectations[name] = {"VAEwolabel": "honest", "Genwithlabel": "honest"}
            shutil.copytree(place / "honest" / "honest", submissions / name)

        before = snapshot(submissions, place), set(psutil.pids())
        printed = grade(place, submissions, out, wrapper)
        assert listener.got == []
    assert snapshot(submissions, place) == before[0]
    assert list(canary.iterdir()) == []
    tables = {"grades.csv", "grades_full.csv", "max_points.csv", "ignored.csv"}
    assert {path.name for path in out.iterdir()} == {"results", "gradebook.json", "report.html", "feedback"} | tables
    for pid in set(psutil.pids()) - before[1]:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            of_another_grader = any(" -m " in " ".join(parent.cmdline()) for parent in process.parents())
            assert of_another_grader or process.environ().get("USER") != "student", process.cmdline()
    return read_results(out / "results"), expectations, printed


def meets(figures, what, honest):
    """Return whether a task's figures are as expected."""
    if what == "honest":
        same = all(figures.get(name) == value for name, value in honest.items() if name not in ("checks", "completion"))
        return same and figures["completion"] <= honest["completion"]
    if what == "no better":
        return figures["score"] is not None and figures["score"] <= honest["score"]
    if what == "fault":
        return figures["status"] not in ("ok", "infra_error") and figures["score"] == 0
    return figures["status"] == what and figures["score"] == 0


def surprises(results, expectations, honest):
    """Return a line for each task that did not get what it should."""
    return [
        f"{name}: {task} expected {what}, got {json.dumps(results[name]['tasks'][task])[:400]}"
        for name, tasks in expectations.items()
        for task, what in tasks.items()
        if not meets(results[name]["tasks"][task], what, honest[task])
    ]


def test_a_hostile_class_ends_with_every_row_right_and_nothing_left_behind(place, honest, tmp_path):
    require_system("bwrap")
    results, expectations, printed = grade_hostile(place, tmp_path, others=True)
    assert len(expectations) + len(TOGETHER) > 50
    assert surprises(results, expectations, honest) == []
    assert printed.startswith("isolation: tier A")
    assert all(result["isolation"].startswith("tier A") for result in results.values())

    # A second call has nothing to do.
    files = list((tmp_path / "grades" / "results").glob("[!.]*.*"))
    before = {path: path.stat().st_mtime_ns for path in files}
    assert grade(place, tmp_path / "class", tmp_path / "grades").splitlines()[1:] == printed.splitlines()[1:]
    assert {path: path.stat().st_mtime_ns for path in files} == before


@pytest.mark.skipif(os.environ.get("VAE_LAB_SLOW") != "1", reason="takes a quarter of an hour: set VAE_LAB_SLOW=1")
def test_twenty_honest_students_get_among_twenty_hostile_ones_what_they_get_alone(place, honest, tmp_path):
    require_system("bwrap")
    names = [*[path.stem for path in FILES if path.stem not in TOGETHER][:19], "together"]
    results, expectations, _ = grade_hostile(place, tmp_path, names, honest_count=20)
    assert len(results) == 40 and surprises(results, expectations, honest) == []


def test_without_user_namespaces_landlock_holds(place, honest, tmp_path):
    require_system("bwrap")
    wrapper = ["bwrap", "--unshare-user", "--disable-userns", "--dev-bind", "/", "/", "--proc", "/proc"]
    results, expectations, printed = grade_hostile(place, tmp_path, ESCAPES, wrapper=wrapper)
    assert surprises(results, expectations, honest) == []
    assert printed.startswith("isolation: tier B")


def test_every_hostile_file_says_what_it_must_get():
    statuses = {"honest", "no better", "fault", "missing", "timeout", "memory", "crash", "output_flood"}
    statuses |= {"import_error", "checkpoint_error", "not_filled_in", "bad_shape", "bad_values"}
    for path in FILES:
        assert set(expected(path.read_text())) == {"VAEwolabel", "Genwithlabel"}
        assert set(expected(path.read_text()).values()) <= statuses

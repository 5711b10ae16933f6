"""run_sweep.sh as its users have it: killed, failing, twice at once, on a cluster; on small data."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from PIL import Image

from sweep.points import KNOBS

DEMO = (ROOT / "tests" / "correct" / "demo_mlp.py").read_text()

# A model of the width that TROUBLE_AT names fails in the second epoch, in the way that TROUBLE names.
TROUBLE = """
import os, signal, time
class VAE(VAE):
    def __init__(self, latent_dim=20, hidden_dim=400):
        super().__init__(latent_dim, hidden_dim)
        self.trouble = os.environ.get("TROUBLE") if os.environ.get("TROUBLE_AT") in (str(latent_dim), "all") else None
        self.steps = 0
    def decode(self, z, *labels):
        self.steps += self.training
        if self.trouble and self.steps == 9:  # 6 steps an epoch
            if self.trouble == "raise":
                raise ValueError("trouble at step 9")
            if self.trouble == "wait":
                time.sleep(600)
            if self.trouble == "die":  # with the script that Slurm runs
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().decode(z, *labels)
"""


@pytest.fixture
def sweep(small, tmp_path, monkeypatch):
    """sweep(*options, KNOB=value ...) starts run_sweep.sh in a folder of its own, the VAE of the demo at 2 and 3 for 3
    epochs unless knobs say otherwise, and returns the process. Its standard error goes where its output goes."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("SLURM", "SBATCH"))]:
        monkeypatch.delenv(name)
    (tmp_path / "mine.py").write_text(DEMO.replace("class GenModel", TROUBLE + "\n\nclass GenModel"))
    knobs = {"LATENT_DIMS": "2 3", "TASKS": "VAEwolabel", "EPOCHS": "3", "SUBMISSION": "mine.py"}
    knobs |= {"DATA": str(small / "valid.npz"), "PYTHON": sys.executable, "JOBS": "2"}
    further = ("--", "--train_data", str(small / "train.npz"), "--valid_data", str(small / "valid.npz"), "--lr", "5e-3")
    started = []

    def start(*options, out="out", further=further, **changed):
        command = ["bash", str(ROOT / "run_sweep.sh"), "--out", out, *options, *further]
        environment = os.environ | knobs | changed
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
        started.append(subprocess.Popen(command, env=environment, **how))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def finish(process):
    """Return the exit code of a sweep and what it printed."""
    printed = process.communicate(timeout=300)[0]
    return process.returncode, printed


def point(latent_dim, task="VAEwolabel"):
    return f"{task}_latent{latent_dim}_var0.1_epochs3_seed0"


def count_attempts(out, name):
    return Path(out, name, "log.txt").read_text().count("====") // 2


def read_rows(out):
    """Return summary.csv without the seconds, which no two runs share."""
    with open(Path(out, "summary.csv"), newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("knobs", "options", "message"),
    [
        ({"LATENT_DIMS": "2 0"}, (), "LATENT_DIMS: expected whole numbers from 1"),
        ({"LATENT_DIMS": " "}, (), "LATENT_DIMS is empty"),
        ({"VARS": "0.1 nan"}, (), "VARS: expected numbers above 0, separated by spaces, got 'nan'"),
        ({"EPOCHS": "1 2"}, (), "EPOCHS: expected one of whole numbers"),
        ({"JOBS": ""}, (), "JOBS: expected one of whole numbers"),
        ({"TASKS": "VAE"}, (), "TASKS: expected VAEwolabel and Genwithlabel"),
        ({"SUBMISSION": "none.py"}, (), "SUBMISSION: there is no file 'none.py'"),
        ({"LATENT_DIM": "5"}, (), "did you mean LATENT_DIMS?"),
        ({"PYTHON": "no_such_python"}, (), "there is no program no_such_python"),
        ({}, ("FOO=3",), "unknown knob FOO"),
        ({}, ("--fast",), "unknown option --fast"),
        ({}, ("--detach",), "--detach goes with --slurm"),
        ({}, ("--summary",), "--summary needs a folder"),
        ({}, ("--", "--lrr", "3"), "unrecognized arguments: --lrr"),
        ({}, ("--", "--epo", "3"), "'--epo' cannot be given after --"),
    ],
)
def test_wrong_use_is_told_before_anything_starts(sweep, knobs, options, message):
    code, printed = finish(sweep(*options, further=(), **knobs))
    assert code == 2
    assert message in printed
    assert not Path("out").exists()


def test_every_knob_is_in_the_help(sweep):
    code, printed = finish(sweep("--help"))
    assert code == 0
    for word in (*KNOBS, "--out", "--slurm", "--detach", "--status", "--summary", "--help"):
        assert word in printed


def test_killed_and_failed_points_go_on_to_the_summary_of_a_sweep_without_trouble(sweep):
    for process in [sweep(out="whole") for _ in range(2)]:
        code, printed = finish(process)
        assert code == 0, printed
        assert "2 of 2 done, 0 running, 0 failed" in printed
    assert {count_attempts("whole", point(latent_dim)) for latent_dim in (2, 3)} == {1}, "no point runs twice"

    for trouble, reason in (("raise", "ValueError: trouble at step 9"), ("kill", "train.py was killed by signal 9")):
        code, printed = finish(sweep(TROUBLE=trouble, TROUBLE_AT="3"))
        assert code == 1
        assert "1 of 2 points failed" in printed
        assert f"{point(3)}: " in printed
        assert reason in printed
        assert f"log: out/{point(3)}/log.txt" in printed
    assert count_attempts("out", point(2)) == 1, "the other point is done, once"

    killed = sweep()
    wait_for(lambda: count_attempts("out", point(3)) == 3)
    killed.kill()  # the point that it runs goes on: the next call waits for it
    code, printed = finish(sweep())
    assert code == 0, printed
    assert "goes on after epoch 1" in Path("out", point(3), "log.txt").read_text()

    rows = read_rows("out")
    assert rows == read_rows("whole")
    assert [row["latent_dim"] for row in rows] == ["2", "3"]
    assert all(float(row["score"]) > 0 and float(row["kl"]) > 0 and int(row["parameters"]) > 0 for row in rows)
    for name in ("summary.md", "summary.png", "digits_VAEwolabel.png"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()
    assert Image.open("out/digits_VAEwolabel.png").size > (300, 100)

    code, printed = finish(sweep(DATA=str(ROOT / "dataset" / "valid.npz")))
    assert code == 2
    assert "out was begun with other settings" in printed
    Path("out", point(3), "grade_result.json").write_text('{"status": "ok", "ta')
    assert finish(sweep("--summary", "out", further=()))[0] == 0
    assert len(read_rows("out")) == 1, "half a result is none"


def test_ctrl_c_stops_the_children_and_status_says_what_is_missing(sweep):
    running = sweep(TROUBLE="wait", TROUBLE_AT="all")
    wait_for(lambda: all(Path("out", point(latent_dim), "epoch_1.pth").exists() for latent_dim in (2, 3)))
    code, printed = finish(sweep("--status", further=()))
    assert "0 of 2 points done, 2 running" in printed
    running.send_signal(signal.SIGINT)
    code, printed = finish(running)
    assert code == 130
    code, printed = finish(sweep("--status", further=()))
    assert "0 of 2 points done, 0 running, 0 queued, 0 failed, 2 missing" in printed


def test_a_cluster_runs_the_points_and_cancelled_and_dead_jobs_are_submitted_again(sweep, cluster):
    knobs = {"TASKS": "Genwithlabel", "LATENT_DIMS": "2 3 4", "SBATCH_ARGS": "--time=10 --partition=main"}
    names = [point(latent_dim, "Genwithlabel") for latent_dim in (2, 3, 4)]
    code, printed = finish(sweep("--slurm", "--detach", **knobs, TROUBLE="die", TROUBLE_AT="3"))
    assert code == 0, printed
    assert "submitted 2 points as job" in printed
    assert "submitted 1 points as job" in printed, "in two arrays, because the cluster takes no larger ones"

    collecting = sweep("--slurm", **knobs)
    wait_for(Path("out", names[0], "epoch_1.pth").exists)
    subprocess.run(["scancel", re.findall(r"as job (\d+)", printed)[1]], check=True)
    code, printed = finish(collecting)
    assert code == 1
    assert "submitted" not in printed, "what is queued is not submitted again"
    assert "1 of 3 done, 0 running, 0 failed" in printed
    assert "2 of 3 points failed" in printed
    for name in names[1:]:
        assert f"{name}: its job ended without a result" in printed

    code, printed = finish(sweep("--slurm", **knobs))
    assert code == 0, printed
    assert "submitted 2 points" in printed
    assert "3 of 3 done" in printed
    assert "goes on after epoch 1" in Path("out", names[1], "log.txt").read_text()
    assert count_attempts("out", names[0]) == 1
    assert all(float(row["fid"]) > 0 and 0 <= float(row["digit_accuracy"]) <= 1 for row in read_rows("out"))

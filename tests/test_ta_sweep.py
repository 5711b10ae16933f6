"""The sweep as its users have it: edited, killed, failing, twice at once, on a full disk, on a cluster."""

import csv
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from matplotlib.figure import Figure
from PIL import Image

from lab.cli import run_command
from lab.files import write_json
from sweep.__main__ import KNOBS, main, read_list
from sweep.point import FILES, Point
from sweep.summary import summarise

DEMO = (ROOT / "examples" / "demo_mlp.py").read_text()

# A model of the width that TROUBLE_AT names fails in the second epoch, in the way that TROUBLE names.
TROUBLE = """
import os, signal, time
print("threads:", os.environ.get("OMP_NUM_THREADS"))
class VAE(VAE):
    def __init__(self, latent_dim=20, hidden_dim=400):
        super().__init__(latent_dim, 40)
        self.trouble = os.environ.get("TROUBLE") if os.environ.get("TROUBLE_AT") in (str(latent_dim), "all") else None
        self.steps = 0
    def decode(self, z, *labels):
        self.steps += self.training
        if self.trouble and self.steps == 9:  # 6 steps per epoch
            if self.trouble == "raise":
                raise ValueError("trouble at step 9")
            if self.trouble == "wait":
                time.sleep(600)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().decode(z, *labels)
"""


@pytest.fixture
def place(small, tmp_path, monkeypatch):
    """A folder to call the sweep from: mine.py and small data, and no knob or Slurm job in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name in KNOBS or name.startswith(("SLURM", "SBATCH"))]:
        monkeypatch.delenv(name)
    (tmp_path / "mine.py").write_text(DEMO + TROUBLE)
    for name in ("train.npz", "valid.npz"):
        shutil.copy(small / name, tmp_path / name)
    return tmp_path


KNOBS_HERE = ["LATENT_DIMS=2,3", "TASKS=VAEwolabel", "EPOCHS=3", "SUBMISSION=mine.py", "DATA=valid.npz", "JOBS=2"]
FURTHER = ["--", "--train_data", "train.npz", "--valid_data", "valid.npz", "--lr", "5e-3"]


@pytest.fixture
def sweep(place, run_here):
    """sweep(*words, out="out") runs the sweep in this process; later words win over KNOBS_HERE."""

    def run(*words, out="out", further=FURTHER):
        argv = ["--out", out, *KNOBS_HERE, *map(str, words), *further]
        return run_here(lambda: run_command(main), "sweep", *argv)

    return run


@pytest.fixture
def start(place):
    """start(*words, out="out", **environment) starts run_sweep.sh and returns the process; see finish."""
    started = []

    def begin(*words, out="out", further=FURTHER, **environment):
        command = [
            "sh",
            str(ROOT / "run_sweep.sh"),
            "--out",
            out,
            *KNOBS_HERE,
            f"PYTHON={sys.executable}",
            *words,
            *further,
        ]
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
        started.append(subprocess.Popen(command, env=os.environ | environment, **how))
        return started[-1]

    yield begin
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


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("words", "further", "message"),
    [
        (["LATENT_DIMS=2 0"], [], "LATENT_DIMS: expected whole numbers from 1 on"),
        (["LATENT_DIMS= "], [], "LATENT_DIMS is empty"),
        (["SEEDS=4-0"], [], "SEEDS: expected whole numbers from 0 on, or ranges such as 0-4"),
        (["VARS=0.1 nan"], [], "VARS: expected numbers above 0, separated by spaces or commas, got 'nan'"),
        (["VARS=1-4"], [], "VARS: expected numbers above 0"),
        (["EPOCHS=1 2"], [], "EPOCHS: expected one value, got '1 2'"),
        (["JOBS="], [], "JOBS is empty"),
        (["TASKS=VAE"], [], "TASKS: expected VAEwolabel or Genwithlabel"),
        (["KEEP=none"], [], "KEEP: expected all or best"),
        (["SUBMISSION=none.py"], [], "SUBMISSION: there is no file 'none.py'"),
        (["DATA=mine.py"], [], "mine.py is not a readable npz"),
        (["FOO=3"], [], "unknown knob FOO"),
        (["5"], [], "unknown knob 5"),
        (["--fast"], [], "unrecognized arguments: --fast"),
        (["--detach"], [], "--detach needs --slurm"),
        (["--out="], [], "--out is empty: expected a folder"),
        (["--summary", ""], [], "--summary is empty: expected a folder"),
        (["--summary", "nowhere"], [], "nowhere contains no sweep"),
        ([], ["--", "--lrr", "3"], "train.py does not accept the arguments after --: unrecognized arguments: --lrr"),
        ([], ["--", "--lr", "x"], "train.py does not accept the arguments after --: argument --lr: "),
        ([], ["--", "--epo", "3"], "'--epo' cannot be given after --"),
        ([], ["--", "--train_data", "gone.npz"], "train_data: there is no file 'gone.npz'"),
    ],
)
def test_wrong_use_is_told_before_anything_starts(sweep, words, further, message):
    code, _, error = sweep(*words, further=further)
    assert code == 2
    assert message in error
    assert len(error.strip().splitlines()) <= 2
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "mine.py cannot be imported, line 1: ZeroDivisionError"),
        ("def (", "mine.py is not valid Python"),
        (DEMO.replace("class GenModel", "class Other"), "does not define GenModel"),
    ],
)
def test_a_submission_that_cannot_work_is_one_error_and_nothing_is_queued(sweep, text, message):
    Path("mine.py").write_text(text)
    code, printed, error = sweep("TASKS=VAEwolabel Genwithlabel", "LATENT_DIMS=1-20")
    assert code == 2
    assert message in error and error.count("error:") == 1 and not printed
    assert not Path("out").exists()


def test_knobs_are_lists_with_commas_and_ranges_and_near_misses_are_only_noted(sweep, monkeypatch):
    assert read_list({"SEEDS": "0-2, 7 1"}, "SEEDS") == [0, 1, 2, 7]
    assert read_list({"VARS": "0.1,1e-1 2"}, "VARS") == [0.1, 2]
    for name in ("SEED", "TASK", "LATENT_DIM"):
        monkeypatch.setenv(name, "5")
    monkeypatch.setenv("JOBS", "none")
    code, _, error = sweep("TASKS=no", "JOBS=1")
    assert "the environment has LATENT_DIM, which is not a knob: did you mean LATENT_DIMS?" not in error, "it is given"
    code, _, error = sweep("KEEP=no")
    assert code == 2
    assert "JOBS: expected" not in error, "an argument wins over the environment"
    monkeypatch.delenv("LATENT_DIM")
    monkeypatch.setenv("SBATCH_ARG", "x")
    assert "note: the environment has SBATCH_ARG, which is not a knob: did you mean SBATCH_ARGS?" in sweep("KEEP=no")[2]


def test_without_knobs_the_labs_own_files_are_meant_from_any_directory(place, run_here):
    code, _, error = run_here(lambda: run_command(main), "sweep", "TASKS=VAEwolabel")
    assert code == 2
    assert "is not filled in yet" in error and "Nothing was started: no model for VAEwolabel works" in error
    assert not Path("runs").exists()


def test_every_knob_is_in_the_help(sweep):
    code, printed, _ = sweep("--help")
    assert code == 0
    for word in (*KNOBS, "--out", "--redo", "--slurm", "--detach", "--status", "--summary", "--help", "130"):
        assert word in printed
    assert "SUBMISSION   the file to train (submission.py)" in printed


def test_a_result_counts_only_for_the_files_it_was_made_with(sweep, place):
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    knobs = [word for word in KNOBS_HERE if not word.startswith(("SUBMISSION", "DATA"))]
    words = [f"PYTHON={sys.executable}", "--out", "../out", "SUBMISSION=../mine.py", "DATA=../valid.npz", "KEEP=best"]
    further = ["--", "--train_data", "../train.npz", "--valid_data", "../valid.npz", "--lr", "5e-3"]
    command = ["sh", str(ROOT / "run_sweep.sh"), *knobs, *words, *further]
    bare = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "3"}  # as `env -i` leaves it
    done = subprocess.run(command, cwd=elsewhere, env=bare, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    log = Path("out", point(2), "log.txt").read_text()
    assert "threads: 3" in log, "what the user has set is respected"
    assert [path.name for path in Path("out", point(2)).glob("*.pth")] == ["best.pth"], "KEEP=best"
    before = read_rows("out")
    assert [(row["latent_dim"], row["version"], row["state"]) for row in before] == [
        ("2", "", "done"),
        ("3", "", "done"),
    ]
    assert all(float(row["score"]) > 0 and float(row["kl"]) > 0 and int(row["parameters"]) > 0 for row in before)

    # The same files by other paths are the same; nothing is trained again.
    (place / "copy").mkdir()
    shutil.copy("valid.npz", "copy/valid.npz")
    code, printed, _ = sweep(f"DATA={place / 'copy' / '..' / 'copy' / 'valid.npz'}", "SUBMISSION=./mine.py")
    assert (code, read_rows("out")) == (0, before), printed
    assert count_attempts("out", point(2)) == 1

    # An edited submission: its points are older, apart, and nothing else.
    Path("mine.py").write_text(DEMO + TROUBLE + "\n# edited\n")
    code, printed, _ = sweep()
    assert code == 1
    assert "2 points are of an older submission.py (" in printed and "use --redo to train again" in printed
    assert all(row["version"].startswith("an older submission.py (") for row in read_rows("out"))
    assert "## VAEwolabel, of 10: an older submission.py (" in Path("out/summary.md").read_text()
    code, printed, _ = sweep("--status", "out")
    assert code == 0 and "0 of 2 points done, 0 running, 0 queued, 0 failed, 0 missing, 2 older" in printed
    code, printed, _ = sweep("LATENT_DIMS=3", "--redo")
    assert code == 0, printed
    assert {row["latent_dim"]: bool(row["version"]) for row in read_rows("out")} == {"3": False, "2": True}
    assert len({row["submission"] for row in read_rows("out")}) == 2
    assert Path("out/summary.md").read_text().count("## VAEwolabel, of 10") == 2

    # Other pictures under the old path: the sheet of digits does not show them over what they were not made to.
    Path("mine.py").write_text(DEMO + TROUBLE)
    images = np.load("valid.npz")["images"]
    np.savez_compressed("valid.npz", images=images[::-1], labels=np.load("valid.npz")["labels"][::-1])
    code, printed, _ = sweep("LATENT_DIMS=2")
    assert code == 1 and "1 point is of other DATA (" in printed
    assert "no sheet of digits" in printed and not Path("out/digits_VAEwolabel.png").exists()


def test_a_summary_outlives_its_checkpoints_its_folder_and_its_data_but_not_its_points(sweep):
    code, printed, error = sweep("LATENT_DIMS=2")
    assert code == 0, printed + error
    assert Image.open("out/digits_VAEwolabel.png").size > (300, 60)
    summary, rows = Path("out/summary.md").read_text(), read_rows("out")
    for path in Path("out").rglob("*.pth"):
        path.unlink()
    Path("valid.npz").rename("moved.npz")
    shutil.move("out", "elsewhere")
    code, printed, _ = sweep("--summary", "elsewhere")
    assert code == 0
    assert "valid.npz is missing or has changed" in printed
    assert (Path("elsewhere/summary.md").read_text(), read_rows("elsewhere")) == (summary, rows)
    assert Path("elsewhere/summary.png").exists() and not Path("elsewhere/digits_VAEwolabel.png").exists()

    Path("elsewhere", point(2), "result.json").write_text('{"settings": {"ta')
    code, printed, _ = sweep("--summary", "elsewhere")
    assert code == 0 and "0 of 1 points have a result" in printed, "half a result is none"
    shutil.rmtree(Path("elsewhere", point(2)))
    code, _, error = sweep("--summary", "elsewhere")
    assert code == 2 and "there are no points in elsewhere" in error
    assert not list(Path("elsewhere").glob("summary.*"))


def test_killed_and_failed_points_go_on_to_the_summary_of_a_sweep_without_trouble(start):
    for process in [start(out="whole") for _ in range(2)]:
        code, printed = finish(process)
        assert code == 0, printed
    assert {count_attempts("whole", point(latent_dim)) for latent_dim in (2, 3)} == {1}, "no point runs twice"

    reasons = {"raise": "ValueError: trouble at step 9", "kill": "its process was killed by signal 9"}
    for trouble, reason in reasons.items():
        code, printed = finish(start(TROUBLE=trouble, TROUBLE_AT="3"))
        assert code == 1
        assert f"{point(3)}: failed" in printed
        assert "1 of 2 points failed" in printed
        assert reason in printed
        assert f"log: out/{point(3)}/log.txt" in printed
    assert "submission.py, line " in Path("out", point(3), "log.txt").read_text()
    assert count_attempts("out", point(2)) == 1, "the other point is done, once"
    missing = [row for row in read_rows("out") if row["state"] != "done"]
    assert [(row["latent_dim"], row["state"]) for row in missing] == [("3", "failed")]
    assert "killed by signal 9" in missing[0]["reason"]
    assert "killed by signal 9" in Path("out/summary.md").read_text()
    code, printed = finish(start("--status"))
    assert code == 1 and f"{point(3)}: failed, epoch 2/3" in printed

    killed = start()
    wait_for(lambda: count_attempts("out", point(3)) == 3)
    killed.kill()  # the point that it runs goes on: the next call waits for it
    code, printed = finish(start())
    assert code == 0, printed
    assert count_attempts("out", point(3)) == 3
    assert "resuming after epoch 1" in Path("out", point(3), "log.txt").read_text()
    assert read_rows("out") == read_rows("whole")
    for name in ("summary.md", "summary.png", "digits_VAEwolabel.png"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()


def test_ctrl_c_stops_the_points_and_status_says_how_far_they_are(start):
    running = start(TROUBLE="wait", TROUBLE_AT="all")
    wait_for(lambda: all(Path("out", point(latent_dim), "epoch_1.pth").exists() for latent_dim in (2, 3)))
    code, printed = finish(start("--status", "out"))
    assert code == 0
    assert "0 of 2 points done, 2 running" in printed
    assert f"{point(3)}: running, epoch 1/3" in printed
    running.send_signal(signal.SIGINT)
    code, printed = finish(running)
    assert code == 130
    assert "the same command resumes the sweep" in printed
    code, printed = finish(start("--status"))
    assert code == 0
    assert "0 of 2 points done, 0 running, 0 queued, 0 failed, 2 missing" in printed


def test_a_full_disk_is_called_one(sweep, place):
    out = place / "out"
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", out], capture_output=True).returncode != 0:
        pytest.skip("a small disk is mounted by root")
    try:
        code, printed, _ = sweep("LATENT_DIMS=2")
        assert code == 1, printed
        assert "the disk is full" in printed
        assert "the disk is full" in (out / "summary.csv").read_text()
    finally:
        subprocess.run(["umount", out], check=True)


def test_a_cluster_runs_the_points_and_cancelled_and_dead_jobs_are_submitted_again(start, sweep, cluster, monkeypatch):
    words = ["TASKS=Genwithlabel", "LATENT_DIMS=2-4", "SBATCH_ARGS=--time=10 --partition=main"]
    names = [point(latent_dim, "Genwithlabel") for latent_dim in (2, 3, 4)]
    Path("mine.py").write_text((DEMO + TROUBLE).replace("class VAE(VAE)", "class GenModel(GenModel)"))
    code, printed = finish(start("--slurm", "--detach", *words, TROUBLE="kill", TROUBLE_AT="3"))
    assert code == 0, printed
    assert "submitted 2 points as job" in printed
    assert "submitted 1 points as job" in printed, "in two arrays, because the cluster takes no larger ones"

    collecting = start("--slurm", *words)
    wait_for(Path("out", names[0], "epoch_1.pth").exists)
    code, status = finish(start("--status"))
    assert code == 0 and "1 queued" in status, "one job waits, as JOBS=2 bounds both arrays"
    subprocess.run(["scancel", re.findall(r"as job (\d+)", printed)[1]], check=True)
    code, printed = finish(collecting)
    assert code == 1
    assert "submitted" not in printed, "what is queued is not submitted again"
    assert "2 of 3 points failed" in printed
    for name in names[1:]:
        assert f"{name}: its Slurm job ended without a result" in printed
    assert f"log: out/{names[1]}/log.txt" in printed
    assert f"log: out/{names[2]}/log.txt" not in printed, "it was never started"
    assert sum("Slurm job ended" in row["reason"] for row in read_rows("out")) == 2

    code, printed = finish(start("--slurm", *words))
    assert code == 0, printed
    assert "submitted 2 points" in printed
    assert "resuming after epoch 1" in Path("out", names[1], "log.txt").read_text()
    assert count_attempts("out", names[0]) == 1
    assert all(float(row["fid"]) > 0 and 0 <= float(row["digit_accuracy"]) <= 1 for row in read_rows("out"))

    pid = int(Path(os.environ["SLURM_CONF"]).with_name("slurmctld.pid").read_text())
    monkeypatch.setattr("lab.slurm.PATIENCE", 1)
    os.kill(pid, signal.SIGSTOP)
    try:
        code, printed, _ = sweep("--status")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert code == 0
    assert "it is unknown which points are queued: squeue failed: no answer within 1 s" in printed
    with monkeypatch.context() as here:
        here.setenv("PATH", "/nowhere")
        code, printed, _ = sweep("--status", "out")
    assert code == 0 and "3 of 3 points done" in printed, "Slurm is not needed to look"


@pytest.fixture
def pictured(tmp_path, monkeypatch):
    """pictured(points, ...) writes a sweep's folder with made-up results, sums it up, and returns what was drawn:
    {title of a panel: its axes}. points: (latent_dim, var, epochs, seed, score), a score of None is a failed point."""
    figures = []

    class Kept(Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            figures.append(self)

    monkeypatch.setattr("sweep.summary.Figure", Kept)

    def draw(points, task="VAEwolabel", older=(), useless=(), above_cap=1):
        shared = dict.fromkeys(FILES, "a" * 64) | {"lr": 0.001}
        write_json(tmp_path / "sweep.json", {"settings": shared})
        for number, (*own, score) in enumerate(points):
            settings = dict(zip(("latent_dim", "var", "epochs", "seed"), own, strict=True)) | {"task": task} | shared
            settings |= {"submission": "b" * 64} if own[0] in older else {}
            content = {
                "settings": settings,
                "files": {"data": "gone.npz"},
                "arguments": [],
                "keep": "all",
                "replaces": [],
            }
            folder = tmp_path / f"point_{number}"
            folder.mkdir()
            write_json(folder / "point.json", content)
            if score is None:
                Point(folder, **content).fail("ValueError: no | luck (submission.py, line 7)")
                continue
            mse = 0.07 if own[0] in useless else 0.02
            metrics = {
                "mse": mse,
                "ssim": 0.5,
                "bonus": 1.1,
                "kl": 9.0,
                "recon_loss": 80.0,
                "raw": score + above_cap,
                "score": score,
            }
            metrics |= {"mean_picture_mse": 0.067, "seconds": 1.0, "parameters": 7}
            write_json(folder / "result.json", {"settings": settings, "metrics": metrics})
        summarise(tmp_path)
        assert Image.open(tmp_path / "summary.png").width == 800
        assert all(axes.get_subplotspec().get_gridspec().ncols == 2 for axes in figures[-1].axes)
        return {axes.get_title(): axes for axes in figures[-1].axes}

    return draw


def lines_of(axes):
    """Return {label: (x values, y values)} of the labelled lines in a panel."""
    lines = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in lines}


def test_many_variances_at_one_width_are_curves_over_var_and_every_one_has_its_tick(pictured):
    variances = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 2]
    panels = pictured([(20, var, 5, seed, 5 + var + seed / 10) for var in variances for seed in (0, 1)])
    for title in ("KL, nats", "SSIM ↑", "MSE ↓"):
        assert lines_of(panels[title])["VAEwolabel, latent_dim 20"][0] == variances
        assert panels[title].get_xscale() == "log" and panels[title].get_xlabel() == "var"
        assert [label.get_text() for label in panels[title].get_xticklabels()] == [f"{var:g}" for var in variances]
    (score,) = (axes for title, axes in panels.items() if "score" in title)
    assert "★ latent_dim 20, var 2: score 7.05±0.05 (raw 8.05±0.05)" in score.get_title()
    assert not score.texts and score.get_legend() is None, "nothing covers the data"
    assert "score ↑ (dashed: before the cap)" in score.get_title()
    assert score.figure.legends[0].get_title().get_text() == "", "the legend explains only marks that occur"


def test_with_widths_and_variances_there_is_a_line_for_each_value_of_the_fewer(pictured):
    panels = pictured([(width, var, 5, 0, width * var) for width in (2, 5, 10) for var in (0.1, 0.5)])
    assert {label: x for label, (x, _) in lines_of(panels["KL, nats"]).items()} == {
        "VAEwolabel, var 0.1": [2, 5, 10],
        "VAEwolabel, var 0.5": [2, 5, 10],
    }


def test_four_of_seven_failing_are_gaps_and_are_listed_with_their_reason(pictured, tmp_path):
    widths = {2: 3.0, 5: None, 10: 6.0, 20: None, 40: 7.0, 100: None, 200: None}
    panels = pictured([(width, 0.1, 5, 0, score) for width, score in widths.items()], useless=[2])
    x, y = lines_of(panels["KL, nats"])["VAEwolabel, var 0.1"]
    assert x == list(widths) and [math.isnan(value) for value in y] == [score is None for score in widths.values()]
    crosses = [line.get_xdata()[0] for line in panels["KL, nats"].get_lines() if line.get_marker() == "x"]
    assert crosses == [5, 20, 100, 200]
    (legend,) = panels["KL, nats"].figure.legends
    assert legend.get_title().get_text() == "hollow: no better than the mean picture\n×: no result"
    table = (tmp_path / "summary.md").read_text()
    assert table.count("| failed | ValueError: no / luck (submission.py, line 7) |") == 4
    assert "3.000 † |" in table and table.count("†") == 2, "the point that is no better than the mean picture"
    rows = {int(row["latent_dim"]): row for row in read_rows(tmp_path)}
    assert [rows[width]["state"] for width in widths] == ["done" if score else "failed" for score in widths.values()]
    assert rows[5]["reason"].startswith("ValueError") and rows[2]["no_better_than_mean"] == "True"


def test_versions_are_never_averaged_and_mixed_epochs_are_named_beside_the_best(pictured, tmp_path, capsys):
    points = [
        (2, 0.1, 5, 0, 4.0),
        (2, 0.1, 10, 0, 5.0),
        (5, 0.1, 10, 0, 9.0),
        (5, 0.1, 10, 1, 9.5),
        (10, 0.1, 5, 0, 6.0),
    ]
    panels = pictured(points, older=[5], above_cap=0)
    assert not any("dashed" in title for title in panels)
    assert "VAEwolabel: best at latent_dim 10, var 0.1, 5 epochs: score 6.00" in capsys.readouterr().out
    labels = lines_of(panels["SSIM ↑"])
    assert "VAEwolabel, epochs 10, var 0.1, an older submission.py (bbbbbbbb)" in labels
    assert labels["VAEwolabel, epochs 10, var 0.1"][0] == [2]
    current, older = (tmp_path / "summary.md").read_text().split("## VAEwolabel, of 10")[1:]
    assert "| 5 | 0.1 | 10 | 2 |" in older and "| 5 | 0.1 | 10 |" not in current
    assert "Best: latent_dim 10, var 0.1, 5 epochs" in current
    assert {row["submission"][0] for row in read_rows(tmp_path)} == {"a", "b"}

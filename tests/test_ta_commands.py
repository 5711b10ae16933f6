"""train.py, inference.py and grade.py as a student uses them, with the reference and with other submissions."""

import csv
import json
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

REFERENCE = ROOT / "ta" / "reference" / "submission.py"
ORIGINAL_COURSE = ROOT / "tests" / "correct" / "original_course.py"
TASKS = ("VAEwolabel", "Genwithlabel")


def data(small):
    return ("--train_data", small / "train.npz", "--valid_data", small / "valid.npz")


def variant(path, old, new, text=REFERENCE):
    """Write the reference with one piece of text replaced to `path` and return it."""
    source = text.read_text()
    assert old in source
    path.write_text(source.replace(old, new))
    return path


def next_command(printed):
    """Return the words of the last next: line without the Python; the script is one of the lab's."""
    (*_, line) = [line for line in printed.splitlines() if line.startswith("next: ")]
    return shlex.split(line)[2:]


def read_history(run):
    with open(run / "history.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("submission", [REFERENCE, ORIGINAL_COURSE], ids=["reference", "original_course"])
def test_the_handouts_commands_lead_from_training_to_a_score(lab, small, submission):
    outputs = []
    for task in TASKS:
        arguments = ("--task", task, "--epochs", 4, "--latent_dim", 5, "--lr", 5e-3, "--submission", submission)
        code, printed, error = lab("train.py", *arguments, *data(small))
        assert code == 0, error
        (run,) = (Path("runs") / task).iterdir()
        assert "latent5" in run.name
        assert (run / "submission.py").read_bytes() == submission.read_bytes()
        config = json.loads((run / "config.json").read_text())
        assert config["arguments"]["latent_dim"] == 5
        best = torch.load(run / "best.pth", weights_only=True)
        assert best.keys() == {"task", "latent_dim", "var", "epoch", "valid_loss", "model_state_dict"}
        assert 0 < config["parameters"] <= sum(value.numel() for value in best["model_state_dict"].values())
        for picture in ("loss_curve.png", "samples/epoch_001.png", "samples/epoch_002.png"):
            assert Image.open(run / picture).size > (100, 20)
        for row in read_history(run):
            assert row["train_loss"] == pytest.approx(row["train_recon_loss"] + row["train_kl"], rel=1e-5)
            assert row["valid_loss"] == pytest.approx(row["valid_recon_loss"] + row["valid_kl"], rel=1e-5)

        code, printed, error = lab(*next_command(printed), "--data_path", small / "valid.npz")
        assert code == 0, error
        assert " of 5 dimensions active (KL above 0.1)" in printed
        assert lab(*next_command(printed))[0] == 0, "the next command names the split that was reconstructed"
        outputs += [f"--{task}_output_dir", run / "output"]
        for picture in ("recon.png", "gen.png", "interpolation.png", *["labels.png"] * (task == "Genwithlabel")):
            assert Image.open(run / "output" / picture).size > (100, 20)

    code, printed, error = lab("grade.py", "--test_data_path", small / "valid.npz", *outputs)
    assert code == 0, error
    result = json.loads(Path("runs/grade_result.json").read_text())
    for task in TASKS:
        figures = result["tasks"][task]
        assert figures["latent_dim"] == 5
        assert 0 < figures["score"] == figures["raw"]
        assert 0 < figures["mse"] < 0.1
    assert all(Path(picture).is_file() for picture in result["pictures"])
    code, again, _ = lab("grade.py", "--test_data_path", small / "valid.npz")
    again, printed = (re.sub(r"trained .*", "", text) for text in (again, printed))  # how long ago
    assert again == printed, "without folders, the newest outputs are graded"


STOP_IN_THE_THIRD_EPOCH = """
import os, signal, torch
steps = 0
class VAE(VAE):
    def forward(self, x, labels=None):
        global steps
        steps += self.training
        if steps == 15 and "STOP" in os.environ:  # 6 steps an epoch
            os.kill(os.getpid(), getattr(signal, os.environ["STOP"]))
        return super().forward(x, labels)
"""


@pytest.mark.parametrize("stop", ["SIGKILL", "SIGINT"])
def test_a_stopped_run_goes_on_to_the_same_weights_and_history(lab, small, tmp_path, stop):
    submission = tmp_path / "stops.py"
    submission.write_text(REFERENCE.read_text() + STOP_IN_THE_THIRD_EPOCH)
    arguments = ["--task", "VAEwolabel", "--epochs", 4, "--seed", 3, "--pred_step", 4, "--submission", submission]
    code, _, error = lab("train.py", *arguments, *data(small), "--save_dir", "whole")
    assert code == 0, error

    command = [sys.executable, ROOT / "train.py", *arguments, *data(small), "--save_dir", "stopped"]
    environment = os.environ | {"STOP": stop}
    stopped = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, cwd=tmp_path)
    if stop == "SIGKILL":
        assert stopped.returncode == -signal.SIGKILL
    else:
        assert stopped.returncode == 130
        assert "--load_from_checkpoint --save_dir stopped" in stopped.stdout
    assert sorted(path.name for path in Path("stopped").glob("epoch_*")) == ["epoch_1.pth", "epoch_2.pth"]

    resume = ("--task", "VAEwolabel", "--load_from_checkpoint", "--save_dir", "stopped")
    code, printed, error = lab("train.py", *resume)
    assert code == 0, error
    assert "resuming after epoch 2" in printed
    assert Path("stopped/history.csv").read_bytes() == Path("whole/history.csv").read_bytes()
    for name in ("epoch_4.pth", "best.pth"):
        whole, resumed = (torch.load(f"{run}/{name}", weights_only=True) for run in ("whole", "stopped"))
        assert whole["model_state_dict"].keys() == resumed["model_state_dict"].keys()
        for key, value in whole["model_state_dict"].items():
            assert torch.equal(value, resumed["model_state_dict"][key]), key

    code, _, error = lab("train.py", *resume, "--latent_dim", 7)
    assert code == 2
    assert "was started with --latent_dim 20, but you asked for --latent_dim 7" in error


def test_only_the_newest_five_epochs_stay_and_no_run_is_overwritten(lab, small):
    arguments = ("--task", "VAEwolabel", "--submission", REFERENCE, *data(small))
    assert lab("train.py", *arguments, "--epochs", 7, "--save_dir", "mine")[0] == 0
    epochs = sorted(path.name for path in Path("mine").glob("epoch_*.pth"))
    assert epochs == [f"epoch_{number}.pth" for number in range(3, 8)]
    code, _, error = lab("train.py", *arguments, "--save_dir", "mine")
    assert code == 2
    assert "--load_from_checkpoint --save_dir mine" in error
    assert "a different --save_dir" in error
    for _ in range(2):
        assert lab("train.py", *arguments, "--epochs", 1)[0] == 0
    assert len(list(Path("runs/VAEwolabel").iterdir())) == 2


def test_flags_of_older_scripts_are_understood(lab, small):
    flags = ("--save_loss_plot", "True", "--show_loss_plot", "False", "--load_from_checkpoint", "False")
    arguments = ("--task", "VAEwolabel", "--submission", REFERENCE, "--epochs", 1)
    assert lab("train.py", *arguments, *flags, *data(small))[0] == 0


def test_a_model_that_learned_nothing_is_told_so(lab, small):
    arguments = ("--task", "VAEwolabel", "--submission", ORIGINAL_COURSE, "--train_data", small / "train.npz")
    arguments += ("--valid_data", small / "valid.npz", "--batch_size", 20, "--epochs", 3)
    assert "no better than always the mean picture" in lab("train.py", *arguments, "--var", 100)[1]
    arguments += ("--epochs", 15, "--lr", 3e-3)
    assert "no better than always the mean picture" not in lab("train.py", *arguments, "--var", 0.1)[1]


def test_a_loss_that_becomes_nan_stops_the_run_and_keeps_the_last_good_checkpoint(lab, small, tmp_path):
    text = "    return (kl + rec).mean()\n"
    nan_at_9 = "    vae_loss.calls += torch.is_grad_enabled()\n    return (kl + rec).mean() / (vae_loss.calls != 9)\n"
    submission = variant(tmp_path / "nan.py", text, nan_at_9)
    submission.write_text(submission.read_text() + "\n\nvae_loss.calls = 0\n")
    arguments = ("--task", "VAEwolabel", "--epochs", 4, "--submission", submission, "--save_dir", "run")
    code, _, error = lab("train.py", *arguments, *data(small))
    assert code == 2
    assert "the training loss became inf at step 9 (epoch 2)" in error
    assert "run/epoch_1.pth is the last good checkpoint" in error
    assert [path.name for path in Path("run").glob("epoch_*.pth")] == ["epoch_1.pth"]
    weights = torch.load("run/epoch_1.pth", weights_only=True)["model_state_dict"]
    assert all(value.isfinite().all() for value in weights.values())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("class VAE(nn.Module)", "class VAE2(nn.Module)", "does not define VAE"),
        ("class VAE(nn.Module):", "class VAE(nn.Module:", "is not valid Python"),
        (
            "import torch\n",
            "import torch\nimport no_such_package\n",
            "cannot be imported, line 13: ModuleNotFoundError",
        ),
        ("import torch\n", "import torch\nraise SystemExit\n", "cannot be imported, line 13: SystemExit"),
        ("latent_dim=20, hidden_dim=400", "hidden_dim=400", "VAE(latent_dim=20) failed: TypeError"),
        ("unflatten(1, (28, 28))", "unflatten(1, (14, 56))", "VAE.forward must return pictures [128, 28, 28]"),
        ("unflatten(1, (28, 28))", "no_such_method()", "in decode): AttributeError"),
        ("log_var)), mu, log_var", "log_var)), mu", "VAE.forward must return recon, mu, log_var, got tuple of 2"),
        ("return (kl + rec).mean()", "return kl + rec", "vae_loss must return one number"),
        ("self.mu(hidden), self.log_var(hidden)", "self.mu(x), x", "in encode): RuntimeError"),
        (
            "return (kl + rec).mean()",
            "raise NotImplementedError('2.3 is not filled in yet')",
            "2.3 is not filled in yet",
        ),
    ],
)
def test_a_wrong_submission_is_told_so_before_anything_is_written(lab, small, tmp_path, old, new, message):
    submission = variant(tmp_path / "wrong.py", old, new)
    code, _, error = lab("train.py", "--task", "VAEwolabel", "--submission", submission, *data(small))
    assert code == 2
    assert message in error
    assert "Traceback" not in error
    assert not Path("runs").exists()


@pytest.mark.parametrize(("task", "section"), [("VAEwolabel", "2.2.1"), ("Genwithlabel", "3.1")])
def test_the_unfilled_file_is_told_which_task_comes_next(lab, small, task, section):
    unfilled = ROOT / "submission.py"
    code, _, error = lab("train.py", "--task", task, "--submission", unfilled, *data(small))
    assert code == 2
    assert error.startswith(f"error: task {section} is not filled in yet")


@pytest.fixture
def run(lab, small):
    """A trained run of the reference's VAE, latent_dim 4."""
    arguments = ("--task", "VAEwolabel", "--submission", REFERENCE, "--epochs", 1, "--latent_dim", 4)
    assert lab("train.py", *arguments, *data(small), "--save_dir", "runs/VAEwolabel/run")[0] == 0
    return Path("runs/VAEwolabel/run")


def test_inference_repeats_itself_and_its_pngs_score_the_same(lab, small, run):
    infer = ("--task", "VAEwolabel", "--data_path", small / "valid.npz", "--gen_num", 3, "--png")
    for folder in ("a", "b"):
        assert lab("inference.py", *infer, "--save_dir", folder)[0] == 0
    for name in ("recon.npz", "gen.npz"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()
    with np.load("a/recon.npz") as arrays:
        assert arrays["codes"].dtype == np.float16
        assert arrays["codes"].shape == (200, 4)
        assert np.array_equal(arrays["images"][7], np.asarray(Image.open("a/recon/recon_7.png")))
    with np.load("a/gen.npz") as arrays:
        assert np.array_equal(arrays["images"][9, 2], np.asarray(Image.open("a/gen/9/2.png")))
    Path("b/recon.npz").unlink()
    figures = []
    for folder in ("a", "b"):
        grade = ("--test_data_path", small / "valid.npz", "--VAEwolabel_output_dir", folder)
        assert lab("grade.py", *grade)[0] == 0
        figures.append(json.loads(Path("runs/grade_result.json").read_text())["tasks"]["VAEwolabel"]["raw"])
    assert figures[0] == figures[1]


def test_inference_explains_what_does_not_fit(lab, small, run, tmp_path):
    infer = ("--data_path", small / "valid.npz", "--checkpoint_path")
    checkpoint = run / "best.pth"

    def error_of(*arguments):
        code, _, error = lab("inference.py", *arguments)
        assert code == 2
        return error

    assert "was trained with --latent_dim 4, but you asked for 9" in error_of(
        "--task", "VAEwolabel", "--latent_dim", 9, *infer, checkpoint
    )
    assert "was trained with --task VAEwolabel" in error_of("--task", "Genwithlabel", *infer, checkpoint)
    assert "do not fit VAE" in error_of("--task", "VAEwolabel", "--submission", ORIGINAL_COURSE, *infer, checkpoint)
    assert "there is no checkpoint" in error_of("--task", "VAEwolabel", *infer, "none.pth")
    assert "there is no trained run" in error_of("--task", "Genwithlabel")
    torch.save({"model_state_dict": {}, "best_loss": np.float64(1)}, "numpy.pth")
    assert "turn numpy values into numbers with .item()" in error_of("--task", "VAEwolabel", *infer, "numpy.pth")
    Path("text.pth").write_text("no checkpoint")
    assert "cannot be read as a checkpoint" in error_of("--task", "VAEwolabel", *infer, "text.pth")
    torch.save([1], "list.pth")
    assert "has no model_state_dict" in error_of("--task", "VAEwolabel", *infer, "list.pth")


def test_a_checkpoint_of_the_original_course_needs_only_its_weights(lab, small, run):
    weights = torch.load(run / "best.pth", weights_only=True)["model_state_dict"]
    torch.save({"epoch": 3, "model_state_dict": weights}, "old.pth")
    arguments = ("--task", "VAEwolabel", "--submission", REFERENCE, "--checkpoint_path", "old.pth")
    code, _, error = lab("inference.py", *arguments, "--data_path", small / "valid.npz")
    assert code == 2
    assert "give --latent_dim" in error
    code, _, error = lab("inference.py", *arguments, "--data_path", small / "valid.npz", "--latent_dim", 4)
    assert code == 0, error


def test_a_forward_around_decode_is_refused(lab, small, run, tmp_path):
    submission = variant(
        tmp_path / "around.py", "self.decode(self.reparameterize(mu, log_var))", "self.decoder(mu).view(-1, 28, 28)"
    )
    arguments = ("--task", "VAEwolabel", "--submission", submission, "--checkpoint_path", run / "best.pth")
    code, _, error = lab("inference.py", *arguments, "--data_path", small / "valid.npz")
    assert code == 2
    assert "VAE.forward must call self.decode(z, labels) once" in error


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_everything_runs_on_a_gpu(lab, small):
    for task in TASKS:
        arguments = ("--task", task, "--epochs", 1, "--submission", REFERENCE, "--device", "cuda", "--bf16")
        code, _, error = lab("train.py", *arguments, *data(small), "--save_dir", f"runs/{task}/gpu")
        assert code == 0, error
        code, _, error = lab("inference.py", "--task", task, "--data_path", small / "valid.npz", "--device", "cuda")
        assert code == 0, error


@pytest.mark.parametrize("command", ["release", "hidden", "grade", "report", "gradescope"])
def test_the_help_of_the_tas_tools_shows_every_default(lab_ta, help_of, command):
    assert lab_ta(command, "--help")[0] == 0
    help_of.shows_every_default()


@pytest.mark.parametrize("name", ["autoencoders", "cifar", "elbo"])
def test_the_help_of_the_experiments_shows_every_default(run_here, help_of, name):
    assert run_here(lambda: runpy.run_module(f"experiments.{name}", run_name="__main__"), name, "--help")[0] == 0
    help_of.shows_every_default()

"""Runs as a student uses them: resumed with other settings, from older checkpoints, moved, from elsewhere, compared."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

from data_utils import load_split
from lab.run import Run

DEMO = ROOT / "examples" / "demo_mlp.py"
VAE = ("--task", "VAEwolabel")
RESUME = ("train.py", *VAE, "--load_from_checkpoint")


@pytest.fixture
def train(lab, small, tmp_path):
    """train(*arguments) trains the demo's VAE in a folder with a space in its name, one epoch unless told otherwise."""
    (tmp_path / "my lab").mkdir()
    os.chdir(tmp_path / "my lab")
    shutil.copyfile(DEMO, "submission.py")
    for name in ("train", "valid"):
        shutil.copyfile(small / f"{name}.npz", f"{name}.npz")

    def start(*arguments):
        data = ("--train_data", "train.npz", "--valid_data", "valid.npz")
        return lab("train.py", *VAE, "--epochs", 1, "--latent_dim", 3, *data, *arguments)

    return start


def next_commands(printed):
    """Return the words of each next: line, without the Python."""
    return [shlex.split(line)[2:] for line in printed.splitlines() if line.startswith("next: ")]


def epochs_in(run):
    return sorted(path.name for path in Path(run).glob("epoch_*.pth"))


def weights(path):
    return torch.load(path, weights_only=True)["model_state_dict"]


def same_weights(a, b):
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_with_an_older_name_in_its_history_is_resumed(lab, train):
    assert train("--save_dir", "run")[0] == 0
    text = Path("run/history.csv").read_text()
    assert "valid_recon_loss" in text
    Path("run/history.csv").write_text(text.replace("recon_loss", "rec"))
    assert "valid_recon_loss" in Run("run").read_history()[-1]
    checkpoint = torch.load("run/epoch_1.pth", weights_only=True)
    rows = checkpoint["history"]
    checkpoint["history"] = [{name.replace("recon_loss", "rec"): row[name] for name in row} for row in rows]
    torch.save(checkpoint, "run/epoch_1.pth")
    code, _, error = lab(*RESUME, "--save_dir", "run", "--epochs", 2)
    assert code == 0, error
    assert Run("run").read_history()[: len(rows)] == rows and "_rec," not in Path("run/history.csv").read_text()


def test_a_run_has_one_setting(lab, train):
    assert train("--save_dir", "runs/my run")[0] == 0
    before = {path: path.read_bytes() for path in Path("runs/my run").iterdir() if path.is_file()}
    other_pictures, labels = load_split("valid.npz")
    np.savez("other.npz", images=other_pictures, labels=labels)
    for arguments, message in (
        (("--var", 0.1), "was started with --var 0.5, but you asked for --var 0.1: a run keeps its settings"),
        (("--lr", 0.01, "--seed", 4), "--lr 0.001, --seed 0, but you asked for --lr 0.01, --seed 4"),
        (("--batch_size", 64), "--batch_size 128, but you asked for --batch_size 64"),
        (("--pred_step", 3), "--pred_step 200"),
        (("--bf16",), "--bf16 False, but you asked for --bf16 True"),
        (("--train_data", "other.npz"), "--train_data other.npz has different pictures"),
        (("--submission", "other.py"), "other.py is not the file with which"),
    ):
        Path("other.py").write_text(f"# another file\n{DEMO.read_text()}")
        code, _, error = lab(*RESUME, *arguments)
        assert code == 2 and message in error, error
        as_it_is, new = next_commands(error)
        assert as_it_is[1:] == [*RESUME[1:], "--save_dir", "runs/my run"]
        assert [str(word) for word in arguments][-1] in new
        assert before == {path: path.read_bytes() for path in before}
    code, printed, error = lab(*new, "--save_dir", "new")
    assert code == 0, error
    assert Path("new/submission.py").read_text().startswith("# another file")

    shutil.move("train.npz", "by another name.npz")
    code, printed, error = lab(
        *RESUME, "--save_dir", "runs/my run/", "--train_data", "by another name.npz", "--device", "cpu"
    )
    assert code == 0, error
    assert "already at 1 of 1; give --epochs 2" in printed
    np.savez("train.npz", images=other_pictures, labels=labels)
    code, _, error = lab(*RESUME, "--save_dir", Path("runs/my run").absolute())
    assert code == 2 and "--train_data train.npz has different pictures" in error


def test_a_run_keeps_its_own_copy_of_the_submission(lab, train):
    assert train("--save_dir", "runs/a")[0] == 0
    with open("submission.py", "a") as file:
        file.write("# edited\n")
    code, printed, _ = lab(*RESUME, "--epochs", 2)
    assert code == 0
    assert "submission.py has changed since this run began" in printed
    assert "# edited" not in Path("runs/a/submission.py").read_text()
    shutil.copyfile("submission.py", "runs/a/submission.py")
    code, _, error = lab(*RESUME, "--epochs", 3)
    assert code == 2 and "runs/a/submission.py was changed after the run began" in error

    code, _, error = train("--save_dir", ".")
    assert code == 2 and "submission.py would be overwritten" in error
    Path("taken").mkdir()
    Path("taken/submission.py").write_text("mine = 1\n")
    code, _, error = train("--save_dir", "taken")
    assert code == 2 and "taken/submission.py would be overwritten" in error
    assert Path("taken/submission.py").read_text() == "mine = 1\n"


def test_an_older_checkpoint_begins_another_branch_of_the_run(lab, train):
    assert train("--epochs", 4, "--save_dir", "run")[0] == 0
    shutil.copytree("run", "whole")
    code, printed, error = lab(*RESUME, "--checkpoint", "run/epoch_2.pth", "--epochs", 2)
    assert code == 0 and "already at 2 of 2" in printed
    assert len(epochs_in("run")) == 4

    code, printed, error = lab(*RESUME, "--save_dir", "run", "--checkpoint", "epoch_2.pth", "--epochs", 3)
    assert code == 0, error
    assert "deleting the checkpoints of later epochs, 3 to 4" in printed
    assert epochs_in("run") == ["epoch_1.pth", "epoch_2.pth", "epoch_3.pth"]
    assert sorted(path.name for path in Path("run/samples").iterdir())[-1] == "epoch_003.png"
    assert torch.load("run/best.pth", weights_only=True)["epoch"] == 3
    assert same_weights("run/best.pth", "run/epoch_3.pth") and not same_weights("run/epoch_3.pth", "whole/epoch_3.pth")
    branch = Path("run/history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in branch] == ["epoch", "1", "2", "3"]
    code, printed, _ = lab(*RESUME, "--save_dir", "run")
    assert "already at 3 of 3" in printed

    # Killed after the newer checkpoints were deleted: best.pth is still that of the other branch.
    shutil.copyfile("whole/best.pth", "run/best.pth")
    Path("run/epoch_3.pth").unlink()
    code, _, error = lab(*RESUME, "--save_dir", "run")
    assert code == 0, error
    assert Path("run/history.csv").read_text().splitlines() == branch
    assert same_weights("run/best.pth", "run/epoch_3.pth")
    shutil.copyfile("whole/best.pth", "run/best.pth")
    assert "already at 3 of 3" in lab(*RESUME, "--save_dir", "run")[1]
    assert same_weights("run/best.pth", "run/epoch_3.pth"), "not of an epoch that was deleted"

    code, _, error = lab(*RESUME, "--save_dir", "whole", "--checkpoint", "run/epoch_1.pth")
    assert code == 2 and "is not in --save_dir whole" in error
    code, _, error = lab(*RESUME, "--checkpoint", "whole/best.pth")
    assert code == 2 and "best.pth cannot be resumed: it lacks" in error
    code, _, error = lab(*RESUME, "--save_dir", "whole", "--epochs", 3)
    assert code == 2 and "is already at epoch 4: give --epochs 8" in error
    for path in Path("whole").glob("epoch_*.pth"):
        path.unlink()
    code, _, error = lab(*RESUME, "--save_dir", "whole")
    assert code == 2 and "its best.pth (epoch 4) would be overwritten" in error


def make_old(run):
    """Make a run's folder as the lab wrote it before: best.pth with everything, no sums, hyperparams.json."""
    config = json.loads((run / "config.json").read_text())
    (run / "hyperparams.json").write_text(json.dumps({"task": "VAEwolabel", "parameters": config.pop("parameters")}))
    del config["sha256"]
    (run / "config.json").write_text(
        json.dumps(config | {"arguments": config["arguments"] | {"save_loss_plot": False}})
    )
    for path in run.glob("epoch_*.pth"):
        checkpoint = torch.load(path, weights_only=True)
        torch.save({k: v for k, v in checkpoint.items() if k not in ("valid_loss", "var")}, path)
    shutil.copyfile(path, run / "best.pth")


def test_older_runs_open_resume_grade_and_are_packed_with_their_weights_only(lab, small, train):
    assert train()[0] == 0
    (run,) = Path("runs/VAEwolabel").iterdir()
    assert train("--task", "Genwithlabel")[0] == 0
    make_old(run)
    fat = (run / "best.pth").stat().st_size
    code, _, error = lab(*RESUME, "--epochs", 2)
    assert code == 0, error
    assert (run / "best.pth").stat().st_size < 0.4 * fat
    make_old(run)
    assert lab("inference.py", *VAE, "--data_path", "valid.npz")[0] == 0
    meta = json.loads((run / "output" / "meta.json").read_text())
    (run / "output" / "meta.json").write_text(json.dumps({k: meta[k] for k in ("task", "latent_dim", "checkpoint")}))
    assert lab("grade.py", "--test_data_path", "valid.npz")[0] == 0
    code, _, error = lab("check.py", "--pack", "handin.zip")
    assert code == 0, error
    assert Path("handin.zip").stat().st_size < 0.8 * fat
    shutil.unpack_archive("handin.zip", "unpacked")
    packed = torch.load("unpacked/VAEwolabel.pth", weights_only=True)
    assert packed.keys() == {"task", "latent_dim", "var", "epoch", "valid_loss", "model_state_dict"}
    manifest = json.loads(Path("unpacked/manifest.json").read_text())
    assert manifest["tasks"]["VAEwolabel"]["result"]["score"] > 0


def test_a_run_can_be_copied_moved_and_used_from_elsewhere(lab, train, tmp_path):
    assert train("--save_dir", "run")[0] == 0
    shutil.copytree("run", tmp_path / "else where" / "moved run")
    os.chdir(tmp_path / "else where")
    code, _, error = lab(*RESUME, "--save_dir", "moved run", "--epochs", 2)
    assert code == 2 and "--train_data" in error and "has different pictures" in error, (
        "the lab's own split is another one"
    )
    data = ("--train_data", tmp_path / "my lab" / "train.npz", "--valid_data", "../my lab/valid.npz")
    code, printed, error = lab(*RESUME, "--save_dir", "./moved run//", "--epochs", 2, *data)
    assert code == 0, error
    code, printed, error = lab(*next_commands(printed)[-1], "--inf_num", 30, "--gen_num", 1)
    assert code == 0, error
    assert "30 reconstructions" in printed, "of the lab's own validation split"
    assert printed.endswith("grade.py needs more pictures: run this again without --inf_num and --gen_num\n")

    code, _, error = lab("train.py", *VAE)
    assert code == 2 and f"there is no submission at {Path.cwd() / 'submission.py'}" in error


def test_output_that_nobody_reads_ends_a_command_quietly():
    for command in (["train.py", "--help"], ["check.py", "--submission", DEMO, "-k", "2.2.1"]):
        first = subprocess.Popen(
            [sys.executable, *map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        first.stdout.close()
        assert first.stderr.read() == b""

"""The hand-in: what is packed, and what is refused."""

import hashlib
import io
import json
import platform
import re
import shlex
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

from lab import handin
from ta.collect import collect

CORRECT = Path(__file__).resolve().parent / "correct"


@pytest.fixture
def runs(lab, small, tmp_path):
    """A folder in which both tasks are trained with submission.py."""
    shutil.copyfile(ROOT / "examples" / "demo_mlp.py", tmp_path / "submission.py")
    for task in ("VAEwolabel", "Genwithlabel"):
        arguments = ("--epochs", 1, "--train_data", small / "train.npz", "--valid_data", small / "valid.npz")
        code, _, err = lab("train.py", "--task", task, "--latent_dim", 3, *arguments)
        assert code == 0, err
    return tmp_path


def test_the_hand_in_holds_all_that_grading_reads(lab, runs):
    code, out, err = lab("check.py", "--pack", "handin.zip", "--seed", 1)
    assert code == 0, err
    with zipfile.ZipFile("handin.zip") as archive:
        assert archive.namelist() == ["submission.py", "VAEwolabel.pth", "Genwithlabel.pth", "manifest.json"]
        manifest = json.loads(archive.read("manifest.json"))
        for name, digest in manifest["sha256"].items():
            assert hashlib.sha256(archive.read(name)).hexdigest() == digest
    assert manifest["tasks"]["VAEwolabel"]["latent_dim"] == 3
    trained_with = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    assert collect([("", "handin.zip", Path("handin.zip"))]).versions == trained_with
    assert [check["status"] for check in manifest["checks"]] == ["passed"] * 6
    assert "handin.zip" in out


def test_missing_stale_and_large_parts_are_named_and_nothing_is_packed(lab, runs, monkeypatch):
    monkeypatch.setattr(handin, "LARGEST", 1000)
    code, _, err = lab("check.py", "--pack", "handin.zip", "--seed", 1)
    assert code == 2 and "at most" in err
    monkeypatch.undo()
    monkeypatch.chdir(runs)

    text = Path("submission.py").read_text()
    Path("submission.py").write_text(re.sub(r"(class GenModel.*\n)", r'\1    """A text."""\n', text) + "# a comment\n")
    code, _, err = lab("check.py", "--pack", "handin.zip", "--seed", 1)
    assert code == 0, err
    Path("handin.zip").unlink()
    Path("submission.py").write_text(f"SCALE = 1\n{text}")
    shutil.rmtree(runs / "runs" / "Genwithlabel")
    code, _, err = lab("check.py", "--pack", "handin.zip", "--seed", 1)
    assert code == 2 and "VAEwolabel" in err and "is stale" in err and "Genwithlabel: there is no trained run in" in err
    assert not Path("handin.zip").exists()


def test_a_checkpoint_that_does_not_load_is_refused(lab, runs):
    vae, gen = (next((runs / "runs" / task).iterdir()) for task in ("VAEwolabel", "Genwithlabel"))
    shutil.copyfile(gen / "best.pth", vae / "best.pth")
    code, _, err = lab("check.py", "--pack", "handin.zip", "--VAEwolabel_run", vae)
    assert code == 2 and "has task Genwithlabel" in err
    (vae / "best.pth").write_bytes(b"damaged")
    code, _, err = lab("check.py", "--pack", "handin.zip", "--seed", 1)
    assert code == 2 and "cannot be read as a checkpoint" in err


def grade(lab, small, *runs):
    """Run inference.py and grade.py on runs of VAEwolabel, in this order."""
    for run in runs:
        arguments = ("--task", "VAEwolabel", "--checkpoint_path", run / "best.pth", "--data_path", small / "valid.npz")
        assert lab("inference.py", *arguments)[0] == 0
        code, out, err = lab("grade.py", "--task", "VAEwolabel", "--test_data_path", small / "valid.npz")
        assert code == 0 and f"VAEwolabel: {run / 'output'}\n  latent_dim" in out, err


def packed(name="handin.zip"):
    """Return the folder of VAEwolabel's run that was packed, after checking that its weights are in the zip."""
    with zipfile.ZipFile(name) as archive:
        run = Path(json.loads(archive.read("manifest.json"))["tasks"]["VAEwolabel"]["run"])
        weights = torch.load(io.BytesIO(archive.read("VAEwolabel.pth")), weights_only=True)["model_state_dict"]
    best = torch.load(run / "best.pth", weights_only=True)["model_state_dict"]
    assert all(torch.equal(weights[name], best[name]) for name in best)
    Path(name).unlink()
    return run


def next_commands(printed):
    return [shlex.split(line)[2:] for line in printed.splitlines() if line.startswith("next: ")]


def test_a_newer_run_that_is_not_the_best_graded_one_is_not_packed_unasked(lab, small, runs):
    (good,) = Path("runs/VAEwolabel").iterdir()
    data = ("--train_data", small / "train.npz", "--valid_data", small / "valid.npz")
    grade(lab, small, good)
    code, out, err = lab("check.py", "--pack", "handin.zip", "--seed", 1)
    assert code == 0 and f"VAEwolabel: {good}" in out and "score" in out and packed() == good

    junk = Path("runs/junk run")
    arguments = ("--task", "VAEwolabel", "--epochs", 1, "--latent_dim", 200, "--lr", 1e-7, "--save_dir", junk)
    assert lab("train.py", *arguments, *data)[0] == 0
    code, out, err = lab("check.py", "--pack", "handin.zip", "--seed", 1)
    assert code == 2 and "has not been graded in its present state" in err and not Path("handin.zip").exists()
    infer, do_grade, best, newest = next_commands(err)
    assert lab(*best, "--seed", 1)[0] == 0 and packed() == good
    assert lab(*newest, "--seed", 1)[0] == 0 and packed() == junk

    assert lab(*infer, "--data_path", small / "valid.npz")[0] == 0
    code, out, err = lab(*do_grade, "--test_data_path", small / "valid.npz")
    assert code == 0 and f"VAEwolabel: {junk / 'output'}" in out
    code, out, err = lab("check.py", "--pack", "handin.zip", "--seed", 1)
    assert code == 2 and "does not have the best score" in err
    best, newest = next_commands(err)
    assert lab(*best, "--seed", 1)[0] == 0 and packed() == good

    code, out, err = lab("grade.py", "--list", "--task", "VAEwolabel")
    assert code == 0
    header, first, second = out.splitlines()[1:4]
    assert header.split()[0] == "score" and first.endswith(str(good)) and second.endswith(str(junk))
    assert float(first.split()[0]) > float(second.split()[0])

    # The good run is the newest again, but its best.pth is no longer the one that was graded.
    assert lab("train.py", "--task", "VAEwolabel", "--load_from_checkpoint", "--save_dir", good, "--epochs", 2)[0] == 0
    code, out, err = lab("check.py", "--pack", "handin.zip", "--seed", 1)
    assert code == 2 and f"{good}, has not been graded in its present state" in err
    assert "(" in lab("grade.py", "--list", "--task", "VAEwolabel")[1].splitlines()[3].split()[0]
    grade(lab, small, good)
    assert lab("check.py", "--pack", "handin.zip", "--seed", 1)[0] == 0 and packed() == good

    # An idea that was given up: the newest run was trained with other code.
    text = Path("submission.py").read_text()
    Path("submission.py").write_text(f"SCALE = 1\n{text}")
    assert lab("train.py", "--task", "VAEwolabel", "--epochs", 1, "--latent_dim", 4, *data)[0] == 0
    Path("submission.py").write_text(text)
    code, out, err = lab("check.py", "--pack", "handin.zip", "--seed", 1)
    assert code == 2 and "was trained with code that differs from submission.py now" in err
    best, newest = next_commands(err)
    assert lab(*best, "--seed", 1)[0] == 0 and packed() == good
    code, out, err = lab(*newest)
    assert code == 2 and "is stale" in err and not Path("handin.zip").exists()


def test_a_run_outside_of_runs_is_found_once_it_was_graded(lab, small, runs):
    shutil.move(next(Path("runs/VAEwolabel").iterdir()), "my run")
    assert "there is no trained run" in lab("check.py", "--pack", "handin.zip", "--seed", 1)[2]
    arguments = ("--task", "VAEwolabel", "--checkpoint_path", "my run/best.pth", "--data_path", small / "valid.npz")
    code, out, _ = lab("inference.py", *arguments, "--save_dir", "an output")
    code, out, err = lab(*next_commands(out)[-1], "--test_data_path", small / "valid.npz")
    assert code == 0, err
    assert lab("check.py", "--pack", "handin.zip", "--seed", 1)[0] == 0 and packed() == Path("my run")
    with open("my run/submission.py", "a") as file:
        file.write("# edited\n")
    code, _, err = lab("check.py", "--pack", "handin.zip", "--seed", 1)
    assert code == 2 and "my run/submission.py was changed after the training" in err


def test_a_run_depends_on_what_its_model_uses_and_on_nothing_else(tmp_path):
    """A student who trains the VAE first, and then adds imports and helpers for GenModel, need not train it again."""
    first, later = tmp_path / "first.py", tmp_path / "later.py"
    code = (
        "from torch import nn\nWIDTH = 9\n\n\nclass VAE(nn.Module):\n    width = WIDTH\n\n\ndef vae_loss():\n    pass\n"
    )
    first.write_text(code)
    later.write_text(
        f"import math\n{code}\n\ndef helper():\n    return math.pi\n\n\nclass GenModel:\n    number = helper()\n"
    )
    assert handin.code_of("VAEwolabel", first) == handin.code_of("VAEwolabel", later)
    assert handin.code_of("Genwithlabel", first) != handin.code_of("Genwithlabel", later)
    later.write_text(code.replace("WIDTH = 9", "WIDTH = 8"))
    assert handin.code_of("VAEwolabel", first) != handin.code_of("VAEwolabel", later)

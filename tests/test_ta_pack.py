"""The hand-in: what is packed, and what is refused."""

import hashlib
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from checks import handin

CORRECT = Path(__file__).resolve().parent / "correct"


@pytest.fixture
def runs(lab, small, tmp_path):
    """A folder in which both tasks are trained with submission.py."""
    shutil.copyfile(CORRECT / "demo_mlp.py", tmp_path / "submission.py")
    for task in ("VAEwolabel", "Genwithlabel"):
        arguments = ("--epochs", 1, "--train_data", small / "train.npz", "--valid_data", small / "valid.npz")
        code, _, err = lab("train.py", "--task", task, "--latent_dim", 3, *arguments)
        assert code == 0, err
    return tmp_path


def test_the_hand_in_holds_all_that_grading_reads(lab, runs):
    code, out, err = lab("check.py", "--pack", "handin.zip")
    assert code == 0, err
    with zipfile.ZipFile("handin.zip") as archive:
        assert archive.namelist() == ["submission.py", "VAEwolabel.pth", "Genwithlabel.pth", "manifest.json"]
        manifest = json.loads(archive.read("manifest.json"))
        for name, digest in manifest["sha256"].items():
            assert hashlib.sha256(archive.read(name)).hexdigest() == digest
    assert manifest["tasks"]["VAEwolabel"]["latent_dim"] == 3
    assert [check["status"] for check in manifest["checks"]] == ["passed"] * 6
    assert "handin.zip" in out


def test_missing_stale_and_large_parts_are_named_and_nothing_is_packed(lab, runs, monkeypatch):
    monkeypatch.setattr(handin, "LARGEST", 1000)
    code, _, err = lab("check.py", "--pack", "handin.zip")
    assert code == 2 and "at most" in err
    monkeypatch.undo()
    monkeypatch.chdir(runs)

    text = Path("submission.py").read_text()
    Path("submission.py").write_text(re.sub(r"(class GenModel.*\n)", r'\1    """A text."""\n', text) + "# a comment\n")
    code, _, err = lab("check.py", "--pack", "handin.zip")
    assert code == 0, err
    Path("handin.zip").unlink()
    Path("submission.py").write_text(f"SCALE = 1\n{text}")
    shutil.rmtree(runs / "runs" / "Genwithlabel")
    code, _, err = lab("check.py", "--pack", "handin.zip")
    assert code == 2 and "VAEwolabel" in err and "is stale" in err and "Genwithlabel: there is no trained run in" in err
    assert not Path("handin.zip").exists()


def test_a_checkpoint_that_does_not_load_is_refused(lab, runs):
    vae, gen = (next((runs / "runs" / task).iterdir()) for task in ("VAEwolabel", "Genwithlabel"))
    shutil.copyfile(gen / "best.pth", vae / "best.pth")
    code, _, err = lab("check.py", "--pack", "handin.zip", "--VAEwolabel_run", vae)
    assert code == 2 and "says task Genwithlabel" in err
    (vae / "best.pth").write_bytes(b"damaged")
    code, _, err = lab("check.py", "--pack", "handin.zip")
    assert code == 2 and "cannot be read as a checkpoint" in err

"""The autograder for Gradescope, unpacked and run in a folder laid out as theirs."""

import json
import shutil
import stat
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from conftest import ROOT, require_system
from hostile import train_honest

from data_utils import load_split

VISIBILITY = {"visible", "hidden", "after_due_date", "after_published"}


@pytest.fixture
def container(small, lab_ta, tmp_path):
    """The folder /autograder as Gradescope makes it, but for setup.sh, in whose place this Python is."""
    root = tmp_path / "autograder"
    code, _, errors = lab_ta("gradescope", "--test_data", small / "valid.npz", "--out", tmp_path / "autograder.zip")
    assert code == 0, errors
    with zipfile.ZipFile(tmp_path / "autograder.zip") as archive:
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
        archive.extractall(root / "source")
    assert modes["setup.sh"] & modes["run_autograder"] & stat.S_IXUSR
    assert not any("reference" in name or name.startswith("tests") for name in modes), "a container is no safe place"
    shutil.copy(root / "source" / "run_autograder", root)
    (root / "run_autograder").chmod(0o755)
    (root / "source" / ".venv" / "bin").mkdir(parents=True)
    (root / "source" / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (root / "source" / ".venv" / "bin" / "python").chmod(0o755)
    (root / "submission").mkdir()
    (root / "results").mkdir()
    (root / "submission_metadata.json").write_text('{"id": 7, "users": [{"id": 17, "name": "Eve <script>"}]}')
    return root


def run(container):
    done = subprocess.run([container / "run_autograder"], cwd=container, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tier ")
    return json.loads((container / "results" / "results.json").read_text())


def validate(results):
    """Check results.json against Gradescope's specification."""
    assert isinstance(results["score"], int | float) and isinstance(results["execution_time"], int)
    assert results["visibility"] in VISIBILITY and results["stdout_visibility"] == "hidden"
    assert isinstance(results["output"], str) and isinstance(results["extra_data"], dict)
    for test in results["tests"]:
        assert (
            {"name", "output"}
            <= test.keys()
            <= {"score", "max_score", "status", "visibility", "output_format"} | {*("name", "output")}
        )
        assert test["visibility"] in VISIBILITY and test["output_format"] == "text"
        assert test["visibility"] == "hidden" or 0 <= test["score"] <= test["max_score"]
        assert test.get("status", "passed") in ("passed", "failed")
    for entry in results["leaderboard"]:
        assert entry.keys() == {"name", "value", "order"} and entry["order"] in ("asc", "desc")


def test_an_honest_submission_gets_its_points_and_a_cheat_gets_none_and_tells_nothing(container):
    require_system("bwrap")
    images, labels = load_split(ROOT / "dataset" / "valid.npz")
    train_honest(container / "submission" / "handin", images[:700], labels[:700])
    results = run(container)
    validate(results)
    scores = {test["name"]: test["score"] for test in results["tests"] if "score" in test}
    assert len(scores) == 8 and scores["VAEwolabel on hidden pictures"] > 1
    assert results["score"] == pytest.approx(sum(scores.values()))
    assert {entry["name"]: entry["value"] > 1 for entry in results["leaderboard"]} == {
        "VAEwolabel raw": True,
        "Genwithlabel raw": True,
    }

    with open(container / "submission" / "handin" / "submission.py", "a") as file:
        file.write(f"\ncontainer = {str(container)!r}" + CHEAT)
    results = run(container)
    validate(results)
    (hidden,) = [test for test in results["tests"] if test["visibility"] == "hidden"]
    assert "told by the model: nothing found" in hidden["output"]
    visible = [test for test in results["tests"] if test["visibility"] != "hidden"]
    told = [test["name"] for test in visible if "told by the model" in test["output"]]
    assert told == ["Genwithlabel on hidden pictures"], "what it said while it generated, before it saw any of them"
    assert {test["score"] for test in visible if "hidden pictures" in test["name"]} == {0.0}
    assert np.isclose(results["score"], 50)


CHEAT = """
import glob, json
def tell():
    found = "nothing found"
    for path in (container, container + "/results", container + "/source/hidden.npz"):
        try:
            found = str(glob.glob(path + "/*") or open(path, "rb").read(9))
        except OSError:
            pass
    try:
        json.dump({"score": 90}, open(container + "/results/results.json", "w"))
    except OSError:
        pass
    raise ValueError("told by the model: " + found)
class VAE(VAE):
    def decode(self, z, labels=None):
        return tell() if len(z) > 100 else super().decode(z)
class GenModel(GenModel):
    def decode(self, z, labels):
        return tell() if len(z) > 100 else super().decode(z, labels)
"""

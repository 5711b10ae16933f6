"""The students' package: generated, without an answer in it, and working alone."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ta.release import student_version

ROOT = Path(__file__).resolve().parent.parent
REFERENCES = sorted((ROOT / "ta" / "reference").glob("*.py"))


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda path: path.name)
def test_the_student_file_is_the_reference_without_its_solutions(reference):
    assert (ROOT / reference.name).read_text() == student_version(reference.read_text())


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The unpacked zip, in a folder of its own."""
    folder = tmp_path_factory.mktemp("release")
    run(ROOT, "-m", "ta", "release", "--out", folder)
    with zipfile.ZipFile(folder / "vae-lab.zip") as archive:
        archive.extractall(folder)
    return folder / "vae-lab"


def run(folder, *arguments, code=0):
    """Run Python in a folder, without a way to import from elsewhere than there; return what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_no_answer_no_ta_file_and_no_test_split_is_in_the_package(package):
    names = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    assert {"submission.py", "check.py", "train.py", "dataset/valid.npz", "tests/test_submission.py"} <= names
    assert "dataset/test.npz" not in names
    assert not [
        name for name in names if re.match(r"ta/|experiments/|\.ci/|tests/(test_ta_|correct/|mistakes/|hostile/)", name)
    ]

    open_text = (ROOT / "model.py").read_text()
    shipped = {path: path.read_text() for path in package.rglob("*") if path.suffix in (".py", ".md", ".sh", ".txt")}
    for reference in REFERENCES:
        text, blank = reference.read_text(), student_version(reference.read_text())
        solutions = "\n".join(re.findall(r"# BEGIN SOLUTION.*?\n(.*?)# END SOLUTION", text, re.DOTALL))
        answers = {line.strip() for line in solutions.splitlines()}
        telling = (line for line in answers if len(re.findall(r"\w", line)) >= 13)
        answers = {line for line in telling if line not in blank and line not in open_text}
        assert len(answers) > 10 or reference.name != "submission.py"
        for path, content in shipped.items():
            assert [line for line in answers if line in content] == [], path


def test_the_package_works_alone(package, small):
    out = run(package, "check.py", code=1)
    assert out.count("not filled in  ") == 6
    assert "6 skipped" in run(package, "-m", "pytest", "-q", "-k", "test_section")  # all the others are collected

    blank = (package / "submission.py").read_text()
    (package / "submission.py").write_text((ROOT / "ta" / "reference" / "submission.py").read_text())
    try:
        assert "50 of 50" in run(package, "check.py")
        data = ("--train_data", small / "train.npz", "--valid_data", small / "valid.npz")
        run(package, "train.py", "--task", "VAEwolabel", "--epochs", 1, "--latent_dim", 4, *data)
        run(package, "inference.py", "--task", "VAEwolabel", "--data_path", small / "valid.npz", "--gen_num", 2)
        assert "VAEwolabel" in run(package, "grade.py", "--test_data_path", small / "valid.npz")
    finally:
        (package / "submission.py").write_text(blank)

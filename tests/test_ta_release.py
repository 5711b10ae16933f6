"""The students' package: generated, without an answer in it, and working alone."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import require_system

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


def make(folder, *arguments, code=0):
    """Run make in a folder and return what it printed; where make is not installed, the test is skipped."""
    require_system("make")
    done = subprocess.run(["make", *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == code, done.stdout
    return done.stdout


FAKE_PYTHON = """#!/bin/sh
echo "$0 $*" >> {log}
case "$*" in
    "-c "*) exit {code} ;;
    "-m venv --clear .venv") rm -rf .venv && mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
esac
"""


@pytest.mark.parametrize(
    ("start", "kept", "code"),
    [("exit 0", True, 0), ("wrong version", True, 2), ("does not start", False, 0), (None, False, 0)],
)
def test_make_never_clears_an_environment_that_works(tmp_path, start, kept, code):
    for name in ("Makefile", "requirements.txt", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    log, python, mine = tmp_path / "log", tmp_path / ".venv" / "bin" / "python", tmp_path / ".venv" / "mine"
    if start is not None:
        python.parent.mkdir(parents=True)
        mine.touch()
        status = {"exit 0": 0, "wrong version": 9, "does not start": 127}[start]
        python.write_text(FAKE_PYTHON.format(log=log, code=status))
        python.chmod(0o755)
    base = tmp_path / "python"
    base.write_text(FAKE_PYTHON.format(log=log, code=0))
    base.chmod(0o755)
    make(tmp_path, ".venv/ready", f"PYTHON={base}", code=code)
    assert mine.exists() == kept
    assert ("-m venv --clear" in log.read_text()) == (not kept)
    assert ("-m pip install" in log.read_text()) == (code == 0)


def test_no_answer_no_ta_file_and_no_test_split_is_in_the_package(package):
    names = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    assert {"submission.py", "check.py", "train.py", "dataset/valid.npz", "tests/test_submission.py"} <= names
    assert "dataset/test.npz" not in names
    assert not [
        name
        for name in names
        if re.match(
            r"ta/|benchmarks/|examples/|experiments/.*\.py|\.ci/|tests/(test_ta_|correct/|mistakes/|hostile/)", name
        )
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


def test_the_students_texts_name_only_what_the_package_has(package):
    makefile = (package / "Makefile").read_text()
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile"):
        text = (package / name).read_text()
        staff = r"STAFF|STUDENTS|-m ta\b|\bta/|experiments/|tests/(correct|mistakes)|make (bench|release|system)"
        staff += r"|benchmarks|examples/"
        assert not re.findall(staff, text), name
        for script in re.findall(r"\b(?:python|bash) ([\w/]+\.(?:py|sh))", text):
            assert (package / script).is_file(), f"{name} names {script}"
        for target in re.findall(r"\bmake (\w+) {2,}", text):
            assert f"\n{target}:" in makefile, f"{name} names make {target}"
    readme = (package / "README.md").read_text()
    assert "grades your submission.py" in readme and "reference solution on both tasks" not in readme
    assert "make demo" in readme
    assert "demo: trains the present submission.py" in make(package, "-n", "demo", "PYTHON=python3")


def test_the_package_works_alone(package, small):
    out = run(package, "check.py", code=1)
    assert out.count("not filled in  ") == 6
    out = run(package, "-m", "pytest", "-q", "-k", "test_section or test_docs or test_cli")  # all others are collected
    assert "7 skipped" in out and "failed" not in out  # the six sections, and the answers

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

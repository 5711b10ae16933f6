"""The labs of experiments/: a blank is told what is not filled in, a mistake is named, a right solution gets all
points, and the student's package works alone."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest
from conftest import ROOT

from checks.lab import lab_names, load_lab
from checks.result import GOOD, NOT_FILLED_IN, WRONG
from checks.sections import check_submission
from ta.release import student_version

TABLES = {name: tomllib.loads((ROOT / "tests" / "labs" / f"{name}.toml").read_text()) for name in lab_names()}
ROWS = [(name, row) for name, table in TABLES.items() for row in table]


def reference(name):
    return ROOT / "ta" / "reference" / name / "submission.py"


def write_row(name, row, folder):
    """Write the submission of one row of a lab's table into a folder and return its path."""
    text = reference(name).read_text()
    for before, after in TABLES[name][row]["edits"]:
        assert text.count(before) == 1, f"{row}: the reference has {before!r} {text.count(before)} times"
        text = text.replace(before, after)
    path = folder / "submission.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_have_enough_rows(name):
    wrong = [row for row in TABLES[name].values() if "says" in row]
    assert len(wrong) >= 8 and len(TABLES[name]) - len(wrong) >= 3


@pytest.mark.parametrize("name", TABLES)
def test_the_blank_is_the_reference_without_its_solutions_and_no_section_of_it_is_filled_in(lab, name):
    blank = ROOT / "experiments" / name / "submission.py"
    assert blank.read_text() == student_version(reference(name).read_text(), name)
    code, out, _ = lab("check.py", "--lab", name, "--json")
    content = json.loads(out)
    assert code == 1 and {one["status"] for one in content["sections"]} == {NOT_FILLED_IN}
    for one in content["sections"]:
        assert f"task {one['section']} is not filled in" in one["message"]


@pytest.mark.parametrize("name", TABLES)
def test_the_reference_gets_all_points_with_every_seed(name):
    for seed in range(8):
        results = check_submission(reference(name), seed=seed, lab=load_lab(name))
        assert [result.message for result in results] == [""] * len(results)
    assert sum(result.points for result in results) == 100


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_a_mistake_is_named_and_a_right_solution_passes(name, row, tmp_path):
    wanted, path = TABLES[name][row], write_row(name, row, tmp_path)
    results = {result.section: result for result in check_submission(path, seed=len(row), lab=load_lab(name))}
    bad = {section: result.message for section, result in results.items() if result.status not in GOOD}
    if "says" not in wanted:
        assert bad == {}
        return
    section = wanted["section"]
    assert results[section].status == WRONG and wanted["says"] in results[section].message, bad
    assert bad.keys() - set(wanted.get("also", ())) == {section}, bad


@pytest.fixture(scope="module", params=TABLES)
def package(request, tmp_path_factory):
    """A lab's name, and its unpacked zip in a folder of its own."""
    folder = tmp_path_factory.mktemp("release")
    run(ROOT, "-m", "ta", "release", "--lab", request.param, "--out", folder)
    with zipfile.ZipFile(folder / f"{request.param}-lab.zip") as archive:
        archive.extractall(folder)
    return request.param, folder / f"{request.param}-lab"


def run(folder, *arguments, code=0):
    """Run Python in a folder, without a way to import from elsewhere than there; return what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


QUICK = {
    "autoencoders": ("--epochs", 1, "--train_num", 400, "--test_num", 100, "--gen_num", 10),
    "cifar": ("--patches", "--epochs", 1, "--train_num", 200, "--test_num", 100, "--backbone", "linear"),
    "elbo": (
        *("--submission", "experiments/elbo/submission.py"),
        *("--steps", 4, "--train_num", 400, "--test_num", 100, "--runs", 2),
    ),
}


def test_a_package_works_alone_from_the_blank_to_the_hand_in(package):
    name, folder = package
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    own = f"experiments/{name}"
    assert {"check.py", "README.md", f"{own}/submission.py", f"{own}/README.md", f"{own}/README.zh.md"} <= names
    assert not [one for one in names if one.startswith(("ta/", "tests/", "submission.py")) or one.endswith("test.npz")]
    solution = set(re.findall(r"# BEGIN SOLUTION.*?\n(.*?)# END SOLUTION", reference(name).read_text(), re.DOTALL))
    assert not [one for one in names if one.endswith(".py") for text in solution if text in (folder / one).read_text()]

    assert "not filled in" in run(folder, "check.py", "--lab", name, code=1)
    (folder / own / "submission.py").write_text(reference(name).read_text())
    said = run(folder, "check.py", "--lab", name, "--pack", "handin.zip", code=2)
    assert "100 of 100" in said and "there are no results in" in said and f"-m experiments.{name}" in said
    run(folder, "-m", f"experiments.{name}", *QUICK[name])
    run(folder, "check.py", "--lab", name, "--pack", "handin.zip")
    with zipfile.ZipFile(folder / "handin.zip") as archive:
        assert {"submission.py", f"results/{name}.json", "manifest.json"} <= set(archive.namelist())
        assert any(one.endswith("loss_curve.png") for one in archive.namelist())
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["lab"] == name and sum(one["points"] for one in manifest["checks"]) == 100


def test_results_of_another_file_are_not_packed(lab, tmp_path):
    (tmp_path / "elbo.json").write_text(json.dumps({"settings": {"submission": "of another file"}}))
    pack = ("--submission", reference("elbo"), "--pack", "handin.zip", "--results", tmp_path)
    code, _, error = lab("check.py", "--lab", "elbo", *pack)
    assert code == 2 and "were made with another file" in error and not (tmp_path / "handin.zip").exists()


def test_a_section_is_chosen_and_what_belongs_to_the_main_lab_is_refused(lab):
    out = lab("check.py", "--lab", "autoencoders", "-k", "kl_div", "--submission", reference("autoencoders"))[1]
    assert "5 of 5" in out and "Encoder" not in out
    code, _, error = lab("check.py", "--lab", "autoencoders", "-k", "vae_layers")
    assert code == 2 and "is not a section: expected one of 1.1 (Encoder.forward)" in error and "theory" not in error
    assert lab("check.py", "--lab", "autoencoders", "--tiny")[0] == 2
    code, _, error = lab("check.py", "--lab", "autoencoder")
    assert code == 2 and "did you mean autoencoders?" in error

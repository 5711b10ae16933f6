"""What a student relies on: a wrong submission is told its mistake, a right one is never called wrong. And what a TA
relies on: the judge believes nothing.

Each mistake is tried with two seeds; VAE_LAB_SEEDS=20 tries twenty.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from graded_class import make_class

from checks.causes import likely_cause
from checks.sections import (
    GOOD,
    NOT_FILLED_IN,
    NOTE,
    PASSED,
    WRONG,
    check_submission,
    judge,
    make_inputs,
    probe,
)
from lab.files import write_sealed
from lab.tasks import all_sections
from ta.release import student_version
from ta.report import write_pages

TESTS = Path(__file__).resolve().parent
REFERENCE = ROOT / "ta" / "reference" / "submission.py"
MISTAKES = tomllib.loads((TESTS / "mistakes.toml").read_text())
SEEDS = range(int(os.environ.get("VAE_LAB_SEEDS", 2)))
NOTES = {  # file in tests/correct → the sections that pass with a note, and what it must say
    "convolutional": {"2.3": "binary cross-entropy"},
    "learned_prior": {"2.3": "absolute differences"},
    "own_loss": {"2.3": "binary cross-entropy"},
    "plain_norm": {"2.3": "the plain norm"},
    "tanh_codes": {"2.2.2": "cannot leave [-1, 1]", "3": "cannot leave [-1, 1]"},
    "original_mlp": dict.fromkeys(("2.2.4", "3"), "return mu in eval mode to score better"),
    "original_conv": dict.fromkeys(("2.2.4", "3"), "return mu in eval mode to score better"),
    "original_bce": {
        **dict.fromkeys(("2.2.4", "3"), "return mu in eval mode to score better"),
        "2.3": "binary cross-entropy",
    },
}


def write_mistake(name, folder):
    """Write the wrong submission `name` into a folder and return its path."""
    text = (TESTS / "correct" / "base.py").read_text()
    for right, wrong in MISTAKES[name]["edits"]:
        assert text.count(right) == 1, f"{name}: base.py has {right!r} {text.count(right)} times"
        text = text.replace(right, wrong)
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_every_seed(tmp_path, name):
    path, wrong = write_mistake(name, tmp_path), MISTAKES[name]["section"]
    sections = [section for section in all_sections() if section.startswith(wrong[:3])]
    for seed in SEEDS:
        results = {result.section: result for result in check_submission(path, sections, seed)}
        expected = NOT_FILLED_IN if name.startswith("unfilled") else WRONG
        assert (results[wrong].status, results[wrong].points) == (expected, 0)
        assert MISTAKES[name]["says"] in results[wrong].message


def test_a_wrong_product_has_the_same_cause_with_every_width():
    def cause(width, rows, got, wanted):
        return likely_cause(f"mat1 and mat2 shapes cannot be multiplied ({rows}x{got} and {wanted}x400)", 97, width)

    for width in range(1, 40):
        assert "so the layer needs" in cause(width, 97, width + 10, width)
        assert "one-hot label are missing" in cause(width, 97, width, width + 10)
        assert "one row of a picture" in cause(width, 97 * 28, 28, 784)


@pytest.mark.parametrize(
    "path",
    [REFERENCE, ROOT / "examples" / "demo_mlp.py", *sorted((TESTS / "correct").glob("*.py"))],
    ids=lambda path: path.stem,
)
def test_a_right_submission_gets_all_points(path):
    notes = NOTES.get(path.stem, {}) if path != REFERENCE else {}
    for seed in SEEDS[:1] if len(SEEDS) <= 2 else SEEDS:
        results = check_submission(path, seed=seed)
        assert [result.message for result in results if result.status not in GOOD] == []
        assert sum(result.points for result in results) == 50
        assert {result.section for result in results if result.status == NOTE} == set(notes)
        assert all(notes[result.section] in result.message for result in results if result.section in notes)


@pytest.mark.parametrize("filled", [["2.2.1"], ["2.2.1", "2.2.2"], ["2.2.1", "2.2.3"], ["2.3"]], ids=" ".join)
def test_a_section_passes_as_soon_as_it_is_filled_in(tmp_path, filled):
    parts = re.split(r"(?<=\n)(?= *# BEGIN SOLUTION)|(?<=# END SOLUTION\n)", REFERENCE.read_text())
    kept = [match and match[1] in filled for match in (re.match(r" *# BEGIN SOLUTION (\S+)", part) for part in parts)]
    path = tmp_path / "submission.py"
    path.write_text("".join(p if keep else student_version(p) for p, keep in zip(parts, kept, strict=True)))
    statuses = {result.section: result.status for result in check_submission(path)}
    assert statuses == {section: PASSED if section in filled else NOT_FILLED_IN for section in all_sections()}


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """Inputs, and what the probe of a right submission returns, after the way through a file that grading takes."""
    inputs = make_inputs(1)
    path = tmp_path_factory.mktemp("probe") / "arrays.npz"
    np.savez(path, **probe(ROOT / "examples" / "demo_mlp.py", inputs))
    with np.load(path, allow_pickle=False) as arrays:
        return inputs, dict(arrays)


def test_the_judge_survives_whatever_a_hostile_process_returns(right):
    inputs, arrays = right
    garbage = [np.array("text"), np.array(np.nan), np.full((2, 2), 1e308), np.zeros((0, 3)), np.array([True]), "passed"]
    sections = {"VAEwolabel": ["2.2.1", "2.2.2", "2.2.3", "2.2.4"], "Genwithlabel": ["3"], "loss": ["2.3"]}
    for number, name in enumerate(arrays):
        own = sections[name.partition(".")[0]]
        assert [result.section for result in judge(inputs, arrays | {name: garbage[number % 6]}, own)] == own
    for everything in ({}, None, {name: np.array(np.nan) for name in arrays}, {"verdict": np.array("passed")}):
        assert sum(result.points for result in judge(inputs, everything)) == 0


def test_right_arrays_of_other_inputs_do_not_pass(right):
    _, arrays = right
    statuses = {result.section: result.status for result in judge(make_inputs(2), arrays)}
    assert statuses["2.3"] == WRONG and statuses["3"] == WRONG


def test_the_command_prints_one_row_per_section_and_says_by_its_exit_code_whether_all_pass(lab, tmp_path):
    code, out, _ = lab("check.py", "--submission", write_mistake("kl_sign_flipped", tmp_path))
    assert code == 1 and "KL sign flipped" in out and "35 of 50" in out
    code, out, _ = lab("check.py", "--submission", TESTS / "correct" / "original_bce.py", "--seed", 7)
    assert code == 0 and out.count("passed with a note") == 3 and "50 of 50" in out and "seed 7" in out

    code, out, _ = lab("check.py", "--submission", REFERENCE, "-k", "2.3", "--json")
    content = json.loads(out)
    assert code == 0 and [section["section"] for section in content["sections"]] == ["2.3"] and content["points"] == 15
    again = json.loads(lab("check.py", "--submission", REFERENCE, "-k", "2.3", "--json", "--seed", content["seed"])[1])
    assert again == content

    code, out, _ = lab("check.py", "--submission", ROOT / "submission.py")
    assert code == 1 and out.count("not filled in  ") == 6
    code, _, err = lab("check.py", "--submission", "nothing.py")
    assert code == 2 and "there is no submission at" in err and "nothing.py: give its file with --submission" in err


def test_a_mistake_in_one_class_costs_nothing_in_another(tmp_path):
    for name in ("log_var_through_relu", "kl_missing", "keeps_label"):
        wrong = MISTAKES[name]["section"][:3]
        results = check_submission(write_mistake(name, tmp_path))
        assert {result.section[:3] for result in results if result.status != PASSED} == {wrong}


def test_a_class_sees_the_note_of_a_passed_check(tmp_path):
    gradebook, results = make_class(tmp_path, np.zeros((16, 28, 28), np.uint8), 2)
    result = results["s0001"]
    for task in result["tasks"].values():
        task["checks"][-1] |= {"status": NOTE, "message": "scored on a random draw"}
    write_sealed(tmp_path / "results" / "s0001.json", result)
    write_pages(gradebook, gradebook.rows())
    page = (tmp_path / "feedback" / "s0001.html").read_text()
    assert page.count("passed with a note</span>") == 2 and page.count("scored on a random draw") == 2
    assert "30 of 30 for the checks" in page and "20 of 20 for the checks" in page


NOISY = """
import os, atexit
print("\\n".join(f"line {n}" for n in range(500)))
os.system("echo from a child")
atexit.register(print, "last words")
"""


def test_prints_of_a_submission_are_cut_short_and_never_stand_in_the_json(tmp_path):
    path = tmp_path / "noisy.py"
    path.write_text((TESTS / "correct" / "base.py").read_text() + NOISY)

    def check(*arguments):
        command = [sys.executable, ROOT / "check.py", "--submission", path, "-k", "2.3", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True)

    out = check().stdout
    assert "line 19\n" in out and "line 20\n" not in out and "(the submission printed 480 more lines)" in out
    ended = check("--json")
    assert json.loads(ended.stdout)["points"] == 15 and ended.stderr.count("line 1") == 11


@pytest.mark.parametrize(("where", "what"), [("import", "the import of"), ("VAE.forward", "VAE.forward")])
def test_code_that_does_not_return_is_named_and_ended(tmp_path, where, what):
    text = (TESTS / "correct" / "base.py").read_text()
    loop = "while True:\n{0}    pass\n{0}"
    if where == "import":
        text += loop.format("")
    else:
        text = text.replace(
            "mu, log_var = self.encode(x)\n", loop.format(" " * 8) + "mu, log_var = self.encode(x)\n", 1
        )
    path = tmp_path / "submission.py"
    path.write_text(text)
    start = "import checks.guard, runpy; checks.guard.PATIENCE = 1; runpy.run_path('check.py', run_name='__main__')"
    ended = subprocess.run(
        [sys.executable, "-c", start, "--submission", path], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "while True" in line)
    assert ended.returncode == 2 and f"error: {what}" in ended.stderr
    assert f"(submission.py, line {line}" in ended.stderr or f"(submission.py, line {line + 1}" in ended.stderr


def test_the_tiny_run_tells_a_right_loss_from_wrong_ones_and_ends_with_a_verdict(lab, tmp_path):
    code, out, _ = lab("check.py", "--tiny", "--submission", TESTS / "correct" / "original_mlp.py")
    assert code == 0 and "OUTSIDE" not in out and "latent_dim 100" in out
    assert (
        out.splitlines()[-1] == "tiny run: good. All losses are inside their bands, and your loss is recon_loss + kl."
    )
    for name in ("kl_averaged", "var_ignored"):
        code, out, _ = lab("check.py", "--tiny", "--submission", write_mistake(name, tmp_path))
        assert code == 1 and "OUTSIDE" in out and "not good" in out.splitlines()[-1]

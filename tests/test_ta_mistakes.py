"""What a student relies on: a wrong submission is told its mistake, a right one is never called wrong. And what a TA
relies on: the judge believes nothing."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from checks.sections import NOT_FILLED_IN, PASSED, POINTS, WRONG, check_submission, judge, make_inputs, probe
from ta.release import student_version

TESTS = Path(__file__).resolve().parent
REFERENCE = TESTS.parent / "ta" / "reference" / "submission.py"
MISTAKES = {  # file in tests/mistakes → the section that is wrong, and what its message must say
    "batch_dependent": ("2.2.2", "depends on the rest of the batch"),
    "cuda_hard_coded": ("2.2.2", "a GPU is written into the code"),
    "decode_ignores_labels": ("3", "decode ignores the labels"),
    "decode_ignores_z": ("2.2.3", "decode ignores z"),
    "decode_one_label": ("3", "takes one label but not a batch"),
    "forward_exchanged": ("2.2.4", "mu and log_var are exchanged"),
    "forward_number": ("2.2.4", "another order or number of values"),
    "forward_order": ("2.2.4", "another order or number of values"),
    "input_in_place": ("2.2.2", "changed in place"),
    "keeps_picture": ("2.2.4", "keeps something of the picture on self"),
    "kl_averaged": ("2.3", "KL is averaged over latent dimensions"),
    "kl_log_var_as_sigma": ("2.3", "log_var used as sigma"),
    "kl_log_var_as_variance": ("2.3", "log_var used as variance"),
    "kl_missing": ("2.3", "KL is missing"),
    "kl_sign_flipped": ("2.3", "KL sign flipped"),
    "labels_only_in_encoder": ("3", "the labels are used only by the encoder"),
    "latent_dim_hard_coded": ("2.2.1", "latent_dim hard-coded"),
    "layers_in_list": ("2.2.1", "missing from the state_dict"),
    "log_var_as_sigma": ("2.2.4", "log_var used as sigma"),
    "log_var_as_variance": ("2.2.4", "log_var used as variance"),
    "loss_per_picture": ("2.3", "returned per picture"),
    "missing_sigmoid": ("2.2.3", "missing sigmoid"),
    "mu_ignores_x": ("2.2.2", "mu should depend on x"),
    "mu_through_relu": ("2.2.2", "an activation (ReLU, sigmoid, softplus) after mu's last layer"),
    "nan_for_large": ("2.2.3", "overflows"),
    "needs_channels": ("2.2.2", "it needs [B, 1, 28, 28]"),
    "past_decode": ("2.2.4", "it called it 0 times"),
    "picture_range_255": ("2.2.3", "0..255"),
    "picture_range_tanh": ("2.2.3", "tanh gives [-1, 1]"),
    "picture_transposed": ("2.2.4", "the picture is transposed"),
    "random_in_eval": ("2.2.4", "random output"),
    "rec_averaged": ("2.3", "reconstruction is averaged over pixels"),
    "sampling_stops_gradient": ("2.2.4", "sampling that stops the gradient"),
    "summed_over_batch": ("2.3", "the loss is summed over the batch"),
    "unfilled_decode": ("2.2.3", "2.2.3 is not filled in yet"),
    "var_factor_wrong": ("2.3", "1/(2 var) wrong"),
    "var_ignored": ("2.3", "var ignored"),
    "variance_as_sigma": ("2.2.4", "the variance exp(log_var) used as sigma"),
}


def test_each_file_of_a_mistake_is_tested():
    assert {path.stem for path in (TESTS / "mistakes").glob("*.py")} == set(MISTAKES)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name):
    section, message = MISTAKES[name]
    results = {result.section: result for result in check_submission(TESTS / "mistakes" / f"{name}.py")}
    expected = NOT_FILLED_IN if name.startswith("unfilled") else WRONG
    assert (results[section].status, results[section].points) == (expected, 0)
    assert message in results[section].message
    others = {other for other in POINTS if other[0] != section[0] or (section == "2.3") != (other == "2.3")}
    assert all(results[other].status == PASSED for other in others)


@pytest.mark.parametrize("path", [REFERENCE, *sorted((TESTS / "correct").glob("*.py"))], ids=lambda path: path.stem)
def test_a_right_submission_passes(path):
    results = check_submission(path)
    assert [result.message for result in results if result.status != PASSED] == []
    assert sum(result.points for result in results) == 50


@pytest.mark.parametrize("filled", [["2.2.1"], ["2.2.1", "2.2.2"], ["2.2.1", "2.2.3"], ["2.3"]], ids=" ".join)
def test_a_section_passes_as_soon_as_it_is_filled_in(tmp_path, filled):
    parts = re.split(r"(?<=\n)(?= *# BEGIN SOLUTION)|(?<=# END SOLUTION\n)", REFERENCE.read_text())
    kept = [match and match[1] in filled for match in (re.match(r" *# BEGIN SOLUTION (\S+)", part) for part in parts)]
    path = tmp_path / "submission.py"
    path.write_text("".join(p if keep else student_version(p) for p, keep in zip(parts, kept, strict=True)))
    statuses = {result.section: result.status for result in check_submission(path)}
    assert statuses == {section: PASSED if section in filled else NOT_FILLED_IN for section in POINTS}


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """Inputs, and what the probe of a right submission returns, after the way through a file that grading takes."""
    inputs = make_inputs(1)
    path = tmp_path_factory.mktemp("probe") / "arrays.npz"
    np.savez(path, **probe(TESTS / "correct" / "demo_mlp.py", inputs))
    with np.load(path, allow_pickle=False) as arrays:
        return inputs, dict(arrays)


def test_the_judge_survives_whatever_a_hostile_process_returns(right):
    inputs, arrays = right
    garbage = [np.array("text"), np.array(np.nan), np.full((2, 2), 1e308), np.zeros((0, 3)), np.array([True]), "passed"]
    sections = {"VAE": ["2.2.1", "2.2.2", "2.2.3", "2.2.4"], "GenModel": ["3"], "loss": ["2.3"]}
    for number, name in enumerate(arrays):
        for bad in (garbage[number % 6], garbage[(number + 3) % 6]):
            own = sections[name.partition(".")[0]]
            assert [result.section for result in judge(inputs, arrays | {name: bad}, own)] == own
    for everything in ({}, None, {name: np.array(np.nan) for name in arrays}, {"verdict": np.array("passed")}):
        assert sum(result.points for result in judge(inputs, everything)) == 0


def test_right_arrays_of_other_inputs_do_not_pass(right):
    _, arrays = right
    statuses = {result.section: result.status for result in judge(make_inputs(2), arrays)}
    assert statuses["2.3"] == WRONG and statuses["3"] == WRONG


def test_the_command_prints_a_row_a_section_and_says_by_its_exit_code_whether_all_pass(lab):
    code, out, _ = lab("check.py", "--submission", TESTS / "mistakes" / "kl_sign_flipped.py")
    assert code == 1 and "KL sign flipped" in out and "35 of 50" in out
    code, out, _ = lab("check.py", "--submission", REFERENCE)
    assert code == 0 and out.count("passed") == 6

    code, out, _ = lab("check.py", "--submission", REFERENCE, "-k", "2.3", "--json")
    content = json.loads(out)
    assert code == 0 and [section["section"] for section in content["sections"]] == ["2.3"] and content["points"] == 15

    code, out, _ = lab("check.py", "--submission", TESTS.parent / "submission.py")
    assert code == 1 and out.count("not filled in  ") == 6
    code, _, err = lab("check.py", "--submission", "nothing.py")
    assert code == 2 and "there is no submission at nothing.py" in err


def test_the_tiny_run_tells_a_right_loss_from_wrong_ones(lab):
    code, out, _ = lab("check.py", "--tiny", "--submission", TESTS / "correct" / "demo_mlp.py")
    assert code == 0 and "OUTSIDE" not in out and "latent_dim 100" in out
    for name in ("kl_averaged", "var_ignored"):
        code, out, _ = lab("check.py", "--tiny", "--submission", TESTS / "mistakes" / f"{name}.py")
        assert code == 1 and "OUTSIDE" in out

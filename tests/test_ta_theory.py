"""theory.py: the reference passes, the blank file is not filled in, and known mistakes are named."""

import json

import pytest
from conftest import ROOT

from checks.theory import check_theory

REFERENCE = ROOT / "ta" / "reference" / "theory.py"
MISTAKES = [  # a line of the reference, what is written in its place, the function, what the message says
    ("math.log(sigma2 / sigma1) + (sigma1**2", "math.log(sigma1 / sigma2) + (sigma1**2", "kl_gaussians", "sign"),
    ("/ (2 * sigma2**2) - 0.5", "/ (2 * sigma2**2)", "kl_gaussians", "-1/2 is missing"),
    ("a * math.log(a / b) for", "b * math.log(b / a) for", "kl_discrete", "exchanged"),
    ("log_normal(x, 0.0, a**2 + var)", "log_normal(x, 0.0, a + var)", "log_evidence", "a²"),
    ("math.sqrt(var / (a**2 + var))", "var / (a**2 + var)", "posterior", "variance"),
    ("return reconstruction - kl", "return reconstruction + kl", "elbo", "sign of the KL"),
    ("+ a**2 * sigma**2)", ")", "elbo", "a² sigma²"),
    ("a * math.log(b) for", "b * math.log(a) for", "mean_log_likelihood", "exchanged"),
]


@pytest.mark.parametrize("seed", range(10))
def test_the_reference_passes_whatever_the_inputs(seed):
    assert [result.status for result in check_theory(REFERENCE, seed)] == ["passed"] * 6


def test_the_blank_file_is_not_filled_in(lab):
    assert {result.status for result in check_theory(ROOT / "theory.py")} == {"not filled in"}
    code, out, _ = lab("check.py", "-k", "0", "--submission", ROOT / "theory.py")
    assert code == 1
    assert out.count("not filled in") == 6
    assert "no points" in out


def test_check_py_reads_one_section_or_function_of_theory(lab, tmp_path):
    code, out, _ = lab("check.py", "-k", "0.2", "--submission", REFERENCE)
    assert code == 0
    assert out.count("passed") == 3
    (tmp_path / "theory.py").write_text(REFERENCE.read_text())
    code, out, _ = lab("check.py", "-k", "kl_discrete", "--seed", 5, "--json")
    (result,) = json.loads(out)["functions"]
    assert code == 0 and result["name"] == "kl_discrete" and json.loads(out)["seed"] == 5
    code, _, err = lab("check.py", "-k", "0.7", "--submission", ROOT / "theory.py")
    assert code == 2
    assert "for theory.py, 0, 0.1, 0.2, 1.3 or the name of a function" in err


@pytest.mark.parametrize(("right", "wrong", "name", "cause"), MISTAKES, ids=lambda value: value[:24])
def test_a_mistake_is_named(tmp_path, right, wrong, name, cause):
    text = REFERENCE.read_text()
    assert text.count(right) == 1
    path = tmp_path / "theory.py"
    path.write_text(text.replace(right, wrong))
    for seed in range(20):
        results = {result.name: result for result in check_theory(path, seed)}
        assert results[name].status == "wrong"
        assert cause in results[name].message
        assert [other for other in results if other != name and results[other].status != "passed"] in ([], ["elbo"])


def test_a_function_that_returns_rubbish_is_told_so(tmp_path):
    path = tmp_path / "theory.py"
    path.write_text("def kl_gaussians(*_):\n    return 'x'\n\n\ndef posterior(*_):\n    return 1.0\n")
    results = {result.name: result for result in check_theory(path)}
    assert "should return one" in results["kl_gaussians"].message
    assert "should return 2" in results["posterior"].message
    assert "does not define elbo" in results["elbo"].message

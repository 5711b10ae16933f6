"""The checks of check.py on your submission.py: `pytest -k vae_loss` runs one, a section that is blank is skipped."""

from pathlib import Path

import pytest

from checks.sections import GOOD, NAMES, NOT_FILLED_IN, check_submission

SUBMISSION = Path(__file__).resolve().parent.parent / "submission.py"


@pytest.fixture(scope="module")
def results():
    return {result.section: result for result in check_submission(SUBMISSION)}


@pytest.mark.parametrize("section", NAMES, ids=[f"{section} {name}" for section, name in NAMES.items()])
def test_section(results, section):
    result = results[section]
    if result.status == NOT_FILLED_IN:
        pytest.skip(f"not filled in yet: {result.message}")
    assert result.status in GOOD, result.message

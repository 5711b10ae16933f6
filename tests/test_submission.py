"""The checks of check.py on your submission.py: `pytest -k vae_loss` runs one, a section that is blank is skipped."""

from pathlib import Path

import pytest

from checks.result import GOOD, NOT_FILLED_IN
from checks.sections import check_submission
from lab.tasks import all_sections

SUBMISSION = Path(__file__).resolve().parent.parent / "submission.py"


@pytest.fixture(scope="module")
def results():
    return {result.section: result for result in check_submission(SUBMISSION)}


TITLES = [f"{number} {section.title}" for number, (section, _) in all_sections().items()]


@pytest.mark.parametrize("section", all_sections(), ids=TITLES)
def test_section(results, section):
    result = results[section]
    if result.status == NOT_FILLED_IN:
        pytest.skip(f"not filled in yet: {result.message}")
    assert result.status in GOOD, result.message

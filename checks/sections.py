"""The checks of a submission, section by section: inputs, a probe that calls the submission, and a judge.

    inputs = make_inputs(seed)
    arrays = probe("submission.py", inputs)     # runs the submission's code; returns plain arrays
    results = judge(inputs, arrays)             # runs none of it, and trusts none of the arrays

check.py and pytest do this in one process. Class grading runs `probe` in a sandbox and `judge` outside. The probe and
the evaluators of each section stand side by side in model/ and loss/.
"""

import secrets
import types
from dataclasses import dataclass

import numpy as np
import torch

from checks.evidence import Evidence, NotFilledInError, WrongError
from checks.inputs import make_inputs
from checks.loss import check_vae_loss, probe_loss
from checks.model import check_model, probe_model
from checks.recorder import Recorder
from lab.contract import SubmissionError, load_submission

__all__ = ["NAMES", "PASSED", "POINTS", "Result", "check_submission", "judge", "make_inputs", "probe"]

POINTS = {"2.2.1": 4, "2.2.2": 4, "2.2.3": 4, "2.2.4": 3, "2.3": 15, "3": 20}  # section → points, as in the handout
NAMES = {
    "2.2.1": "VAE layers",
    "2.2.2": "VAE encode",
    "2.2.3": "VAE decode",
    "2.2.4": "VAE forward",
    "2.3": "vae_loss",
    "3": "GenModel",
}
PASSED, NOTE, NOT_FILLED_IN, WRONG = "passed", "passed with a note", "not filled in", "wrong"
GOOD = (PASSED, NOTE)  # with full points


@dataclass
class Result:
    """The verdict on one section. status: one of the four above; message: empty if passed without a note."""

    section: str
    status: str
    points: int
    max_points: int
    message: str


def draw_seed():
    """Return a seed for the inputs, another one each time."""
    return secrets.randbits(32)


def check_submission(submission, sections=None, seed=None):
    """Probe and judge in this process; return a list of Results.

    submission: a path or a module; sections: a list of sections (all); seed: of the inputs (another one each time).
    """
    inputs = make_inputs(draw_seed() if seed is None else seed)
    return judge(inputs, probe(submission, inputs, sections), sections)


def probe(submission, inputs, sections=None):
    """Run a submission on the inputs and return a flat dict of plain arrays (numbers and unicode text, no objects).

    submission: a path or a module of load_submission; inputs: of make_inputs; sections: only what these need (all).
    Nothing that the submission raises gets out, other than KeyboardInterrupt.
    """
    arrays = {}
    if not isinstance(submission, types.ModuleType):
        try:
            submission = load_submission(submission)
        except SubmissionError as error:
            Recorder("submission", arrays).put(**{"import.error": str(error)[:600], "import.kind": error.kind})
            return arrays
    torch_state = torch.get_rng_state()
    for task, prefix, own in (("VAEwolabel", "VAE", "2.2"), ("Genwithlabel", "GenModel", "3")):
        if sections is None or any(section.startswith(own) for section in sections):
            probe_model(submission, task, inputs, Recorder(prefix, arrays))
    if sections is None or any(section.startswith("2.3") for section in sections):
        probe_loss(submission, inputs, Recorder("loss", arrays))
    torch.set_rng_state(torch_state)
    return arrays


def judge(inputs, arrays, sections=None):
    """Return one Result per section.

    inputs: of make_inputs; arrays: what probe returned, or anything that a hostile process claims it returned;
    sections: those to judge (all).
    """
    results = []
    for section, most in POINTS.items():
        if sections is not None and section not in sections:
            continue
        try:
            with np.errstate(all="ignore"):
                message = " ".join(judge_section(inputs, arrays, section))
            status = NOTE if message else PASSED
        except NotFilledInError as error:
            status, message = NOT_FILLED_IN, str(error)
            other = message.removeprefix("task ").partition(" ")[0]
            if other in POINTS and other != section:
                message = f"waits for task {other}, which is not filled in yet"
        except WrongError as error:
            status, message = WRONG, str(error)
        except Exception as error:  # arrays that no probe returns
            status, message = WRONG, f"what the check got back cannot be judged ({type(error).__name__}: {error})"[:300]
        results.append(Result(section, status, most if status in GOOD else 0, most, message))
    return results


def judge_section(inputs, arrays, section):
    """Return the notes on a section; raises WrongError or NotFilledInError unless it is right."""
    Evidence(arrays, "submission").raise_for("import")
    if section == "2.3":
        return check_vae_loss(inputs, arrays)
    return check_model(inputs, arrays, "GenModel" if section == "3" else "VAE", section)

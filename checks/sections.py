"""The checks of a submission, section by section: inputs, a probe that calls the submission, and a judge.

    inputs = make_inputs(seed)
    arrays = probe("submission.py", inputs)     # runs the submission's code; returns plain arrays
    results = judge(inputs, arrays)             # runs none of it, and trusts none of the arrays

check.py and pytest do this in one process. Class grading runs `probe` in a sandbox and `judge` outside. The probe and
the evaluators of each section stand side by side: the main lab's in model/ and loss/, another lab's in its `checks.py`.
"""

import secrets
import types

import numpy as np
import torch

from checks.evidence import Evidence, NotFilledInError, WrongError
from checks.inputs import make_inputs
from checks.lab import Lab
from checks.loss import check_vae_loss, probe_loss
from checks.model import check_model, probe_model
from checks.recorder import Recorder
from checks.result import GOOD, NOT_FILLED_IN, NOTE, PASSED, WRONG, Result
from lab.contract import SubmissionError, load_submission
from lab.tasks import all_sections

LOSS = "loss"


class MainLab(Lab):
    """The main lab: its table is lab/tasks.py, and one probe of a model serves all sections of the model."""

    def sections(self):
        return all_sections()

    def probe(self, module, inputs, wanted, arrays):
        for group, task in {group_of(section, task): task for section, task in wanted}.items():
            if group == LOSS:
                probe_loss(module, inputs, Recorder(LOSS, arrays))
            else:
                probe_model(module, task, inputs, Recorder(group, arrays))

    def judge(self, inputs, arrays, section, task):
        if section.checks == LOSS:
            return check_vae_loss(inputs, arrays)
        return check_model(inputs, arrays, task, section.checks)


MAIN = MainLab("", make_inputs, {}, aliases={"3.1": "3"})  # 3.1 is the handout's number of the task


def draw_seed():
    """Return a new random seed for the inputs."""
    return secrets.randbits(32)


def check_submission(submission, sections=None, seed=None, lab=MAIN):
    """Probe and judge in this process; return a list of Results.

    submission: a path or a module; sections: a list of sections (all); seed: of the inputs (another one each time);
    lab: whose sections they are.
    """
    inputs = lab.make_inputs(draw_seed() if seed is None else seed)
    return judge(inputs, probe(submission, inputs, sections, lab), sections, lab)


def probe(submission, inputs, sections=None, lab=MAIN):
    """Run a submission on the inputs and return a flat dict of plain arrays (numbers and unicode text, no objects).

    submission: a path or a module of load_submission; inputs: of the lab's make_inputs; sections: only what these need
    (all).
    No exception of the submission is passed on, except KeyboardInterrupt.
    """
    arrays = {}
    if not isinstance(submission, types.ModuleType):
        try:
            submission = load_submission(submission)
        except SubmissionError as error:
            Recorder("submission", arrays).put(**{"import.error": str(error)[:600], "import.kind": error.kind})
            return arrays
    torch_state = torch.get_rng_state()
    wanted = [pair for number, pair in lab.sections().items() if sections is None or number in sections]
    lab.probe(submission, inputs, wanted, arrays)
    torch.set_rng_state(torch_state)
    return arrays


def judge(inputs, arrays, sections=None, lab=MAIN):
    """Return one Result per section.

    inputs: of the lab's make_inputs; arrays: what probe returned, or anything that a hostile process claims it
    returned; sections: those to judge (all).
    """
    results = []
    known = lab.sections()
    for number, (section, needed) in known.items():
        if sections is not None and number not in sections:
            continue
        try:
            with np.errstate(all="ignore"):
                Evidence(arrays, "submission").raise_for("import")
                message = " ".join(lab.judge(inputs, arrays, section, needed))
            status = NOTE if message else PASSED
        except NotFilledInError as error:
            status, message = NOT_FILLED_IN, str(error)
            other = message.removeprefix("task ").partition(" ")[0]
            if other in known and other != number:
                message = f"waits for task {other}, which is not filled in yet"
        except WrongError as error:
            status, message = WRONG, str(error)
        except Exception as error:  # arrays that no probe returns
            status, message = WRONG, f"the results cannot be judged ({type(error).__name__}: {error})"[:300]
        points = section.points if status in GOOD else 0
        results.append(Result(number, section.title, status, points, section.points, message))
    return results


def group_of(section, task):
    """Return the name of the group of sections that one probe serves; the names of its arrays begin with it."""
    return LOSS if section.checks == LOSS else task.name

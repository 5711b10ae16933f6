"""The checks of a submission, section by section: inputs, a probe that calls the submission, and a judge.

    inputs = make_inputs(seed)
    arrays = probe("submission.py", inputs)     # runs the submission's code; returns plain arrays
    results = judge(inputs, arrays)             # runs none of it, and trusts none of the arrays

check.py and pytest do this in one process. Class grading runs `probe` in a sandbox and `judge` outside.
"""

import secrets
from dataclasses import dataclass

import numpy as np

from checks.evidence import Evidence, NotFilledInError, WrongError
from checks.judge_loss import judge_vae_loss
from checks.judge_model import ModelJudge
from checks.probes import BATCH, DEFAULT_DIM, LOSS_CASES, probe

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
PASSED, NOT_FILLED_IN, WRONG = "passed", "not filled in", "wrong"


@dataclass
class Result:
    """The verdict on one section. status: passed, not filled in, or wrong; message: empty if passed."""

    section: str
    status: str
    points: int
    max_points: int
    message: str


def check_submission(submission, sections=None, seed=None):
    """Probe and judge in this process; return a list of Results.

    submission: a path or a module; sections: a list of sections (all); seed: of the inputs (another one each time).
    """
    inputs = make_inputs(secrets.randbits(32) if seed is None else seed)
    return judge(inputs, probe(submission, inputs, sections), sections)


def make_inputs(seed):
    """Return fresh random inputs for `probe` as a flat dict of plain arrays; every value depends on the seed.

    x float32 [97, 28, 28] in [0, 1]; labels int64 [97] (each digit occurs); z float32 [97, 200]; latent_dims int64 [4];
    rows int64 [13], a part of the batch in another order; for each loss case k: loss.k.x and loss.k.recon and
    loss.k.other float32 [B, 28, 28], loss.k.mu and loss.k.log_var [B, d], loss.k.var.
    """
    rng = np.random.default_rng(seed)
    inputs = {
        "seed": np.int64(rng.integers(2**31)),
        "x": draw_blobs(rng, BATCH),
        "labels": rng.permutation(np.arange(BATCH) % 10),
        "z": rng.standard_normal((BATCH, 200), np.float32),
        "latent_dims": np.array([rng.integers(5, 19), 1, 200, DEFAULT_DIM]),
        "rows": rng.permutation(BATCH)[:13],
    }
    sizes = rng.permutation([3, 5, 7, 11, 13])
    widths = rng.permutation([2, 4, 9, 17, 30])
    variances = np.float64([0.5, 0.1, 2.0, 0.25, 1.0])[rng.permutation(5)] * rng.uniform(0.9, 1.1, 5)
    for k in range(LOSS_CASES):
        size, width = int(sizes[k]), int(widths[k])
        x = rng.uniform(0.2, 0.8, (size, 28, 28))
        log_var = rng.uniform(0.3, 2, (size, width)) if k >= LOSS_CASES - 2 else rng.normal(0, 1.2, (size, width))
        inputs |= {
            f"loss.{k}.x": np.float32(x),
            f"loss.{k}.recon": np.float32(x + rng.uniform(-0.15, 0.15, x.shape)),
            f"loss.{k}.other": np.float32(x + 0.3 * rng.choice([-0.6, 0, 0, 0.6], x.shape)),
            f"loss.{k}.mu": np.float32(rng.normal(0.3, 1.3, (size, width))),
            f"loss.{k}.log_var": np.float32(log_var),
            f"loss.{k}.var": variances[k],
        }
    return inputs


def draw_blobs(rng, count):
    """Return pictures float32 [count, 28, 28] in [0, 1] that look roughly like digits: a few bright spots on black."""
    axis = np.arange(28)
    centre = rng.uniform(5, 22, (count, 4, 2, 1))
    width = rng.uniform(1.5, 4, (count, 4, 1))
    down, across = (np.exp(-(((axis - centre[:, :, side]) / width) ** 2)) for side in (0, 1))
    spots = np.einsum("nsi,nsj->nij", down, across)
    return np.float32((1.4 * spots - 0.2).clip(0, 1))


def judge(inputs, arrays, sections=None):
    """Return one Result a section.

    inputs: of make_inputs; arrays: what probe returned, or anything that a hostile process claims it returned;
    sections: those to judge (all).
    """
    results = []
    for section, most in POINTS.items():
        if sections is not None and section not in sections:
            continue
        status, message = PASSED, ""
        try:
            with np.errstate(all="ignore"):
                judge_section(inputs, arrays, section)
        except NotFilledInError as error:
            status, message = NOT_FILLED_IN, str(error)
            other = message.partition(" ")[0]
            if other in POINTS and other != section:
                message = f"waits for {other}, which is not filled in yet"
        except WrongError as error:
            status, message = WRONG, str(error)
        except Exception as error:  # arrays that no probe returns
            status, message = WRONG, f"what the check got back cannot be judged ({type(error).__name__}: {error})"[:300]
        results.append(Result(section, status, most if status == PASSED else 0, most, message))
    return results


def judge_section(inputs, arrays, section):
    """Raise WrongError or NotFilledInError unless a section is right."""
    Evidence(arrays, "submission").raise_for("import")
    if section == "2.3":
        judge_vae_loss(inputs, arrays)
    else:
        ModelJudge(inputs, arrays, "GenModel" if section == "3" else "VAE").check(section)

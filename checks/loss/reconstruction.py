"""Section 2.3: what is wrong with the reconstruction term, or which acceptable alternative it is."""

import numpy as np

from checks.loss.factors import CLOSE, find_constant, find_factor, rec_factors
from checks.tools import bce


def norm(x, recon, axes=(1, 2)):
    return np.sqrt(((x - recon) ** 2).sum(axis=axes))


TERMS = {  # functions of x and recon [B, 28, 28] whose sum is the term; 0 if recon is x
    "squared error": lambda x, recon: (x - recon) ** 2,
    "turned": lambda x, recon: (x.transpose(0, 2, 1) - recon) ** 2 - (x.transpose(0, 2, 1) - x) ** 2,
    "logits": lambda x, recon: np.log1p(np.exp(recon)) - x * recon - np.log1p(np.exp(x)) + x * x,
    "difference": lambda x, recon: x - recon,
    "squared sum": lambda x, recon: (x - recon).sum(axis=(1, 2)) ** 2,
    "exchanged cross entropy": lambda x, recon: bce(recon, x) - bce(x, x),
    "cross entropy": lambda x, recon: bce(x, recon) - bce(x, x),
    "absolute error": lambda x, recon: np.abs(x - recon),
    "norm": norm,
    "norm of the batch": lambda x, recon: norm(x, recon, axes=(0, 1, 2)),
}
REFUSED = {  # terms that do not measure how similar two pictures are → what is wrong
    "turned": "compares with a transposed picture: rows and columns are exchanged",
    "logits": "takes recon_x as logits, which is a probability already: sigmoid applied twice",
    "difference": "has the square missing: differences of both signs cancel",
    "squared sum": "squares the sum of the differences, where their squares are summed",
    "exchanged cross entropy": "has recon_x and x exchanged in the cross-entropy: the prediction recon_x comes first",
}
ALLOWED = {  # acceptable alternatives → their names
    "cross entropy": "binary cross-entropy",
    "absolute error": "the sum of absolute differences",
    "norm": "the plain norm ||x - recon_x||, without its square",
    "norm of the batch": "the plain norm of the whole batch, without its square",
}


def term_sum(name, case, recon):
    """Return a term's sum over pixels, divided by 2 var: the mean over the batch."""
    return TERMS[name](case["x"], recon).sum() / case["B"] / (2 * case["var"])


def differences(values, cases):
    """Return the size of the reconstruction term for `recon` and `other`, [2 * cases], and {term: its sums}."""
    added = np.concatenate([values[:, 1] - values[:, 2], values[:, 3] - values[:, 2]])
    pairs = [(case, case["recon"]) for case in cases] + [(case, case["other"]) for case in cases]
    return added, {name: np.array([term_sum(name, case, recon) for case, recon in pairs]) for name in TERMS}


def find_rec_fault(values, cases):
    """Return what is wrong with the reconstruction term, None if it is right or an acceptable alternative."""
    added, sums = differences(values, cases)
    if not np.isfinite([*added, *(values[:, 4] - values[:, 2])]).all():
        return None if not np.isfinite(values).all(axis=0)[:3].any() else "reconstruction is NaN or infinite"
    if np.abs(added).max() < 1e-7:
        return "reconstruction is missing: the loss does not depend on recon_x"
    factors = [rec_factors(case) for case in cases] * 2
    fault = find_factor(added, sums["squared error"], factors)
    if fault is not None:
        return f"reconstruction {fault}" if fault else None
    for name, mistake in REFUSED.items():
        if has_form(added, sums[name]):
            return f"reconstruction {mistake}"
    if has_form(added, sums["squared error"]):
        return find_wrong_number(added, sums["squared error"], cases)
    return find_fault_of_other_term(values, added, sums, factors)


def has_form(added, sums):
    """Return whether a term is this one times a number that may differ between cases."""
    pairs = sums.reshape(2, -1)
    telling = (np.abs(pairs) > 1e-3 * np.abs(pairs).max()).all(axis=0)  # a sum of both signs may cancel
    first, second = (added.reshape(2, -1) / np.where(pairs, pairs, 1))[:, telling]
    return bool(telling.sum() >= 2 and np.all(np.abs(first - second) <= CLOSE * np.abs(first)))


def find_wrong_number(added, sums, cases):
    """Return what is wrong with a squared error whose factor is not a common mistake."""
    twice_var = np.array([2 * case["var"] for case in cases] * 2)
    batch = np.array([case["B"] for case in cases] * 2)
    scales = {"weight": 1.0, "var": twice_var, "batch": batch, "both": batch * twice_var}
    name, constant = find_constant(added, sums, scales) or ("", 0)
    if name == "var":
        return f"reconstruction has var ignored: its factor is {constant:.3g}, not 1 / (2 var)"
    if name == "weight":
        return f"reconstruction is multiplied by {constant:.3g} (it has no weight here but 1 / (2 var))"
    if name and constant:
        return (
            f"reconstruction is summed over the batch and divided by {1 / constant:.4g}, a number: divide by len(x), "
            f"or take the mean{', and by 2 var' if name == 'both' else ''}"
        )
    return "reconstruction is the squared error times a number that is not 1 / (2 var)"


def find_fault_of_other_term(values, added, sums, factors):
    """The same for a term that is not a squared error: it must fall with the error, and be weighted by var."""
    rec, halfway = values[:, 1] - values[:, 2], values[:, 4] - values[:, 2]
    weighted = values[:, 5] - values[:, 6]  # with 3 var
    if (rec <= 0).any() or (halfway >= rec).any():
        return "reconstruction does not fall as recon_x approaches x"
    twice = values[:, 8] - values[:, 0]
    if (twice > 0.5 * np.abs(values[:, 0])).all():
        return "reconstruction is summed over the batch (take the mean)"
    for name in ("absolute error", "cross entropy", "norm"):
        fault = find_factor(added, sums[name], factors)
        if fault and ("batch" in fault or "pixels" in fault or "rows" in fault):
            return f"reconstruction {fault}"
    if (np.abs(weighted - rec) <= CLOSE * rec).all():
        return "reconstruction has var ignored (divide by 2 var)"
    if (weighted > rec).any():
        return "reconstruction grows with var: 1/(2 var) wrong, divide by it"
    return None


def describe_term(values, cases):
    """Return the name of a right loss's reconstruction term, "" for the handout's."""
    added, sums = differences(values, cases)
    if find_factor(added, sums["squared error"], [rec_factors(case) for case in cases] * 2) == "":
        return ""
    return next((text for name, text in ALLOWED.items() if has_form(added, sums[name])), "a different one")

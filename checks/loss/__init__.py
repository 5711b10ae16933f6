"""Section 2.3: vae_loss on known inputs.

Differences separate the terms of the loss: only the KL term changes with mu and log_var, and only the reconstruction
term with recon_x. Each is then a known sum (the right one, or a common mistake) times a known factor.
"""

import numpy as np

from checks.evidence import Evidence, WrongError
from checks.inputs import LOSS_CASES
from checks.loss.factors import CLOSE
from checks.loss.kl import find_kl_fault, kl_sums
from checks.loss.probe import WAYS, probe_loss
from checks.loss.reconstruction import describe_term, find_rec_fault, term_sum

__all__ = ["check_vae_loss", "probe_loss"]


def check_vae_loss(inputs, arrays):
    """Return the notes on vae_loss; raises WrongError, or NotFilledInError, unless it is right."""
    evidence = Evidence(arrays, "loss")
    check_returned(evidence)
    values = evidence.array("values", (LOSS_CASES, WAYS), finite=False)
    cases = [read_case(inputs, k) for k in range(LOSS_CASES)]
    check_shape(evidence, inputs)
    kl_fault = find_kl_fault(values, cases)
    rec_fault = find_rec_fault(values, cases)
    faults = [fault for fault in (kl_fault, rec_fault) if fault]
    if len(faults) == 2 and kl_fault.partition(" ")[2] == rec_fault.partition(" ")[2]:
        faults = [f"the loss {kl_fault.partition(' ')[2]}"]
    if faults:
        raise WrongError(
            "vae_loss should be KL + ||x - recon_x||² / (2 var), mean over the batch; "
            f"{describe_values(values, cases)} Likely cause: {'; '.join(faults)}."
        )
    check_constant(values, cases)
    check_gradient(evidence, cases[0])
    extreme = evidence.array("extreme", (), finite=False)
    if not np.isfinite(extreme):
        raise WrongError(
            "vae_loss should stay finite where pixels are exactly 0 or 1 and log_var is ±30, got NaN or infinity "
            "(large inputs). Likely cause: log of a pixel without a clamp, or log of exp of something large."
        )
    for name in ("recon", "x", "mu", "log_var"):
        before = inputs[f"loss.1.{name}"]
        if not np.array_equal(evidence.array(f"after_{name}", before.shape, "in_place"), before):
            raise WrongError(f"vae_loss should not change its arguments, but {name} was changed in place.")
    term = describe_term(values, cases)
    if not term:
        return []
    return [
        f"the reconstruction term is not ||x - recon_x||² / (2 var) but {term}. That is allowed; compare its losses "
        "only with those of the same term, and remember that MSE is part of the score."
    ]


def check_returned(evidence):
    """Raise WrongError if vae_loss returned anything but a tensor."""
    if not evidence.has("returned"):
        return
    returned = evidence.text("returned")
    cause = "several values are returned, or .item() cuts the gradient: return the tensor of the loss alone"
    if "NoneType" in returned:
        cause = "the line that returns the loss is missing"
    elif returned.startswith(("tuple", "list", "dict")):
        cause = "several values are returned: return the loss alone"
    elif "float" in returned:
        cause = ".item() or float() cuts the gradient: return the tensor"
    raise WrongError(f"vae_loss should return a scalar tensor, got {returned}. Likely cause: {cause}.")


def read_case(inputs, k):
    """Return a case's arrays as float64, and its B, d and var."""
    case = {name: inputs[f"loss.{k}.{name}"].astype(np.float64) for name in ("x", "recon", "other", "mu", "log_var")}
    return case | {"B": len(case["mu"]), "d": case["mu"].shape[1], "var": float(inputs[f"loss.{k}.var"])}


def check_shape(evidence, inputs):
    shape = evidence.arrays.get("loss.shape")
    if not isinstance(shape, np.ndarray) or shape.dtype.kind not in "iu" or shape.ndim != 1 or shape.size > 8:
        raise WrongError("vae_loss should return a scalar tensor, but its result cannot be read.")
    shape = [int(size) for size in shape]
    if int(np.prod(shape)) == 1 and inputs["loss.1.mu"].shape != (1, 1):
        return
    cause = "the loss is returned per picture" if len(shape) == 1 else "a sum over the pixels or dimensions is missing"
    raise WrongError(
        f"vae_loss should return one number, a scalar, got a tensor of shape {shape}. Likely cause: {cause}; end with "
        ".mean() over the batch."
    )


def describe_values(values, cases):
    """Return the expected and the actual value for the first case."""
    case = cases[0]
    wanted = (kl_sums(case["mu"], case["log_var"])[""]) / case["B"] + term_sum("squared error", case, case["recon"])
    return (
        f"for {case['B']} pictures, latent_dim {case['d']} and var {case['var']:.3g} expected {wanted:.4g}, got "
        f"{values[0, 0]:.4g}."
    )


def check_constant(values, cases):
    """Three times as many latent dimensions with log_var = 1 add a known KL."""
    added = values[:, 7] - values[:, 2]
    wanted = np.array([2 * case["d"] for case in cases]) * (np.e - 2) / 2
    if np.abs(added - wanted).max() <= CLOSE * wanted.max() + 1e-3:
        return
    missing = (added - wanted) / np.array([2 * case["d"] for case in cases])
    raise WrongError(
        f"each latent dimension should add (exp(log_var) + mu² - 1 - log_var) / 2, yours adds {missing.mean():.3g} more"
        ". Likely cause: the - 1 is missing in KL, has the wrong sign, or is outside the sum over dimensions."
    )


def check_gradient(evidence, case):
    """The values are right; their gradients must be too."""
    cause = "Likely cause: .detach(), .data, .item() or torch.no_grad()."
    evidence.raise_for("gradient")
    for name in ("recon", "mu", "log_var"):
        if not evidence.has(f"gradient_{name}"):
            raise WrongError(f"vae_loss should have a gradient, but it has none. {cause}")
    batch = case["B"]
    wanted = {"mu": case["mu"] / batch, "log_var": (np.exp(case["log_var"]) - 1) / 2 / batch}
    for name in ("recon", "mu", "log_var"):
        grad = evidence.array(f"gradient_{name}", case[name].shape)
        wrong = name in wanted and np.abs(grad - wanted[name]).max() > CLOSE * np.abs(wanted[name]).max()
        if wrong or not grad.any():
            raise WrongError(f"vae_loss should pass its full gradient to {name}, but it does not. {cause}")

"""What the checks of several labs are made of: stand-ins for a student's modules, and evaluators of values, gradients
and random draws, which name the mistake behind a wrong one."""

import numpy as np
import torch
from torch import nn

from checks.evidence import WrongError
from lab.contract import SubmissionError, describe

FLOAT32 = 1e-4  # relative: how exact a short computation in float32 is, with room to spare
ALIKE = 0.09  # five standard errors of a mean, or a standard deviation, of 3,000 draws


class Stub(nn.Module):
    """Stands in for a module of the student's: returns reply(*arguments, **named), and keeps these in `calls`."""

    def __init__(self, reply):
        super().__init__()
        self.reply, self.calls = reply, []

    def forward(self, *arguments, **named):
        self.calls.append([*arguments, *named.values()])
        return self.reply(*arguments, **named)


def tensors(inputs, *names, rows=None):
    """Return fresh tensors, so that what a submission does to them in place reaches nothing else."""
    return [torch.tensor(inputs[name][:rows]) for name in names]


def unpack(value, count, what):
    """Return the `count` tensors that a call returned; raises SubmissionError if they are something else."""
    values = [value] if isinstance(value, torch.Tensor) else value
    if not isinstance(values, tuple | list) or len(values) != count or not all(map(torch.is_tensor, values)):
        expected = "one tensor" if count == 1 else f"a tuple of {count} tensors"
        raise SubmissionError(f"{what} should return {expected}, got {describe(value)}", "bad_shape")
    return values


def as_number(value, what):
    """Return a scalar tensor as a float; raises SubmissionError for anything else."""
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        missing = ": take the mean over the batch" if isinstance(value, torch.Tensor) else ""
        raise SubmissionError(f"{what} should be one number, a scalar, got {describe(value)}{missing}", "bad_shape")
    return float(value.detach())


def take_losses(losses, names, what):
    """Return the scalars with these names of a dict that a loss returned, float64 [names]; raises SubmissionError if it
    is something else."""
    if not isinstance(losses, dict) or not set(names) <= losses.keys():
        got = f"a dict with {', '.join(map(str, losses))}" if isinstance(losses, dict) else describe(losses)
        raise SubmissionError(f"{what} should return a dict with {', '.join(names)}, got {got}", "bad_shape")
    return np.array([as_number(losses[name], f'{what}: "{name}"') for name in names])


def require(good, text, cause=""):
    """Raise WrongError with a text, and perhaps its likely cause, unless all is good."""
    if not good:
        raise WrongError(f"{text}.{f' Likely cause: {cause}.' if cause else ''}")


def compare(name, got, expected, tolerance, how, mistakes=(), exact=1e-6):
    """Raise WrongError if `got`, a number or an array, is further than `tolerance` from `expected`.

    mistakes: pairs (value that a well-known mistake gives, what that mistake is); exact: relative, how close `got` then
    is to that value.
    """
    got, expected = np.asarray(got), np.asarray(expected)
    distance = np.abs(got - expected)
    if np.all(distance <= tolerance):
        return
    # A cause is only named where the check can tell it from the right value and where it fits the actual one.
    close = exact + exact * np.abs(got)
    causes = [
        cause
        for value, cause in mistakes
        if np.any(np.abs(value - expected) > tolerance) and np.all(np.abs(got - value) <= close)
    ]
    worst = np.unravel_index(np.nan_to_num(distance, nan=np.inf).argmax(), distance.shape)
    text = f"{name} should be {expected[worst]:.4f} ({how}), got {got[worst]:.4f}"
    require(False, text, causes[0] if causes else "")


def compare_losses(name, got, expected, how, mistakes=()):
    """`compare` for float32 losses [cases], each with its own tolerance; mistakes: as there."""
    expected = np.asarray(expected)
    compare(name, got, expected, FLOAT32 * (1 + np.abs(expected)), how, mistakes, exact=10 * FLOAT32)


def scale_mistakes(right, sizes, width, what):
    """Return what losses, means over batches of these sizes of sums over `width` pixels or dimensions, become when they
    are summed or averaged over something else, for `compare`."""
    return [
        (right / width, f"the mean over the {what} is taken: sum over them"),
        (right * sizes, "the sum over the batch is taken: take its mean"),
        (right / sizes, "divided by the batch size twice"),
        (right * sizes / width, f"summed over the batch, averaged over the {what}: dim=0 stands where dim=1 belongs"),
        (-right, "the sign of the whole"),
    ]


def means(values, sizes):
    """Return, for cases that are the first rows of values [B, d], the sum over d and mean over the rows: [cases]."""
    return np.array([values[:rows].sum() / rows for rows in sizes])


def bce(x, recon):
    """Return the binary cross-entropy of pixels recon in (0, 1), elementwise."""
    return -(x * np.log(recon) + (1 - x) * np.log(1 - recon))


def bce_with_logits(x, logits):
    """Return the same of pixels sigmoid(logits), also where they round to 0 or 1."""
    return np.logaddexp(0, logits) - x * logits


def kl(mu, sigma, mu_q, sigma_q, log=1.0, square=0.5, constant=0.5):
    """Return KL(N(mu, sigma²) || N(mu_q, sigma_q²)), elementwise; the factors are 1, 1/2 and 1/2 where it is right."""
    return log * np.log(sigma_q / sigma) + (sigma**2 / 2 + square * (mu - mu_q) ** 2) / sigma_q**2 - constant


def kl_mistakes(mu, sigma, mu_q, sigma_q):
    """Return pairs (what the KL becomes, elementwise, by a well-known mistake; the mistake)."""
    both, quotient = (mu, sigma, mu_q, sigma_q), (sigma**2 + (mu - mu_q) ** 2) / (2 * sigma_q**2)
    return [
        (kl(mu_q, sigma_q, mu, sigma), "the two distributions are exchanged"),
        (kl(*both, constant=0), "the constant -1/2 is missing"),
        (kl(*both, square=1), "the factor 1/2 of the squared difference of the means is missing"),
        (kl(*both, square=0), "the squared difference of the means is missing"),
        (kl(*both, log=-1), "the sign of the logarithm"),
        (kl(*both, log=2), "the logarithm of the standard deviations has no factor 2"),
        (kl(*both, log=0.5), "the logarithm of the standard deviations has no factor 1/2, that of the variances has"),
        (kl(*both) + quotient, "the factor 1/2 of the quotient is missing"),
        (2 * kl(*both), "the factor 1/2 is missing"),
    ]


def weight_mistakes(rec, kl_, rec_weight, kl_weight=1.0):
    """The same for the loss rec_weight * rec + kl_weight * kl."""
    return [
        (rec + kl_, "the weights are not used"),
        (rec + kl_weight * kl_, "rec_weight is not used"),
        (rec_weight * rec + kl_, "kl_weight is not used"),
        (kl_weight * rec + rec_weight * kl_, "rec_weight multiplies the KL"),
        (rec_weight * (rec + kl_), "rec_weight multiplies both terms"),
        (rec / rec_weight + kl_weight * kl_, "the reconstruction is divided by rec_weight"),
        (rec_weight * rec - kl_weight * kl_, "the sign of the KL term: it is added"),
        (-rec_weight * rec - kl_weight * kl_, "the sign of the whole: it is minimised"),
        (kl_weight * kl_ - rec_weight * rec, "the sign of the reconstruction term: it is added"),
        (rec_weight * rec, "the KL term is missing"),
        (kl_weight * kl_, "the reconstruction term is missing"),
    ]


def check_draws(name, z, mu, spread, called, kind):
    """Raise WrongError unless z looks like one draw from N(mu, sigma²) for each element; z, mu, spread: arrays [B, d].

    spread: the argument that gives sigma, named `called` in the submission; kind: "a standard deviation" or another
    key of `readings` below.
    """
    readings = {
        "a standard deviation": spread,
        "a variance": spread**0.5,
        "a log variance": np.exp(spread / 2),
        "the logarithm of a standard deviation": np.exp(spread),
    }
    sigma = readings.pop(kind)
    mistakes = {f"{called} is {kind}, it is used as {other}": value for other, value in readings.items()}
    mistakes |= {f"{called} is squared": spread**2, f"{called} is left out": np.ones_like(spread)}
    eps = (z - mu) / sigma
    what = f"{name} should draw z from N(mu, sigma²)"
    require(np.abs(eps).max() > 1e-3, f"{what}, got mu itself", "no noise is added")
    for axis, shared in ((0, "picture of the batch"), (1, "dimension of the code")):
        cause = "the noise has another shape than mu: torch.randn_like(mu)"
        require(np.ptp(eps, axis=axis).max() > 1e-2, f"{what}, got the same noise for every {shared}", cause)
    causes = [mistake for mistake, wrong in mistakes.items() if is_standard((z - mu) / wrong, sigma)]
    if is_standard((z - sigma) / np.abs(mu), sigma):
        causes = ["mu and sigma are exchanged"]
    if eps.min() >= 0 and eps.max() <= 1:
        causes = ["torch.rand draws uniform numbers from [0, 1]: use torch.randn_like"]
    text = f"{what}: expected (z - mu) / sigma with mean 0 and standard deviation 1, got {eps.mean():.2f} and "
    require(is_standard(eps, sigma), f"{text}{eps.std():.2f}", causes[0] if causes else "")


def is_standard(eps, sigma):
    """Tell whether eps looks standard normal, both where sigma is small and where it is large."""
    halves = np.array_split(eps.ravel()[np.argsort(sigma.ravel())], 2)
    return all(abs(half.mean()) < ALIKE and abs(half.std() - 1) < ALIKE for half in halves)


def record_gradients(out, value, **leaves):
    """Record NAME_gradient of each leaf tensor: that of a scalar, 0 where it does not depend on the leaf."""
    if value.requires_grad:
        value.backward()
    for name, leaf in leaves.items():
        out.put(**{f"{name}_gradient": torch.zeros_like(leaf) if leaf.grad is None else leaf.grad})


def record_losses(inputs, out, loss, read, names, leaves):
    """Record read(loss(...)) of the first rows of the arrays `names`, for each of inputs["sizes"], and on all rows
    the gradients that reach `leaves`; of a loss that returns a dict, those of its "loss"."""
    out.put(values=np.array([read(loss(*tensors(inputs, *names, rows=rows))) for rows in inputs["sizes"]]))
    given = dict(zip(names, tensors(inputs, *names), strict=True))
    reached = {name: given[name].requires_grad_() for name in leaves}
    value = loss(*given.values())
    record_gradients(out, value["loss"] if isinstance(value, dict) else value, **reached)


def check_gradients(name, evidence, cause, **shapes):
    """Raise WrongError unless the gradient of each of these reaches it."""
    for leaf, shape in shapes.items():
        reached = evidence.array(f"{leaf}_gradient", shape, "run").any()
        require(reached, f"{name} should carry its gradient to {leaf}, it does not", cause)

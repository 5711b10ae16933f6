"""The judge of section 2.3: decides from the values that vae_loss gave on known inputs what it computes.

The loss is taken apart by differences. Where mu and log_var change, the KL term changes; where recon_x changes, the
reconstruction term does. Each is then a sum that is known (right or a usual mistake) times a factor that is known.
"""

from itertools import product

import numpy as np

from checks.evidence import Evidence, WrongError
from checks.probes import LOSS_CASES

WAYS = 9  # columns of loss.values, in the order of probes.probe_loss
CLOSE = 0.01  # relative: float32 sums are far closer, any two of the factors further apart


def judge_vae_loss(inputs, arrays):
    """Raise WrongError, or NotFilledInError, unless vae_loss is right."""
    evidence = Evidence(arrays, "loss")
    if evidence.has("returned"):
        cause = ".item(), which cuts the gradient, or several values are returned"
        if "NoneType" in evidence.text("returned"):
            cause = "the line that returns the loss is missing"
        raise WrongError(
            f"vae_loss should return a scalar tensor, got {evidence.text('returned')}. Likely cause: {cause}."
        )
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
            raise WrongError(f"vae_loss should leave its arguments as they are, {name} was changed in place.")


def read_case(inputs, k):
    """Return a case's arrays as float64, and its B, d and var."""
    case = {name: inputs[f"loss.{k}.{name}"].astype(np.float64) for name in ("x", "recon", "other", "mu", "log_var")}
    return case | {"B": len(case["mu"]), "d": case["mu"].shape[1], "var": float(inputs[f"loss.{k}.var"])}


def check_shape(evidence, inputs):
    shape = evidence.arrays.get("loss.shape")
    if not isinstance(shape, np.ndarray) or shape.dtype.kind not in "iu" or shape.ndim != 1 or shape.size > 8:
        raise WrongError("vae_loss should return a scalar tensor, it returned nothing that can be read.")
    shape = [int(size) for size in shape]
    if int(np.prod(shape)) == 1 and inputs["loss.1.mu"].shape != (1, 1):
        return
    cause = "the loss is returned per picture" if len(shape) == 1 else "a sum over the pixels or dimensions is missing"
    raise WrongError(
        f"vae_loss should return one number, a scalar, got a tensor of shape {shape}. Likely cause: {cause}; end with "
        ".mean() over the batch."
    )


def kl_sums(mu, log_var):
    """Return the sum over batch and dimensions of the KL of appendix B of Kingma and Welling (2013), and of what it
    becomes by usual mistakes: {"" (right) or the mistake: number}."""
    with np.errstate(all="ignore"):
        variance, square, log_of = np.exp(log_var), mu**2, np.log
        terms = {
            "": variance + square - 1 - log_var,
            "has log_var used as sigma (sigma² is exp(log_var))": log_var**2 + square - 1 - log_of(log_var**2),
            "has log_var used as variance (sigma² is exp(log_var))": log_var + square - 1 - log_of(log_var),
            "has log_var used as log sigma, exp(2 log_var) for sigma²": np.exp(2 * log_var) + square - 1 - 2 * log_var,
            "has exp(2 log_var) for sigma², which is exp(log_var)": np.exp(2 * log_var) + square - 1 - log_var,
            "has sigma = exp(log_var / 2) where sigma² belongs": np.exp(log_var / 2) + square - 1 - log_var,
            "has sigma where sigma² belongs": np.exp(log_var / 2) + square - 1 - log_var / 2,
            "has log_var where sigma² = exp(log_var) belongs": square - 1 + 0 * log_var,
            "lacks the term - log_var": variance + square - 1,
            "has the wrong sign before log_var": variance + square - 1 + log_var,
            "lacks the term mu²": variance - 1 - log_var,
            "has the wrong sign before mu²": variance - square - 1 - log_var,
            "has the wrong sign before exp(log_var)": -variance + square - 1 - log_var,
            "has mu where mu² belongs": variance + mu - 1 - log_var,
            "has |mu| where mu² belongs": variance + np.abs(mu) - 1 - log_var,
            "lacks the term exp(log_var)": square - 1 - log_var,
            "has mu and log_var exchanged": np.exp(mu) + log_var**2 - 1 - mu,
            "is the other way round, KL(N(0, I) || q)": (1 + square) / variance - 1 + log_var,
        }
    return {mistake: term.sum() / 2 for mistake, term in terms.items()}


def kl_factors(case):
    """Return what a KL of one picture may have been multiplied with by mistake: {mistake: number}."""
    batch, dim, var = case["B"], case["d"], case["var"]
    return combine(
        {"": 1, "is negative: KL sign flipped": -1},
        {
            "": 1,
            "is averaged over latent dimensions (they are summed)": 1 / dim,
            "is averaged over pixels too": 1 / 784,
        },
        {"": 1, "is summed over the batch (take the mean)": batch, "is divided by the batch size twice": 1 / batch},
        {"": 1, "lacks the factor 1/2": 2, "has the factor 1/2 twice": 0.5},
        {
            "": 1,
            "is multiplied by 2 var (only the reconstruction is divided by it)": 2 * var,
            "is multiplied by var": var,
            "is divided by 2 var": 1 / (2 * var),
            "is divided by var": 1 / var,
        },
    )


def rec_factors(case):
    """The same for the reconstruction term."""
    batch, var = case["B"], case["var"]
    return combine(
        {"": 1, "is negative: its sign is flipped": -1},
        {"": 1, "is averaged over pixels (they are summed)": 1 / 784, "is averaged over the rows of a picture": 1 / 28},
        {"": 1, "is summed over the batch (take the mean)": batch, "is divided by the batch size twice": 1 / batch},
        {
            "": 1,
            "has var ignored (divide by 2 var)": 2 * var,
            "has var ignored and a factor 1/2": var,
            "is divided by var: 1/(2 var) wrong, the 2 is missing": 2,
            "is divided by 4 var: 1/(2 var) wrong": 0.5,
            "is divided by 2 var²: 1/(2 var) wrong, var is already sigma²": 1 / var,
            "is divided by var²: 1/(2 var) wrong": 2 / var,
            "is divided by 2 sigma: 1/(2 var) wrong": var**0.5,
            "is multiplied by 2 var: 1/(2 var) wrong, divide": 4 * var**2,
            "is multiplied by var: 1/(2 var) wrong, divide by 2 var": 2 * var**2,
            "is multiplied by var / 2: 1/(2 var) wrong, divide by 2 var": var**2,
        },
    )


def combine(*factors):
    """Return every choice of one from each: {"mistake, mistake": product}, those with few mistakes first."""
    choices = sorted(product(*(choice.items() for choice in factors)), key=lambda c: sum(bool(name) for name, _ in c))
    return {", ".join(name for name, _ in c if name): float(np.prod([value for _, value in c])) for c in choices}


EXCHANGED = (  # two faults that are one
    "is averaged over latent dimensions (they are summed), is summed over the batch (take the mean)",
    "is summed over the batch and averaged over latent dimensions: dim=0 stands where dim=1 belongs",
)


def find_factor(values, sums, factors):
    """Return the first name for which values = sums * factor in all cases that are finite, None if there is none.

    values, sums: [cases]; factors: a dict for each case, all with the same names.
    """
    good = np.isfinite(values) & np.isfinite(sums)
    if good.sum() < 2 or not np.any(np.abs(sums[good]) > 1e-9):
        return None
    table = np.array([list(factor.values()) for factor in factors])[good]
    wanted = sums[good][:, None] * table
    fits = np.all(np.abs(values[good][:, None] - wanted) <= CLOSE * np.abs(wanted) + 1e-9, axis=0)
    return list(factors[0])[int(fits.argmax())] if fits.any() else None


def find_kl_fault(values, cases):
    """Return what is wrong with the KL term, None if it is right."""
    kl = values[:, 0] - values[:, 1]
    plain = [kl_sums(case["mu"], case["log_var"]) for case in cases]
    base = [kl_sums(0 * case["mu"], 0 * case["log_var"] + 1) for case in cases]
    batch = np.array([case["B"] for case in cases])
    sums = {name: np.array([p[name] - b[name] for p, b in zip(plain, base, strict=True)]) / batch for name in plain[0]}
    if np.isfinite(kl).all() and np.abs(kl).max() < 1e-3 * np.abs(sums[""]).min():
        return "KL is missing: the loss does not depend on mu and log_var"
    factors = [kl_factors(case) for case in cases]
    for mistake, total in sums.items():
        factor = find_factor(kl, total, factors)
        if factor is not None and (np.isfinite(kl).all() or mistake):
            fault = " and ".join(part for part in (mistake, factor) if part).replace(*EXCHANGED)
            return f"KL {fault}" if fault else None
    if not np.isfinite(kl).all():
        return "KL is NaN or infinite: log or sqrt of log_var, which may have any sign"
    ratio = kl / sums[""]
    if ratio.std() < CLOSE * abs(ratio.mean()):
        return f"KL is multiplied by {ratio.mean():.3g} (it has no weight here)"
    return "KL is another formula: it is the sum over latent dimensions of (exp(log_var) + mu² - 1 - log_var) / 2"


def find_rec_fault(values, cases):
    """Return what is wrong with the reconstruction term, None if it is right or another term that will do."""
    rec, other, halfway = (values[:, way] - values[:, 2] for way in (1, 3, 4))
    if not np.isfinite([rec, other, halfway]).all():
        return None if not np.isfinite(values).all(axis=0)[:3].any() else "reconstruction is NaN or infinite"
    if max(np.abs(rec).max(), np.abs(other).max()) < 1e-7:
        return "reconstruction is missing: the loss does not depend on recon_x"
    both = np.concatenate([rec, other])
    factors = [rec_factors(case) for case in cases] * 2
    pairs = [(case, case["recon"]) for case in cases] + [(case, case["other"]) for case in cases]
    sums = {name: np.array([per_picture(name, case, recon) for case, recon in pairs]) for name in TERMS}
    fault = find_factor(both, sums["squared error"], factors)
    if fault is not None:
        return f"reconstruction {fault}" if fault else None
    if find_factor(both, sums["turned"], factors) is not None:
        return "reconstruction compares with a transposed picture: rows and columns are exchanged"
    if find_factor(both, sums["logits"], factors) is not None:
        return "reconstruction takes recon_x as logits, which is a probability already: sigmoid applied twice"
    return find_fault_of_other_term(values, cases, both, sums, factors)


def find_fault_of_other_term(values, cases, both, sums, factors):
    """The same for a term that is no squared error: it must fall with the error, and be weighted by var."""
    rec, halfway = values[:, 1] - values[:, 2], values[:, 4] - values[:, 2]
    weighted = values[:, 5] - values[:, 6]  # with 3 var
    if (rec <= 0).any() or (halfway >= rec).any():
        return "reconstruction does not fall as recon_x comes closer to x"
    twice = values[:, 8] - values[:, 0]
    if (twice > 0.5 * np.abs(values[:, 0])).all():
        return "reconstruction is summed over the batch (take the mean)"
    for name in ("absolute error", "cross entropy"):
        fault = find_factor(both, sums[name], factors)
        if fault and ("batch" in fault or "pixels" in fault or "rows" in fault):
            return f"reconstruction {fault}"
    if (np.abs(weighted - rec) <= CLOSE * rec).all():
        return "reconstruction has var ignored (divide by 2 var)"
    if (weighted > rec).any():
        return "reconstruction grows with var: 1/(2 var) wrong, divide by it"
    return None


TERMS = {
    "squared error": lambda x, recon: (x - recon) ** 2,
    "turned": lambda x, recon: (x.transpose(0, 2, 1) - recon) ** 2 - (x.transpose(0, 2, 1) - x) ** 2,
    "absolute error": lambda x, recon: np.abs(x - recon),
    "cross entropy": lambda x, recon: cross_entropy(x, recon) - cross_entropy(x, x),
    "logits": lambda x, recon: np.log1p(np.exp(recon)) - x * recon - np.log1p(np.exp(x)) + x * x,
}


def per_picture(name, case, recon):
    """Return a term's sum over pixels, divided by 2 var: the mean over the batch."""
    return TERMS[name](case["x"], recon).sum() / case["B"] / (2 * case["var"])


def cross_entropy(x, recon):
    return -(x * np.log(recon) + (1 - x) * np.log(1 - recon))


def describe_values(values, cases):
    """Return what was expected and what came, for the first case."""
    case = cases[0]
    wanted = (kl_sums(case["mu"], case["log_var"])[""]) / case["B"] + per_picture("squared error", case, case["recon"])
    return (
        f"for {case['B']} pictures, latent_dim {case['d']} and var {case['var']:.3g} expected {wanted:.4g}, got "
        f"{values[0, 0]:.4g}."
    )


def check_constant(values, cases):
    """Three times as many latent dimensions of log_var = 1 add a KL that is known."""
    added = values[:, 7] - values[:, 2]
    wanted = np.array([2 * case["d"] for case in cases]) * (np.e - 2) / 2
    if np.abs(added - wanted).max() <= CLOSE * wanted.max() + 1e-3:
        return
    missing = (added - wanted) / np.array([2 * case["d"] for case in cases])
    raise WrongError(
        f"each latent dimension should add (exp(log_var) + mu² - 1 - log_var) / 2, yours adds {missing.mean():.3g} more"
        ". Likely cause: the - 1 is missing in KL, or stands outside the sum over dimensions."
    )


def check_gradient(evidence, case):
    """The values are right; their gradients must be too."""
    cause = "Likely cause: .detach(), .data, .item() or torch.no_grad()."
    evidence.raise_for("gradient")
    for name in ("recon", "mu", "log_var"):
        if not evidence.has(f"gradient_{name}"):
            raise WrongError(f"vae_loss should carry a gradient, it carries none. {cause}")
    batch = case["B"]
    wanted = {"mu": case["mu"] / batch, "log_var": (np.exp(case["log_var"]) - 1) / 2 / batch}
    for name in ("recon", "mu", "log_var"):
        grad = evidence.array(f"gradient_{name}", case[name].shape)
        wrong = name in wanted and np.abs(grad - wanted[name]).max() > CLOSE * np.abs(wanted[name]).max()
        if wrong or not grad.any():
            raise WrongError(f"vae_loss should carry its whole gradient to {name}, it does not. {cause}")

"""Section 2.3: what is wrong with the KL term."""

import numpy as np

from checks.loss.factors import EXCHANGED, find_constant, find_factor, kl_factors


def kl_sums(mu, log_var):
    """Return the sum over batch and dimensions of the KL in appendix B of Kingma and Welling (2013), and of its
    versions with common mistakes: {"" (right) or the mistake: number}."""
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
            "has log_var² where sigma² = exp(log_var) belongs": log_var**2 + square - 1 - log_var,
            "has log_var² where log_var belongs": variance + square - 1 - log_var**2,
            "takes the logarithm of log_var, which is one already": variance + square - 1 - log_of(log_var),
            "lacks the term - log_var": variance + square - 1,
            "has the wrong sign before log_var": variance + square - 1 + log_var,
            "lacks the term mu²": variance - 1 - log_var,
            "has the wrong sign before mu²": variance - square - 1 - log_var,
            "has the wrong sign before exp(log_var)": -variance + square - 1 - log_var,
            "has mu where mu² belongs": variance + mu - 1 - log_var,
            "has 2 mu where mu² belongs": variance + 2 * mu - 1 - log_var,
            "has |mu| where mu² belongs": variance + np.abs(mu) - 1 - log_var,
            "has exp(mu) where mu² belongs": variance + np.exp(mu) - 1 - log_var,
            "lacks the term exp(log_var)": square - 1 - log_var,
            "lacks the terms - 1 - log_var": variance + square,
            "has mu and log_var exchanged": np.exp(mu) + log_var**2 - 1 - mu,
            "is the other way round, KL(N(0, I) || q)": (1 + square) / variance - 1 + log_var,
        }
    return {mistake: term.sum() / 2 for mistake, term in terms.items()}


def find_kl_fault(values, cases):
    """Return what is wrong with the KL term, None if it is right."""
    kl = values[:, 0] - values[:, 1]
    plain = [kl_sums(case["mu"], case["log_var"]) for case in cases]
    base = [kl_sums(0 * case["mu"], 0 * case["log_var"] + 1) for case in cases]
    batch = np.array([case["B"] for case in cases])
    sums = {name: np.array([p[name] - b[name] for p, b in zip(plain, base, strict=True)]) / batch for name in plain[0]}
    if np.isfinite(kl).all() and np.abs(kl).max() < 1e-3 * np.abs(sums[""]).min():
        return "KL is missing: the loss does not depend on mu and log_var"
    for max_mistakes in (0, 1, 9):  # a formula without a factor is more likely than a different one with two
        factors = [kl_factors(case, max_mistakes) for case in cases]
        for mistake, total in sums.items():
            factor = find_factor(kl, total, factors)
            if factor is not None and (np.isfinite(kl).all() or mistake):
                fault = " and ".join(part for part in (mistake, factor) if part).replace(*EXCHANGED)
                return f"KL {fault}" if fault else None
    if not np.isfinite(kl).all():
        return "KL is NaN or infinite: log or sqrt of log_var, which may have any sign"
    scales = {"weight": 1.0, "batch": batch, "dimension": 1 / np.array([case["d"] for case in cases])}
    for mistake, total in sums.items():
        name, constant = find_constant(kl, total, scales) or ("", 0)
        also = f"{mistake} and " if mistake else ""
        if name == "weight":
            return f"KL {also}is multiplied by {constant:.3g} (it has no weight here)"
        if name == "batch" and constant:
            return (
                f"KL {also}is summed over the batch and divided by {1 / constant:.4g}, a number: divide by len(x), or "
                "take the mean"
            )
        if name == "dimension":
            return f"KL {also}is averaged over latent dimensions (they are summed) and multiplied by {constant:.3g}"
    return "KL has a different formula: it is the sum over latent dimensions of (exp(log_var) + mu² - 1 - log_var) / 2"

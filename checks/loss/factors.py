"""Section 2.3: factors by which a term may have been multiplied by mistake."""

from itertools import product

import numpy as np

CLOSE = 0.01  # relative: much larger than float32 rounding, smaller than the distance between any two factors

EXCHANGED = (  # two faults with a single cause
    "is averaged over latent dimensions (they are summed), is summed over the batch (take the mean)",
    "is summed over the batch and averaged over latent dimensions: dim=0 where dim=1 belongs",
)


def combine(*factors, max_mistakes=9):
    """Return every choice of one factor from each dict with at most `max_mistakes` mistakes, those with few first:
    {"mistake, mistake": product}."""
    choices = sorted(product(*(choice.items() for choice in factors)), key=count_mistakes)
    choices = [choice for choice in choices if count_mistakes(choice) <= max_mistakes]
    return {", ".join(name for name, _ in c if name): float(np.prod([value for _, value in c])) for c in choices}


def count_mistakes(choice):
    return sum(bool(name) for name, _ in choice)


def kl_factors(case, max_mistakes=9):
    """Return the factors by which the KL may have been multiplied by mistake: {mistake: number}."""
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
        max_mistakes=max_mistakes,
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


def find_factor(values, sums, factors):
    """Return the first name for which values = sums * factor in all finite cases, None without one.

    values, sums: [cases]; factors: one dict per case, all with the same names.
    """
    good = np.isfinite(values) & np.isfinite(sums)
    if good.sum() < 2 or not np.any(np.abs(sums[good]) > 1e-9):
        return None
    table = np.array([list(factor.values()) for factor in factors])[good]
    wanted = sums[good][:, None] * table
    fits = np.all(np.abs(values[good][:, None] - wanted) <= CLOSE * np.abs(wanted) + 1e-9, axis=0)
    return list(factors[0])[int(fits.argmax())] if fits.any() else None


def find_constant(values, sums, scales):
    """Return (name, constant) of the first scale for which values / sums = constant * scale in all cases, else None.

    scales: {name: [cases]}.
    """
    with np.errstate(all="ignore"):
        ratio = values / sums
    for name, scale in scales.items():
        constants = ratio / scale
        if np.isfinite(constants).all() and np.ptp(constants) <= CLOSE * np.abs(constants).max():
            return name, float(constants.mean())
    return None

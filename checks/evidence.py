"""The results of a probe, which evaluators read without trusting them: they may come from a hostile process."""

import numpy as np

from checks.causes import likely_cause


class WrongError(Exception):
    """A section is wrong; the text says what was expected, the actual value, and the likely cause."""


class NotFilledInError(Exception):
    """A section's TODO is not filled in."""


class Evidence:
    """The arrays of one probe, under a prefix (a task's name, or loss). name: the student's name for it (VAE, GenModel,
    loss); latent_dim: of the probed model."""

    latent_dim = 0

    def __init__(self, arrays, prefix, name=None):
        self.arrays = arrays if isinstance(arrays, dict) else {}
        self.prefix, self.name = prefix, name or prefix

    def has(self, name):
        return f"{self.prefix}.{name}" in self.arrays

    def text(self, name):
        """Return a text, printable and short, or "" if there is none."""
        value = self.arrays.get(f"{self.prefix}.{name}")
        if not isinstance(value, np.ndarray) or value.dtype.kind != "U" or value.size != 1:
            return ""
        return " ".join("".join(c if c.isprintable() else " " for c in str(value.reshape(-1)[0])[:600]).split())

    def number(self, name):
        """Return a whole number, 0 if there is none."""
        value = self.arrays.get(f"{self.prefix}.{name}")
        is_number = isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.size == 1
        return int(value.reshape(-1)[0]) if is_number else 0

    def failed(self, step):
        """Return whether a step ended with an error."""
        return bool(self.text(f"{step}.kind") or self.text(f"{step}.error"))

    def error(self, step):
        """Return the text of a failed step's error, for use inside a sentence."""
        return self.text(f"{step}.error").rstrip(".")

    def raise_for(self, step):
        """Raise the error of a failed step; return if the step did not fail."""
        if not self.failed(step):
            return
        if self.text(f"{step}.kind") == "not_filled_in":
            raise NotFilledInError(self.text(f"{step}.error"))
        raise WrongError(f"{self.error(step) or self.text(f'{step}.where')}.{self.cause(step)}")

    def cause(self, step):
        """Return the likely cause of a failed step's error, as a sentence to append; empty if unknown."""
        nothing = self.text(f"{step}.nothing")
        cause = f"the return of {nothing} is missing" if nothing else ""
        cause = cause or likely_cause(self.text(f"{step}.error"), self.number(f"{step}.batch"), self.latent_dim)
        return f" Likely cause: {cause}." if cause else ""

    def array(self, name, shape, step=None, finite=True):
        """Return a number array as float64 with exactly this shape; None in it means 1 to 2000.

        Raises the error of `step` (default: the name up to its first dot), or WrongError if there is no such array or
        it is not finite.
        """
        value = self.arrays.get(f"{self.prefix}.{name}")
        if value is None:
            self.raise_for(step or name.split(".")[0])
            raise WrongError(f"{self.name}: the check received no {name}: the code did not finish.")
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise WrongError(f"{self.name}: {name} should contain numbers, got {getattr(value, 'dtype', type(value))}.")
        short = name.split(".")[-1]
        fits = value.ndim == len(shape) and all(
            1 <= size <= 2000 if wanted is None else size == wanted
            for size, wanted in zip(value.shape, shape, strict=True)
        )
        if not fits:
            wanted = ["any" if size is None else size for size in shape]
            raise WrongError(f"{self.name}: {short} should have shape {wanted}, got {list(value.shape)[:6]}.")
        value = value.astype(np.float64)
        if finite and not np.isfinite(value).all():
            raise WrongError(
                f"{self.name}: {short} contains NaN or infinity. Likely cause: a logarithm, a square root "
                "or a quotient of something that is not positive, or exp of something large."
            )
        return value


def spread(values):
    """Return how far apart the rows of an array are: the largest range of one element over the first axis."""
    return float(np.ptp(values, axis=0).max())


def differ(a, b):
    """Return whether two results that should be equal differ by more than float32 rounding."""
    tolerance = 1e-5 * (1 + np.abs(a).max()) + 1e-3 * spread(a)
    return bool(not np.abs(a - b).max() <= tolerance)  # NaN differs from everything


def sigmoid(values):
    return 1 / (1 + np.exp(-np.clip(values, -50, 50)))

"""What a probe brought back, read with mistrust: it may come from a process that lies. For the evaluators only."""

import numpy as np

from checks.causes import likely_cause


class WrongError(Exception):
    """A section is wrong; the text says what was expected, the actual value, and the likely cause."""


class NotFilledInError(Exception):
    """A section's TODO is not filled in."""


class Evidence:
    """The arrays of one probe, under a prefix (a task's name, or loss). name: what the student calls it (VAE, GenModel,
    loss); latent_dim: of the model that was probed."""

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
        """Tell whether a step brought an error back."""
        return bool(self.text(f"{step}.kind") or self.text(f"{step}.error"))

    def error(self, step):
        """Return the text of a failed step's error, to stand inside a sentence."""
        return self.text(f"{step}.error").rstrip(".")

    def raise_for(self, step):
        """Raise what a failed step's error amounts to; return if the step brought none."""
        if not self.failed(step):
            return
        if self.text(f"{step}.kind") == "not_filled_in":
            raise NotFilledInError(self.text(f"{step}.error"))
        raise WrongError(f"{self.error(step) or self.text(f'{step}.where')}.{self.cause(step)}")

    def cause(self, step):
        """Return what a failed step's error most likely means, as a sentence to append; empty if that is not known."""
        nothing = self.text(f"{step}.nothing")
        cause = f"the return of {nothing} is missing" if nothing else ""
        cause = cause or likely_cause(self.text(f"{step}.error"), self.number(f"{step}.batch"), self.latent_dim)
        return f" Likely cause: {cause}." if cause else ""

    def array(self, name, shape, step=None, finite=True):
        """Return a number array as float64 with exactly this shape; None in it allows 1 to 2000.

        Raises what `step` (default: the name up to its first dot) failed with, or WrongError for anything else that is
        no such array, or that is not finite.
        """
        value = self.arrays.get(f"{self.prefix}.{name}")
        if value is None:
            self.raise_for(step or name.split(".")[0])
            raise WrongError(f"{self.name}: the check got no {name}: the code did not run to its end.")
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise WrongError(f"{self.name}: {name} should hold numbers, got {getattr(value, 'dtype', type(value))}.")
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
                f"{self.name}: {short} holds NaN or infinity. Likely cause: a logarithm, a square root "
                "or a quotient of something that is not positive, or exp of something large."
            )
        return value


def spread(values):
    """Return how far the rows of an array lie apart: the largest range of one element over the first axis."""
    return float(np.ptp(values, axis=0).max())


def differ(a, b):
    """Tell whether two results that should be the same are not, by more than float32 arithmetic explains."""
    tolerance = 1e-5 * (1 + np.abs(a).max()) + 1e-3 * spread(a)
    return bool(not np.abs(a - b).max() <= tolerance)  # NaN differs from everything


def sigmoid(values):
    return 1 / (1 + np.exp(-np.clip(values, -50, 50)))

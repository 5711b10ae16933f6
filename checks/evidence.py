"""What a probe brought back, read with mistrust: it may come from a process that lies. For the judges only."""

import re

import numpy as np

CAUSES = (  # the first whose pattern is found in an error's text says what it most likely means
    (r"CUDA|NVIDIA|cuda|on the same device", "a GPU is written into the code (.cuda(), device='cuda'): leave it out"),
    (r"expected [^ ]*(3D|4D|input).*(channels|3D|4D|unbatched)", "a convolution wants [B, 1, 28, 28]: x.unsqueeze(1)"),
    (
        r"mat1 and mat2",
        "a Linear layer gets another width than it was built for: flatten the picture, give one_hot num_classes=10",
    ),
    (r"view size is not compatible", "use .reshape in place of .view"),
    (r"invalid for input of size|shape '\[", "a batch size is written into .view or .reshape: use -1 or len(x)"),
    (r"inplace operation", "a tensor is changed in place before its gradient is computed: avoid +=, relu_, exp_"),
    (r"does not require grad", "the gradient is cut by .detach(), .data, .item() or torch.no_grad()"),
    (r"numpy\(\) on Tensor that requires grad", "stay in torch: numpy cuts the gradient"),
    (r"Class values must be", "one_hot needs num_classes=10"),
    (
        r"one_hot is only applicable|Expected tensor for argument .*indices",
        "labels are int64: do not turn them to float",
    ),
    (r"converted to Scalar|only integer tensors of a single|only one element|single element", "labels come as a batch"),
    (r"unpack", "encode returns two values, mu and log_var; forward three"),
    (r"unexpected keyword argument|positional argument", "keep the arguments that the file was given with"),
    (r"size of tensor a .* must match|Sizes of tensors must match|size mismatch", "two shapes do not go together"),
    (r"got \S+ \[28, 28, \d+\]", "the picture is transposed: the batch is the first dimension"),
    (r"for a batch of 1, got \S+ \[28, 28\]", "squeeze() without a dimension, which removes a batch of one as well"),
    (
        r"more than 1 value per channel",
        "BatchNorm takes the batch's own statistics in eval mode: leave track_running_stats",
    ),
    (r"has no attribute", "a name is used that __init__ does not define"),
    (r"must have the same dtype|expected scalar type|expected m1 and m2", "keep to float32: labels.float()"),
)


class WrongError(Exception):
    """A section is wrong; the text says what was expected, what came, and the likely cause."""


class NotFilledInError(Exception):
    """A section's TODO is not filled in."""


class Evidence:
    """The arrays of one probe, under a prefix (VAE, GenModel, loss)."""

    def __init__(self, arrays, prefix):
        self.arrays = arrays if isinstance(arrays, dict) else {}
        self.prefix = prefix

    def has(self, name):
        return f"{self.prefix}.{name}" in self.arrays

    def text(self, name):
        """Return a text, printable and short, or "" if there is none."""
        value = self.arrays.get(f"{self.prefix}.{name}")
        if not isinstance(value, np.ndarray) or value.dtype.kind != "U" or value.size != 1:
            return ""
        return " ".join("".join(c if c.isprintable() else " " for c in str(value.reshape(-1)[0])[:600]).split())

    def failed(self, step):
        """Tell whether a step brought an error back."""
        return bool(self.text(f"{step}.kind") or self.text(f"{step}.error"))

    def raise_for(self, step):
        """Raise what a failed step's error amounts to; return if the step brought none."""
        if not self.failed(step):
            return
        text, kind, where = (self.text(f"{step}.{name}") for name in ("error", "kind", "where"))
        if kind == "not_filled_in":
            raise NotFilledInError(text)
        cause = next((cause for pattern, cause in CAUSES if re.search(pattern, text)), None)
        raise WrongError(f"{(text or where).rstrip('.')}.{f' Likely cause: {cause}.' if cause else ''}")

    def array(self, name, shape, step=None, finite=True):
        """Return a number array as float64 with exactly this shape; None in it allows 1 to 2000.

        Raises what `step` (default: the name up to its first dot) failed with, or WrongError for anything else that is
        no such array, or that is not finite.
        """
        value = self.arrays.get(f"{self.prefix}.{name}")
        if value is None:
            self.raise_for(step or name.split(".")[0])
            raise WrongError(f"{self.prefix}: the check got no {name}: the code did not run to its end.")
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise WrongError(f"{self.prefix}: {name} should hold numbers, got {getattr(value, 'dtype', type(value))}.")
        short = name.split(".")[-1]
        fits = value.ndim == len(shape) and all(
            1 <= size <= 2000 if wanted is None else size == wanted
            for size, wanted in zip(value.shape, shape, strict=True)
        )
        if not fits:
            wanted = ["any" if size is None else size for size in shape]
            raise WrongError(f"{self.prefix}: {short} should have shape {wanted}, got {list(value.shape)[:6]}.")
        value = value.astype(np.float64)
        if finite and not np.isfinite(value).all():
            raise WrongError(
                f"{self.prefix}: {short} holds NaN or infinity. Likely cause: a logarithm, a square root "
                "or a quotient of something that is not positive, or exp of something large."
            )
        return value


def spread(values):
    """Return how far the rows of an array lie apart: the largest range of one element over the first axis."""
    return float(np.ptp(values, axis=0).max())


def differ(a, b):
    """Tell whether two results that should be the same are not, by more than float32 arithmetic explains."""
    tolerance = 1e-5 * (1 + np.abs(a).max()) + 1e-3 * spread(a)
    return bool(np.abs(a - b).max() > tolerance)


def batch_message(what):
    return (
        f"in eval mode {what} should be the same in any batch, it depends on the rest of the batch. Likely cause: "
        "BatchNorm without running statistics, a mean or softmax over dim 0, or attention over the batch."
    )


def sigmoid(values):
    return 1 / (1 + np.exp(-np.clip(values, -50, 50)))

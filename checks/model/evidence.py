"""Shared by the evaluators of sections 2.2 and 3: a model's arrays, and how they are read."""

import numpy as np

from checks.evidence import Evidence, WrongError, differ
from checks.inputs import BATCH, DEFAULT_DIM
from checks.recorder import METHODS

NOISE = 2e-6  # float32 difference between equal pictures in two rows of a batch


class ModelEvidence(Evidence):
    """The arrays of one task's probe."""

    def __init__(self, inputs, arrays, task):
        super().__init__(arrays, task.name, task.class_name)
        self.inputs = inputs
        self.has_labels = task.conditional
        self.dims = [int(dim) for dim in inputs["latent_dims"]]
        self.latent_dim = DEFAULT_DIM if self.number("latent_dim") == DEFAULT_DIM else self.dims[0]
        self.rows = inputs["rows"]

    @property
    def has_own_loss(self):
        return self.has("own_loss_defined")

    @property
    def codes(self):
        return self.inputs["z"][:, : self.latent_dim].astype(np.float64)

    def array_or(self, name, default):
        return self.array(name, default.shape) if self.has(name) else default

    def encoded(self, step, name, count, finite=True):
        """Return mu or log_var [count, latent_dim] of a step, from encode if possible, else from forward."""
        source = f"{step}.encode.{name}" if self.has(f"{step}.encode.{name}") else f"{step}.{name}"
        self.refuse_rows(source, count)
        return self.array(source, (count, self.latent_dim), finite=finite)

    def refuse_rows(self, source, count):
        """Raise WrongError if mu or log_var does not have one row per picture."""
        value = self.arrays.get(f"{self.prefix}.{source}")
        if getattr(value, "ndim", 0) == 2 and len(value) != count:
            raise WrongError(
                f"encode should give one mu and one log_var for each picture; for {count} pictures it gives "
                f"{len(value)}. Likely cause: the batch is not the first dimension: batch_first=True is missing in "
                "nn.GRU, nn.LSTM or attention, or a view or chunk takes the wrong dimension."
            )

    def cause(self, step):
        """As in Evidence; but if encode returned two tensors of a different shape, that is the cause."""
        shapes = self.text(f"{step}.encode_returned")
        if shapes:
            return f" Likely cause: encode returns {shapes}, and not two [B, latent_dim]: .flatten(1)."
        return super().cause(step)

    @property
    def remembered(self):
        """Return what decode remembers of the pictures or labels that forward has seen before, "" if nothing."""
        if not self.has("after_first") or self.draws_at_random:
            return ""
        first = self.array("after_first", (12, 28, 28), finite=False)
        for name, what in (("pictures", "something of the picture"), ("labels", "the label")):
            if self.has(f"after_{name}") and differ(first, self.array(f"after_{name}", first.shape, finite=False)):
                return what
        return ""

    @property
    def draws_at_random(self):
        """Return whether decode gives different answers for the same codes."""
        if not (self.has("decoded") and self.has("decoded_again")):
            return False
        return differ(*(self.array(name, (BATCH, 28, 28), finite=False) for name in ("decoded", "decoded_again")))

    def is_random(self, name):
        """Return whether forward gave different answers in eval mode for recon, or encode for mu or log_var."""
        shape = (BATCH, 28, 28) if name == "recon" else (BATCH, None)
        source = f"encode.{name}" if self.has(f"eval.encode.{name}") and self.has(f"again.encode.{name}") else name
        if not (self.has(f"eval.{source}") and self.has(f"again.{source}")):
            return False
        first, second = (self.array(f"{step}.{source}", shape, finite=False) for step in ("eval", "again"))
        return first.shape != second.shape or differ(first, second)

    @property
    def code_is_random(self):
        """Return whether decode receives a different code each time in eval mode."""
        if not (self.has("eval.z") and self.has("again.z")):
            return False
        first, second = (self.array(f"{step}.z", (BATCH, None), finite=False) for step in ("eval", "again"))
        return first.shape != second.shape or differ(first, second)

    def refuse_width(self):
        """Raise WrongError if forward passes codes to decode whose width is not latent_dim."""
        width = self.array("eval.z", (BATCH, None)).shape[1]
        if width != self.latent_dim:
            raise WrongError(
                f"forward should pass codes of width latent_dim = {self.latent_dim} to decode, got width {width}. "
                "Likely cause: labels or parts of the picture are joined to z before decode; do that inside decode."
            )

    def refuse_layers(self, *functions):
        """Raise WrongError if a layer was created in one of these functions or, if none are given, in any function
        without its own section."""
        texts = (self.text(f"{step}.layers") for step in ("dim0", "eval", "decoded"))
        layer, _, place = next((text for text in texts if text and "Dropout" not in text), "").partition(" in ")
        function, _, line = place.partition(", ")
        if function and (function in functions or not (functions or function in METHODS)):
            raise WrongError(
                f"layers should be created in __init__; {function} creates {layer} ({line}), so its weights are never "
                f"trained, or not saved. Likely cause: self.name = {layer}(...) belongs in __init__."
            )

    def cause_of_randomness(self, step, noise):
        """Return why the same input gives different answers; noise: the other possible reason."""
        layers = self.text(f"{step}.layers")
        if "Dropout" in layers:
            return f"{layers} is created in each call and therefore always drops: create it in __init__"
        if layers:
            return f"{layers} is created in each call: create it in __init__"
        if self.has("seeded") and self.has("seeded_again"):
            seeded = (self.array(name, (BATCH, 28, 28), finite=False) for name in ("seeded", "seeded_again"))
            if differ(*seeded):
                return "something is kept on self from one call to the next, such as the state of a recurrent layer"
        return f"F.dropout without training=self.training, or {noise}"


def batch_message(what):
    return (
        f"in eval mode {what} should be the same in any batch, but it depends on the rest of the batch. Likely cause: "
        "a mean, standard deviation or softmax over the batch (dim 0), BatchNorm without running statistics, "
        "attention over the batch, or a view that mixes pictures."
    )

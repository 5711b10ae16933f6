"""The judge of sections 2.2 and 3: decides from a probe's arrays whether VAE or GenModel keeps its contract.

Each function looks for one kind of mistake and raises WrongError with a message that names it.
"""

import re
from functools import partial

import numpy as np

from checks.evidence import Evidence, WrongError, batch_message, differ, sigmoid, spread
from checks.judge_forward import FORWARD_CHECKS
from checks.probes import BATCH, DEFAULT_DIM, LARGE_CODE

NOISE = 2e-6  # what float32 makes of two equal pictures in two rows of a batch


class ModelJudge:
    """Judges one model. name: VAE or GenModel."""

    def __init__(self, inputs, arrays, name):
        self.inputs = inputs
        self.name = name
        self.evidence = Evidence(arrays, name)
        self.has_labels = name == "GenModel"
        self.dims = [int(dim) for dim in inputs["latent_dims"]]
        dim = arrays.get(f"{name}.latent_dim") if isinstance(arrays, dict) else None
        used_default = isinstance(dim, np.ndarray) and dim.size == 1 and str(dim.reshape(-1)[0]) == str(DEFAULT_DIM)
        self.latent_dim = DEFAULT_DIM if used_default else self.dims[0]
        self.rows = inputs["rows"]

    def check(self, section):
        """Raise WrongError or NotFilledInError unless the section (2.2.1 to 2.2.4, or 3 for all of them) is right."""
        parts = {
            "2.2.1": [self.built, self.widths, self.weights_complete],
            "2.2.2": [self.encoder],
            "2.2.3": [self.decoder, self.decoder_in_batches],
            "2.2.4": [partial(part, self) for part in FORWARD_CHECKS],
        }
        parts["3"] = [
            *parts["2.2.1"],
            *parts["2.2.2"],
            self.decoder,
            self.labels,
            self.decoder_in_batches,
            *parts["2.2.4"],
        ]
        self.evidence.raise_for("build")
        for part in parts[section]:
            part()

    def built(self):
        """Every latent_dim gives a model that has parameters."""
        for index, dim in enumerate(self.dims):
            if self.evidence.text(f"dim{index}.where") == "__init__":
                self.evidence.raise_for(f"dim{index}")
            if self.evidence.array(f"dim{index}.parameters", ()) < 1:
                raise WrongError(
                    f"{self.name}(latent_dim={dim}) should have parameters to train, it has none. Likely cause: its "
                    "layers stand in a plain Python list; use nn.ModuleList, nn.Sequential or self.name = layer."
                )

    def widths(self):
        """mu is as wide as the latent_dim that was asked for, and forward works for each."""
        came = {}
        for index, dim in enumerate(self.dims):
            if self.evidence.has(f"dim{index}.mu"):
                came[dim] = self.evidence.array(f"dim{index}.mu", (3, None)).shape[1]
        bad = [dim for dim, width in came.items() if width != dim]
        if bad:
            raise WrongError(
                f"{self.name}(latent_dim={bad[0]}) should give mu of width {bad[0]}, got {came[bad[0]]}. Likely cause: "
                "a layer's width is written as a number (latent_dim hard-coded): use the argument latent_dim."
            )
        missing = [dim for dim in self.dims if dim not in came]
        if came and missing:
            cause = (
                "latent_dim is hard-coded in a layer: use the argument latent_dim"
                if missing != [1]
                else "squeeze() without a dimension, or a layer that cannot be 1 wide"
            )
            index = self.dims.index(missing[0])
            raise WrongError(
                f"{self.name} should work with any latent_dim; it works with {sorted(came)} and fails with {missing}"
                f" ({self.evidence.text(f'dim{index}.error')}). Likely cause: {cause}."
            )

    def weights_complete(self):
        """A second model with the first one's state_dict does the same."""
        self.evidence.raise_for("reload")
        if not self.evidence.has("reloaded_from.recon") or self.is_random("recon") or self.is_random("mu"):
            return
        for name, shape in (("mu", (20, self.latent_dim)), ("recon", (20, 28, 28))):
            first, second = (self.evidence.array(f"{step}.{name}", shape) for step in ("reloaded_from", "reloaded"))
            if differ(first, second):
                raise WrongError(
                    f"a second {self.name} with the first one's state_dict should give the same {name}, it gives "
                    f"another (off by {np.abs(first - second).max():.2g}). Likely cause: layers in a plain Python list "
                    "or tensors that are no nn.Parameter are missing from the state_dict; use nn.ModuleList."
                )

    def is_random(self, name):
        """Tell whether forward in eval mode gave two answers."""
        shape = (BATCH, 28, 28) if name == "recon" else (BATCH, None)
        if not (self.evidence.has(f"eval.{name}") and self.evidence.has(f"again.{name}")):
            return False
        first, second = (self.evidence.array(f"{step}.{name}", shape) for step in ("eval", "again"))
        return first.shape != second.shape or differ(first, second)

    def encoder(self):
        """mu and log_var, from forward or, where that fails elsewhere, from encode."""
        source = "eval" if self.evidence.has("eval.mu") or not self.evidence.has("encoded.mu") else "encoded"
        if source == "eval" and not self.evidence.has("eval.mu"):
            self.explain_shape()
        shape = (BATCH, self.latent_dim)
        mu, log_var = (self.evidence.array(f"{source}.{name}", shape) for name in ("mu", "log_var"))
        if not np.array_equal(self.array_or("eval.x_after", self.inputs["x"]), self.inputs["x"]):
            raise WrongError(
                "x should be the same after forward, it was changed in place. Likely cause: x += ..., x.sub_() or x[:] "
                "= ...: write x = x + ... ."
            )
        if source == "encoded":
            self.mu_depends_on_x(mu, mu)
            return
        if self.is_random("mu"):
            raise WrongError(
                "in eval mode the same pictures should give the same mu twice, they give another: random output. "
                "Likely cause: F.dropout without training=self.training, or noise added in encode."
            )
        extreme = [
            self.evidence.array(f"extreme.{name}", (5, self.latent_dim), finite=False) for name in ("mu", "log_var")
        ]
        if not np.isfinite(extreme).all():
            raise WrongError(
                "mu and log_var should stay finite for a black picture, a white one and one in 0..255, got NaN or "
                "infinity. Likely cause: exp of large inputs, or a division by a picture's sum or deviation."
            )
        self.mu_depends_on_x(mu, extreme[0])
        if (mu >= 0).all():
            raise WrongError(
                f"mu should take both signs, it is never negative for {len(mu)} different pictures. Likely cause: an "
                "activation (ReLU, sigmoid, softplus) after mu's last layer: leave it out."
            )
        for name, whole in (("mu", mu), ("log_var", log_var)):
            for step, rows in (("part", self.rows), ("single", [0])):
                if differ(whole[rows], self.evidence.array(f"{step}.{name}", (len(rows), self.latent_dim))):
                    raise WrongError(batch_message(f"a picture's {name}"))

    def mu_depends_on_x(self, *batches):
        if all(spread(mu) <= NOISE * np.abs(mu).max() + 1e-9 for mu in batches):
            raise WrongError(
                "mu should depend on x: different pictures should give different mu, but they all give the same. "
                "Likely cause: encode does not use x, or multiplies it away."
            )

    def array_or(self, name, default):
        return self.evidence.array(name, default.shape) if self.evidence.has(name) else default

    def explain_shape(self):
        """forward failed on [B, 28, 28]: say so if it works on another shape."""
        for step, shape, remedy in (
            ("as_channels", "[B, 1, 28, 28]", "x = x.unsqueeze(1)"),
            ("as_rows", "[B, 784]", "x = x.flatten(1)"),
        ):
            if self.evidence.has(f"{step}.recon") and self.evidence.text("eval.kind") != "not_filled_in":
                raise WrongError(
                    f"forward should take pictures [B, 28, 28]; it fails on them and works on {shape}: it needs "
                    f"{shape}. Begin encode with {remedy}."
                )

    def decoder(self):
        """decode alone, on codes that it was given."""
        error = self.evidence.text("decoded.error")
        takes_one = self.evidence.has("decoded_single") or self.evidence.has("decoded_number")
        if self.has_labels and not self.evidence.has("decoded") and takes_one and not re.search("one_hot|Class", error):
            raise WrongError(
                f"decode should take labels [B], one for each code; it takes one label but not a batch ({error}). "
                "Likely cause: int(labels), labels.item() or `if label`."
            )
        recon = self.pictures("decoded", BATCH)
        if not np.array_equal(self.array_or("z_after", self.codes), self.codes):
            raise WrongError(
                "z should be the same after decode, it was changed in place: write z = z + ..., not z += ... ."
            )
        large = self.pictures("decoded_large", len(self.rows), f" of codes of size {LARGE_CODE} (large inputs)")
        moved = self.pictures("decoded_moved", 2 * self.latent_dim + 1)
        if differ(recon, self.pictures("decoded_again", BATCH)):
            raise WrongError(
                "in eval mode decode should give the same picture for the same z, it gives another: random output. "
                "Likely cause: F.dropout without training=self.training, or noise added to the picture."
            )
        self.range_is_whole(recon, large)
        if spread(recon) <= NOISE and spread(large) <= NOISE:
            raise WrongError(
                "decode should depend on z: different codes should give different pictures, but they all give the same."
                " Likely cause: decode ignores z."
            )
        effect = np.abs(moved[1:] - moved[:1]).max(axis=(1, 2)).reshape(2, -1).max(axis=0)
        unused = np.flatnonzero(effect <= NOISE)
        if len(unused):
            raise WrongError(
                f"decode should use all {self.latent_dim} numbers of z, it ignores {len(unused)} of them (index "
                f"{', '.join(map(str, unused[:5]))}). Likely cause: z is sliced, or replaced in part."
            )

    def decoder_in_batches(self):
        """A code's picture is the same in the whole batch, in a part of it, and alone."""
        recon = self.pictures("decoded", BATCH)
        part = self.pictures("decoded_part", len(self.rows))
        single = self.pictures("decoded_single", 1, " of a batch of one")
        if differ(recon[self.rows], part) or differ(recon[:1], single):
            raise WrongError(batch_message("the picture of a code"))

    @property
    def codes(self):
        return self.inputs["z"][:, : self.latent_dim].astype(np.float64)

    def pictures(self, name, count, of=""):
        """Return decoded pictures [count, 28, 28] after checking that they are finite and in [0, 1]."""
        recon = self.evidence.array(name, (count, 28, 28), finite=False)
        if not np.isfinite(recon).all():
            raise WrongError(
                f"decode{of} should be finite, got NaN or infinity. Likely cause: a sigmoid or softmax written with "
                "exp overflows: use torch.sigmoid."
            )
        low, high = recon.min(), recon.max()
        if low < -1e-3 or high > 1 + 1e-3:
            cause = self.cause_of_range(low, high)
            raise WrongError(
                f"decode{of} should return pictures [B, 28, 28] in [0, 1], got values from {low:.3g} to {high:.3g}. "
                f"Likely cause: {cause}."
            )
        return recon

    def cause_of_range(self, low, high):
        """Return why pictures that reach from low to high leave [0, 1]."""
        large = self.evidence.array("decoded_large", (len(self.rows), 28, 28), finite=False)
        if np.abs(large).max() <= 1 + 1e-6 and large.min() < -0.5:
            return "pictures in another range: tanh gives [-1, 1]; end the decoder with a sigmoid"
        if low >= 0 and large.max() <= 255.1 and large.max() > 200:
            return "pictures in another range, 0..255: leave the factor out; a sigmoid alone gives [0, 1]"
        if self.evidence.has("reloaded_from.recon") and self.evidence.has("reloaded_decode"):
            recon = self.evidence.array("reloaded_from.recon", (20, 28, 28), finite=False)
            alone = self.evidence.array("reloaded_decode", (20, 28, 28), finite=False)
            if not differ(recon, sigmoid(alone)):
                return "the missing sigmoid stands in forward: it belongs into decode, which is also called alone"
        return "missing sigmoid: the decoder's last layer has no activation that keeps it in [0, 1]"

    def range_is_whole(self, *batches):
        """Pictures can get black and white: not softmax, not a sigmoid of something that is never negative."""
        sums = np.concatenate([batch.sum(axis=(1, 2)) for batch in batches])
        if np.abs(sums - 1).max() < 1e-3:
            raise WrongError(
                "each pixel should lie in [0, 1] on its own; the pixels of each picture sum to 1. Likely cause: "
                "softmax in place of sigmoid."
            )
        lowest = min(batch.min() for batch in batches)
        if lowest >= 0.5 - 1e-6 and all(batch.max() > 0.5 + 1e-6 for batch in batches):
            raise WrongError(
                f"pixels should be able to get black (0); decode gives nothing below {lowest:.3g}, whatever z is. "
                "Likely cause: sigmoid applied twice, or to the output of a ReLU."
            )

    def labels(self):
        """decode uses the label of each code."""
        apart = np.stack([self.evidence.array(f"digit{digit}", (3, 28, 28)) for digit in range(10)])
        mixed = self.evidence.array("digits_mixed", (30, 28, 28)).reshape(10, 3, 28, 28)
        if spread(apart) <= NOISE:
            mu, relabelled = (
                self.evidence.array(f"{step}.mu", (BATCH, self.latent_dim)) for step in ("eval", "relabelled")
            )
            if differ(mu, relabelled):
                raise WrongError(
                    "decode should draw the digit that it is asked for; it gives the same picture for every label. "
                    "Likely cause: the labels are used only by the encoder; give them to decode's layers as well."
                )
            raise WrongError(
                "decode should draw the digit that it is asked for; it gives the same picture for every label. Likely "
                "cause: decode ignores the labels; put nn.functional.one_hot(labels, 10) beside z."
            )
        if differ(apart.reshape(30, 28, 28), mixed.reshape(30, 28, 28)):
            raise WrongError(
                "decode should use labels[i] for z[i]; a batch of mixed labels gives other pictures than one of a "
                "digit. Likely cause: it takes one label for the whole batch, as labels[0]."
            )
        labels = self.inputs["labels"]
        if not np.array_equal(self.array_or("eval.labels_after", labels), labels):
            raise WrongError("labels should be the same after forward, they were changed in place: copy them first.")

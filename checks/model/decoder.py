"""Section 2.2.3: the picture for each code is in [0, 1], and independent of the rest of the batch."""

import re

import numpy as np
import torch

from checks.evidence import WrongError, differ, sigmoid, spread
from checks.inputs import BATCH
from checks.model.encoder import EXTREMES
from checks.model.evidence import NOISE, batch_message

LARGE_CODE = 1000  # far outside N(0, I), and well inside float16


@torch.no_grad()
def probe_decoder(probe):
    """Decode codes that the evaluator knows: a batch, a part of it, one, large ones, and one moved along each axis."""
    z = probe.codes()
    probe.decode("decoded", z, probe.labels())
    probe.out.put(z_after=z)
    probe.decode("decoded_again", probe.codes(), probe.labels())
    for step in ("seeded", "seeded_again"):  # the same random numbers, but after other codes
        torch.manual_seed(int(probe.inputs["seed"]))
        probe.decode(step, probe.codes(), probe.labels())
        probe.decode("others", probe.codes().flip(0), probe.labels())
    rows = probe.inputs["rows"]
    probe.decode("decoded_part", probe.codes(rows), probe.labels(rows))
    probe.decode("decoded_single", probe.codes(range(1)), probe.labels(range(1)))
    probe.decode("decoded_large", probe.codes(rows) * LARGE_CODE, probe.labels(rows))
    labels = probe.labels()
    row = 0 if labels is None else int(labels.nonzero()[0])  # not a digit 0, with which a code may be multiplied
    moved = probe.codes([0] * (2 * probe.latent_dim + 1))
    steps = LARGE_CODE * torch.eye(probe.latent_dim)
    moved[1:] += torch.cat([steps, -steps])
    probe.decode("decoded_moved", moved, probe.labels([row] * len(moved)))
    if not probe.out.has("decoded") and probe.labels() is not None:
        probe.decode("decoded_number", probe.codes(range(1)), 3)


def check_decoder(evidence):
    """Check decode alone, on known codes."""
    evidence.refuse_layers("decode")
    if not evidence.has("decoded"):
        explain_failure(evidence)
    recon = read_pictures(evidence, "decoded", BATCH)
    if not np.array_equal(evidence.array_or("z_after", evidence.codes), evidence.codes):
        raise WrongError(
            "z should be the same after decode, but was changed in place: write z = z + ..., not z += ... ."
        )
    large = read_pictures(
        evidence, "decoded_large", len(evidence.rows), f" of codes of size {LARGE_CODE} (large inputs)"
    )
    moved = read_pictures(evidence, "decoded_moved", 2 * evidence.latent_dim + 1)
    if differ(recon, read_pictures(evidence, "decoded_again", BATCH)):
        cause = evidence.cause_of_randomness("decoded", "noise added to the picture")
        raise WrongError(
            "in eval mode decode should give the same picture for the same z, but it does not: random output. "
            f"Likely cause: {cause}."
        )
    check_range(recon, large)
    if spread(recon) <= NOISE and spread(large) <= NOISE:
        raise WrongError(
            "decode should depend on z: different codes should give different pictures, but all give the same one."
            " Likely cause: decode ignores z."
        )
    effect = np.abs(moved[1:] - moved[:1]).max(axis=(1, 2)).reshape(2, -1).max(axis=0)
    unused = np.flatnonzero(effect <= NOISE)
    if len(unused):
        raise WrongError(
            f"decode should use all {evidence.latent_dim} numbers of z, but it ignores {len(unused)} of them (index "
            f"{', '.join(map(str, unused[:5]))}). Likely cause: z is sliced, or replaced in part."
        )


def explain_failure(evidence):
    """decode failed on a batch: say so if it works on one code, or on one label."""
    if evidence.text("decoded.nothing") == "decode" or "got NoneType" in evidence.text("decoded.error"):
        raise WrongError(
            f"{evidence.name}.decode should return pictures [B, 28, 28], but returns None. Likely cause: its return is "
            "missing."
        )
    if evidence.has("eval.recon") and evidence.has("eval.z"):
        evidence.refuse_width()
    error = evidence.error("decoded")
    sizes = set(re.findall(r"\bsize (?:of tensor \w \()?(\d+)", error))
    if evidence.has("eval.recon") and ("must return pictures" in error or sizes == {str(BATCH), str(EXTREMES)}):
        raise WrongError(
            f"decode should make its pictures from its arguments; called alone, it does not ({error}). Likely cause: "
            "forward keeps a code, a picture or the labels on self, and decode uses that in place of its arguments."
        )
    takes_one = evidence.has("decoded_single") or evidence.has("decoded_number")
    if evidence.has_labels and takes_one and not re.search("one_hot|Class|size", error):
        raise WrongError(
            f"decode should take labels [B], one for each code; it takes one label but not a batch ({error}). "
            "Likely cause: int(labels), labels.item() or `if label`."
        )


def check_batches(evidence):
    """Check that a code's picture is the same in the whole batch, in a part of it, and alone."""
    if evidence.remembered:
        return  # a different fault, which check_forward reports
    recon = read_pictures(evidence, "decoded", BATCH)
    for step, rows in (("decoded_part", evidence.rows), ("decoded_single", [0])):
        if differ(recon[rows], evidence.array(step, (len(rows), 28, 28), finite=False)):
            raise WrongError(batch_message("the picture of a code"))


def read_pictures(evidence, name, count, of=""):
    """Return decoded pictures [count, 28, 28] after checking that they are finite and in [0, 1]."""
    recon = evidence.array(name, (count, 28, 28), finite=False)
    if not np.isfinite(recon).all():
        raise WrongError(
            f"decode{of} should be finite, got NaN or infinity. Likely cause: a sigmoid or softmax written with "
            "exp overflows: use torch.sigmoid."
        )
    low, high = recon.min(), recon.max()
    if low < -1e-3 or high > 1 + 1e-3:
        raise WrongError(
            f"decode{of} should return pictures [B, 28, 28] in [0, 1], got values from {low:.3g} to {high:.3g}. "
            f"Likely cause: {cause_of_range(evidence, low, high)}."
        )
    return recon


def cause_of_range(evidence, low, high):
    """Return why pictures with values from low to high are not in [0, 1]."""
    large = evidence.array("decoded_large", (len(evidence.rows), 28, 28), finite=False)
    if np.abs(large).max() <= 1 + 1e-6 and large.min() < -0.5:
        return "pictures in another range: tanh gives [-1, 1]; end the decoder with a sigmoid"
    if low >= 0 and large.max() <= 255.1 and large.max() > 200:
        return "pictures in another range, 0..255: leave the factor out; a sigmoid alone gives [0, 1]"
    if evidence.has("reloaded_from.recon") and evidence.has("reloaded_decode"):
        recon = evidence.array("reloaded_from.recon", (20, 28, 28), finite=False)
        alone = evidence.array("reloaded_decode", (20, 28, 28), finite=False)
        if not differ(recon, sigmoid(alone)):
            return "the missing sigmoid is in forward: it belongs in decode, which is also called alone"
    if low >= 0 and large.min() >= 0:
        return "missing sigmoid: the decoder ends in a ReLU or softplus, which has no upper bound"
    return "missing sigmoid: the decoder's last layer has no activation that keeps it in [0, 1]"


def check_range(*batches):
    """Check that pixels can become black and white: no softmax, no sigmoid of something that is never negative."""
    for axes, what in (((1, 2), "picture"), (1, "column"), (2, "row")):
        sums = np.concatenate([batch.sum(axis=axes).ravel() for batch in batches])
        if np.abs(sums - 1).max() < 1e-3:
            raise WrongError(
                f"each pixel should lie in [0, 1] on its own; the pixels of each {what} sum to 1. Likely cause: "
                "softmax in place of sigmoid."
            )
    highest = max(batch.max() for batch in batches)
    if highest < 0.02:
        raise WrongError(
            f"pixels should be able to become white (1), but decode returns nothing above {highest:.3g} for any z. "
            "Likely cause: the picture is divided by 255; a sigmoid alone gives [0, 1]."
        )
    lowest = min(batch.min() for batch in batches)
    if lowest >= 0.5 - 1e-6 and all(batch.max() > 0.5 + 1e-6 for batch in batches):
        raise WrongError(
            f"pixels should be able to become black (0), but decode returns nothing below {lowest:.3g} for any z. "
            "Likely cause: sigmoid applied twice, or to the output of a ReLU."
        )

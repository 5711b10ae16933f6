"""Section 3: decode draws the requested digit."""

import numpy as np
import torch

from checks.evidence import WrongError, differ, spread
from checks.inputs import BATCH
from checks.model.evidence import NOISE, batch_message


@torch.no_grad()
def probe_labels(probe):
    """Decode three codes as each digit, in one mixed batch and in one batch per digit; all codes, and a part of them,
    as one digit; and run forward on the pictures with other labels."""
    if probe.labels() is None:
        return
    probe.forward("relabelled", probe.pictures(), (probe.labels() + 1) % 10)
    for digit in range(10):
        probe.decode(f"digit{digit}", probe.codes(range(3)), torch.full((3,), digit))
    rows = probe.inputs["rows"]
    probe.decode("one_digit", probe.codes(), torch.full((BATCH,), 3))
    probe.decode("one_digit_part", probe.codes(rows), torch.full((len(rows),), 3))
    codes = probe.codes(range(3)).repeat(10, 1)
    probe.decode("digits_mixed", codes, torch.arange(10).repeat_interleave(3))


def check_labels(evidence):
    """decode uses the label of each code, and the code for each label."""
    if not evidence.has_labels:
        return
    mixed = evidence.array("digits_mixed", (30, 28, 28)).reshape(10, 3, 28, 28)
    failed = [digit for digit in range(10) if not evidence.has(f"digit{digit}")]
    if failed and evidence.has("decoded"):
        raise WrongError(
            f"decode should work on a batch of a single digit, but for digit {failed[0]} it fails "
            f"({evidence.error(f'digit{failed[0]}')}). Likely cause: one_hot(labels) without num_classes=10 is only as "
            "wide as the largest label of the batch requires: one_hot(labels, 10)."
        )
    apart = np.stack([evidence.array(f"digit{digit}", (3, 28, 28)) for digit in range(10)])
    if spread(apart) <= NOISE:
        refuse_ignored_labels(evidence)
    one_digit = evidence.array("one_digit", (BATCH, 28, 28), finite=False)
    if differ(one_digit[evidence.rows], evidence.array("one_digit_part", (len(evidence.rows), 28, 28), finite=False)):
        raise WrongError(batch_message("the picture of a code"))
    if differ(apart.reshape(30, 28, 28), mixed.reshape(30, 28, 28)):
        raise WrongError(
            "decode should use labels[i] for z[i], but a batch of mixed labels gives different pictures from a batch "
            "of one digit. Likely cause: it takes one label for the whole batch, such as labels[0]."
        )
    ignoring = [digit for digit in range(10) if spread(apart[digit]) <= NOISE]
    if ignoring and len(ignoring) < 10:
        raise WrongError(
            f"decode should depend on z for every label; for digit {ignoring[0]} all codes give the same picture. "
            "Likely cause: z is multiplied by the label, which is 0 for this digit; join one_hot(labels, 10) to z."
        )


def refuse_ignored_labels(evidence):
    """Raise WrongError with the reason why every label gives the same picture."""
    mu, relabelled = (evidence.encoded(step, "mu", BATCH) for step in ("eval", "relabelled"))
    if differ(mu, relabelled):
        cause = "the labels are used only by the encoder; give them to decode's layers as well"
    else:
        cause = "decode ignores the labels; put nn.functional.one_hot(labels, 10) beside z"
    raise WrongError(
        f"decode should draw the requested digit, but it gives the same picture for every label. Likely cause: {cause}."
    )

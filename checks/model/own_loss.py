"""Sections 2.2.4 and 3: the model's own loss, if it has one."""

import torch

from checks.evidence import WrongError
from lab.losses import has_own_loss, run_own_loss


@torch.no_grad()
def probe_own_loss(probe):
    """Compute the model's own loss in eval mode, as in validation, for a batch and for the same batch repeated."""
    if not has_own_loss(probe.model):
        return
    probe.out.put(own_loss_defined=1)
    for name, rows in (("once", [*range(24)]), ("twice", [*range(24)] * 2)):
        torch.manual_seed(int(probe.inputs["seed"]))
        terms = run_own_loss(probe.model, probe.module, probe.pictures(rows), probe.labels(rows), 0.5)
        probe.out.put(**{f"own_loss_{name}": terms["loss"]})
        probe.out.put(**{f"own_names_{name}": ", ".join(terms)})


def check_own_loss(evidence):
    """Check that it takes x, labels, var and returns a mean over the batch, or a dict with it."""
    if not evidence.has_own_loss:
        return
    evidence.raise_for("own_loss")
    once, twice = (float(evidence.array(f"own_loss_{name}", ())) for name in ("once", "twice"))
    if abs(once) > 1e-3 and 1.9 < twice / once < 2.1:
        raise WrongError(
            f"{evidence.name}.loss should be a mean over the batch, but repeating the batch doubles it. Likely cause: "
            "a sum over the batch without / len(x)."
        )
    if evidence.text("own_names_once") != evidence.text("own_names_twice"):
        raise WrongError(
            f"{evidence.name}.loss should return the same names for every batch, but it returned "
            f"{evidence.text('own_names_once')}, then {evidence.text('own_names_twice')}."
        )

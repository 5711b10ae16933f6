"""Section 2.2.4: which parameters receive a gradient, and from which outputs."""

import numpy as np
import torch
from torch import nn

from checks.evidence import WrongError, spread
from checks.inputs import BATCH
from checks.model.evidence import NOISE
from checks.model.watch import Calls, watch
from lab.contract import SubmissionError
from lab.losses import run_own_loss

ROWS = range(32)
WEIGHTED = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.RNNBase)  # layers that nobody freezes on purpose


def probe_gradients(probe):
    """Record the norm of the gradient that each row of each parameter receives from a random weighting of mu, log_var,
    z and recon, and from the model's own loss. A row belongs to one output of its layer, so two heads in one layer are
    kept apart."""
    calls = Calls()
    with watch(probe.model, probe.module, calls):
        recon, mu, log_var = probe.run_forward(ROWS)
    outputs = {"mu": mu, "log_var": log_var, "recon": recon, "z": calls.codes[0] if len(calls.codes) == 1 else None}
    parameters = list(probe.model.parameters())
    total = torch.zeros(len(parameters))
    for name, output in outputs.items():
        total += record_gradient(probe, name, output, parameters)
    if probe.out.has("own_loss_once"):
        terms = run_own_loss(probe.model, probe.module, probe.pictures(ROWS), probe.labels(ROWS), 0.5)
        total += record_gradient(probe, "own_loss", terms["loss"], parameters)
    without = {id(parameter) for parameter, norm in zip(parameters, total, strict=True) if norm == 0}
    probe_untrained(probe, {name: value for name, value in probe.model.named_parameters() if id(value) in without})


def record_gradient(probe, name, output, parameters):
    """Record a randomly weighted output's gradient for each row of each parameter; return its norm per parameter."""
    grads = [None] * len(parameters)
    trained = [index for index, parameter in enumerate(parameters) if parameter.requires_grad]
    if isinstance(output, torch.Tensor) and output.requires_grad and trained:
        target = (output * torch.randn(output.shape)).sum()
        found = torch.autograd.grad(target, [parameters[n] for n in trained], retain_graph=True, allow_unused=True)
        for index, grad in zip(trained, found, strict=True):
            grads[index] = grad
    norms = [
        (torch.zeros(p.shape) if grad is None else grad).reshape(len(p) if p.ndim else 1, -1).norm(dim=1)
        for grad, p in zip(grads, parameters, strict=True)
    ]
    probe.out.put(**{f"gradient_{name}": torch.cat(norms)})
    return torch.stack([norm.sum() for norm in norms]).detach()


@torch.no_grad()
def probe_untrained(probe, parameters):
    """Record the names of parameters without a gradient that forward uses anyway: changing them changes its result.

    frozen: those of Linear layers and their like with requires_grad = False; cut: those with requires_grad.
    """
    owners = {f"{path}.{name}".strip("."): m for path, m in probe.model.named_modules() for name in m._parameters}
    probe.model.eval()

    def outputs():
        torch.manual_seed(0)
        return torch.cat([value.flatten() for value in probe.run_forward(range(8))])

    used = {"frozen": [], "cut": []}
    for name, parameter in parameters.items():
        if not parameter.requires_grad and not isinstance(owners.get(name), WEIGHTED):
            continue  # for instance a table of positions, which may be constant
        kept, before = parameter.clone(), outputs()
        parameter += 0.1 + torch.rand_like(parameter) * (1 + parameter.abs().max())
        try:
            if (outputs() - before).abs().max() > NOISE:
                used["cut" if parameter.requires_grad else "frozen"].append(name)
        except SubmissionError:
            pass  # nothing can be concluded from a model that cannot run with other weights
        parameter.copy_(kept)
    probe.model.train()
    for kind, names in used.items():
        probe.out.put(**{f"{kind}": ", ".join(names[:6])})


def check_gradients(evidence):
    """Check that the picture's gradient reaches the layers of mu and log_var, and every other layer that is used."""
    evidence.raise_for("gradients")
    names = ("mu", "log_var", "z", "recon")
    count = np.size(evidence.arrays.get(f"{evidence.prefix}.gradient_mu", 0))
    norms = {name: evidence.array(f"gradient_{name}", (count,), "gradients", finite=False) for name in names}
    for name, norm in norms.items():
        if not np.isfinite(norm).all():
            raise WrongError(
                f"the gradient of {name} should be finite, but is NaN or infinite. Likely cause: log or sqrt of 0."
            )
    mu, log_var, z, recon = (norms[name] > 0 for name in names)
    if evidence.text("frozen"):
        raise WrongError(
            f"every layer should be trained; {evidence.text('frozen')} have requires_grad = False and stay as they "
            "were drawn at random. Likely cause: requires_grad = False, or requires_grad_(False), in __init__."
        )
    if not recon.any():
        raise WrongError(
            "the picture should pass a gradient to decode's layers, but passes none. Likely cause: .detach(), .data, "
            ".round(), a comparison, numpy or torch.no_grad() in decode or forward."
        )
    if not mu.any():
        raise WrongError(
            "mu should pass a gradient to the encoder, but passes none. Likely cause: .detach(), .data, numpy or "
            "torch.no_grad() in encode."
        )
    check_log_var(evidence, log_var)
    only_mu, only_log_var = mu & ~log_var, log_var & ~mu
    cut = "Likely cause: sampling that stops the gradient, by torch.normal, .sample(), .detach() or .data; write mu + "
    cut += "sigma * eps."
    if not (z & mu).any():
        raise WrongError(f"z should pass a gradient to mu's layers, but passes none. {cut}")
    if not (recon & mu).any():
        raise WrongError(
            "the picture should pass a gradient through z to the encoder, but passes none. Likely cause: z.detach() "
            "or z.data on the way into decode, or z is not what decode uses."
        )
    if only_mu.any() and not (z & only_mu).any():
        raise WrongError(f"z should pass a gradient to mu, but it passes one only to log_var. {cut}")
    if only_log_var.any() and not (z & only_log_var).any():
        raise WrongError(f"z should pass a gradient to log_var, but it passes one only to mu. {cut}")
    if evidence.text("cut"):
        raise WrongError(
            f"every layer that forward uses should get a gradient; {evidence.text('cut')} get none and stay as they "
            "were drawn at random. Likely cause: .detach(), .data or torch.no_grad() behind these layers."
        )
    check_own_gradient(evidence, encoder=mu, decoder=recon & ~z, count=count)


def check_log_var(evidence, gradient):
    """Check that log_var comes from trained layers; with the model's own loss it may be constant."""
    if gradient.any() or evidence.has_own_loss:
        return
    log_var = evidence.encoded("eval", "log_var", BATCH)
    if spread(log_var) > NOISE:
        raise WrongError(
            "log_var should pass a gradient to the encoder, but passes none. Likely cause: .detach(), .data, numpy or "
            "torch.no_grad() in encode."
        )
    raise WrongError(
        "log_var should come from a separate layer, but it is the same for every picture and nothing in it is trained. "
        "Likely cause: a constant such as torch.zeros_like(mu) in place of self.log_var(h)."
    )


def check_own_gradient(evidence, encoder, decoder, count):
    """Check that the model's own loss trains the encoder and the decoder."""
    if not evidence.has("gradient_own_loss"):
        return
    own = evidence.array("gradient_own_loss", (count,), finite=False) > 0
    for part, rows in (("the encoder", encoder), ("the decoder", decoder)):
        if rows.any() and not (own & rows).any():
            raise WrongError(
                f"{evidence.name}.loss should pass a gradient to {part}, but passes none. Likely cause: .detach(), "
                ".data, .item() or torch.no_grad() in loss, or it leaves out what this part returns."
            )

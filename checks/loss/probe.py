"""Section 2.3, the probe: vae_loss for each loss case, called in several ways."""

import numpy as np
import torch

from checks.inputs import LOSS_CASES
from lab.contract import SubmissionError, describe, get_function

WAYS = 9  # columns of loss.values, in the order of `ways`


def probe_loss(module, inputs, out):
    """Record loss.values [case, way], the gradients of one case, and the loss for extreme values."""

    def loss(recon, x, mu, log_var, var):
        value = get_function(module, "vae_loss")(recon, x, mu, log_var, var=var)
        if not isinstance(value, torch.Tensor):
            out.put(returned=describe(value))
            raise SubmissionError(f"vae_loss must return a scalar tensor, got {describe(value)}.", "bad_shape")
        out.put(shape=np.array(value.shape, np.int64))
        return value.double().sum()

    def case(k):
        tensors = [torch.tensor(inputs[f"loss.{k}.{name}"]) for name in ("x", "recon", "other", "mu", "log_var")]
        return [*tensors, float(inputs[f"loss.{k}.var"])]

    sizes = [len(inputs[f"loss.{k}.x"]) for k in range(LOSS_CASES)]
    with out.step("values", module, "vae_loss", batch=sizes[0]):
        out.put(values=np.array([[float(loss(*clones(way))) for way in ways(*case(k))] for k in range(LOSS_CASES)]))
    with out.step("gradient", module, "the gradient of vae_loss", batch=sizes[0]):
        x, recon, _, mu, log_var, var = case(0)
        leaves = [tensor.requires_grad_() for tensor in (recon, mu, log_var)]
        value = loss(*clones((recon, x, mu, log_var, var)))
        if value.requires_grad:
            grads = torch.autograd.grad(value, leaves, allow_unused=True)
            grads = [leaf * 0 if grad is None else grad for leaf, grad in zip(leaves, grads, strict=True)]
            out.put(gradient_recon=grads[0], gradient_mu=grads[1], gradient_log_var=grads[2])
    with out.step("extreme", module, "vae_loss", batch=2):
        corners = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(2, 196).reshape(2, 28, 28)
        pictures = torch.tensor([0.0, 1.0]).repeat(2, 392).reshape(2, 28, 28)
        large = torch.tensor([[30.0, -30.0], [-30.0, 0.0]])
        out.put(extreme=float(loss(corners, pictures, large, large, 0.5)))
    with out.step("in_place", module, "vae_loss", batch=sizes[1]):
        x, recon, _, mu, log_var, var = case(1)
        loss(recon, x, mu, log_var, var)
        out.put(after_recon=recon, after_x=x, after_mu=mu, after_log_var=log_var)


def ways(x, recon, other, mu, log_var, var):
    """Return the arguments of the nine calls for one case; mu is 0 and log_var 1 if only the reconstruction matters."""
    zero, one = torch.zeros_like(mu), torch.ones_like(log_var)
    wider = zero.repeat(1, 3), one.repeat(1, 3)
    twice = [torch.cat([value, value]) for value in (recon, x, mu, log_var)]
    return [
        (recon, x, mu, log_var, var),
        (recon, x, zero, one, var),
        (x, x, zero, one, var),
        (other, x, zero, one, var),
        ((x + recon) / 2, x, zero, one, var),
        (recon, x, zero, one, 3 * var),
        (x, x, zero, one, 3 * var),
        (x, x, *wider, var),
        (*twice, var),
    ]


def clones(arguments):
    return [argument.clone() if isinstance(argument, torch.Tensor) else argument for argument in arguments]

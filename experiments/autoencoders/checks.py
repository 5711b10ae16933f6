"""The checks of the autoencoders lab: here the losses and the training step, in models.py sections 1.1 to 1.7. Models
are built from stubs, and losses get stub models, so that a mistake in one section costs nothing in another."""

from functools import partial
from unittest.mock import patch

import numpy as np
import torch

from checks import tools
from checks.evidence import sigmoid
from checks.lab import Lab
from checks.tools import bce, compare_losses, kl, kl_mistakes, means, require, scale_mistakes, tensors
from experiments.autoencoders import models
from experiments.autoencoders.models import BATCH, LATENT, X_DIM
from lab.contract import get_function
from lab.tasks import Section

CODES = ("mu", "sigma", "mu_q", "sigma_q")
WEIGHTS = (1.7, 0.6)  # rec_weight and kl_weight that the checks give


def make_inputs(seed):
    """Return fresh inputs: x, recon float32 [150, 37] in (0, 1); labels int64 [150]; mu, sigma, mu_q, sigma_q, z
    float32 [150, 40]; sizes: how many rows of these each of four cases of a loss has."""
    rng = np.random.default_rng(seed)
    shape, code = (BATCH, X_DIM), (BATCH, LATENT)
    inputs = {name: rng.uniform(0.05, 0.95, shape) for name in ("x", "recon")}
    inputs |= {name: rng.normal(0.4, 1.5, code) for name in ("mu", "mu_q", "z")}
    inputs |= {name: np.exp(rng.uniform(-1.2, 1.2, code)) for name in ("sigma", "sigma_q")}
    inputs = {name: np.float32(value) for name, value in inputs.items()}
    sizes, labels = rng.permutation([3, 5, 8, 11]), rng.permutation(np.arange(BATCH) % 10)
    return inputs | {"labels": labels, "sizes": sizes, "seed": np.int64(seed % 2**31)}


def probe_reconstruction(module, inputs, out):
    loss, read = get_function(module, "reconstruction_loss"), partial(tools.as_number, what="reconstruction_loss")
    tools.record_losses(inputs, out, loss, read, ("recon", "x"), ("recon",))


def check_reconstruction(inputs, evidence):
    x, recon, sizes = np.float64(inputs["x"]), np.float64(inputs["recon"]), inputs["sizes"]
    squares = (x - recon) ** 2
    right = [means(term, sizes) for term in (squares, squares / 2, np.abs(x - recon), bce(x, recon))]
    mistakes = [mistake for value in right for mistake in scale_mistakes(value, sizes, X_DIM, "pixels")]
    mistakes += [(means(bce(recon, x), sizes), "recon and xs are exchanged")]
    mistakes += [(means(bce(x, sigmoid(recon)), sizes), "with_logits on pixels that have been through a sigmoid")]
    mistakes += [(sign * means(x - recon, sizes), "differences cancel: square them") for sign in (1, -1)]
    got = evidence.array("values", (4,), "run")
    expected = next((value for value in right if np.allclose(got, value, rtol=1e-3)), right[0])
    how = "the squared error, summed over the pixels, mean over the batch"
    compare_losses("reconstruction_loss", got, expected, how, mistakes)
    tools.check_gradients("reconstruction_loss", evidence, ".detach(), .item() or numpy", recon=(BATCH, X_DIM))


def probe_kl(module, inputs, out):
    def kl_div(mu, sigma, mu_q, sigma_q):
        return get_function(module, "kl_div")((mu, sigma), (mu_q, sigma_q))

    tools.record_losses(inputs, out, kl_div, partial(tools.as_number, what="kl_div"), CODES, ("mu", "sigma"))


def check_kl(inputs, evidence):
    both = mu, sigma, mu_q, sigma_q = [np.float64(inputs[name]) for name in CODES]
    right, sizes = means(kl(*both), inputs["sizes"]), inputs["sizes"]
    formulas = [
        *kl_mistakes(*both),
        (kl(mu, sigma**0.5, mu_q, sigma_q**0.5), "sigma is used as a variance, it is a standard deviation"),
        (kl(mu, np.exp(sigma / 2), mu_q, np.exp(sigma_q / 2)), "sigma is used as a log variance"),
        (kl(*both) + (sigma - sigma**2) / (2 * sigma_q**2), "sigma_p has no square"),
        (kl(mu, sigma, 0, 1), "q is ignored, N(0, I) stands in its place"),
    ]
    mistakes = [(means(formula, sizes), cause) for formula, cause in formulas]
    mistakes += scale_mistakes(right, sizes, LATENT, "dimensions")
    got, how = evidence.array("values", (4,), "run"), "summed over the dimensions, mean over the batch"
    compare_losses("kl_div", got, right, how, mistakes)
    tools.check_gradients("kl_div", evidence, ".detach(), .item() or numpy", mu=(BATCH, LATENT), sigma=(BATCH, LATENT))


def reduced(function):
    """Return the function with the mean of what it returns, so that one missing in 2.1 or 2.2 costs nothing in 2.3."""
    return lambda *arguments: torch.as_tensor(function(*arguments)).mean()


def loss_of(name, variational=True, labelled=False):
    """Return the probe and the evaluator of a model's loss, which is given a stub model."""

    def probe(module, inputs, out):
        rows = int(inputs["sizes"][0])
        x, recon, mu, sigma, ys = tensors(inputs, "x", "recon", "mu", "sigma", "labels", rows=rows)
        model = tools.Stub(lambda *_, **__: (recon, mu, sigma) if variational else recon)
        names = ["loss", "recon_loss", "kl"][: 2 + variational]
        parts = ["reconstruction_loss", "kl_div"][: 1 + variational]
        terms = {part: reduced(get_function(module, part)) for part in parts}
        with patch.multiple(module, **terms):
            losses = get_function(module, name)(model, x, ys, rec_weight=WEIGHTS[0], kl_weight=WEIGHTS[1])
        given = [value for call in model.calls[-1:] for value in call]
        right = len(given) == 1 + labelled and all(map(torch.equal, given, [x, ys]))
        out.put(values=tools.take_losses(losses, names, name), given=int(right))
        own = [terms["reconstruction_loss"](recon, x)]
        own += [terms["kl_div"]((mu, sigma), (0 * mu, 0 * sigma + 1))] if variational else [torch.zeros(())]
        out.put(own=np.array([float(value) for value in own]))

    def check(inputs, evidence):
        call = f"model(xs{', ys' * labelled})"
        require(evidence.number("given"), f"{name} should call {call}, it calls the model with something else or not")
        got, (rec, kl_) = evidence.array("values", (2 + variational,), "run"), evidence.array("own", (2,), "run")
        mu, sigma = (np.float64(inputs[key]) for key in ("mu", "sigma"))
        turned, wide = (means(kl(*given), inputs["sizes"])[0] for given in ((0, 1, mu, sigma), (mu, sigma, 0, np.e)))
        a, b = WEIGHTS
        mistakes = [
            *tools.weight_mistakes(rec, kl_, a, b),
            (a * rec + b * turned, "KL the other way round: it is KL(q(z|x) || N(0, I))"),
            (a * rec + b * wide, "the sigma of N(0, I) is 1, not exp(1)"),
        ]
        how = "rec_weight * recon_loss + kl_weight * kl"
        compare_losses(f'{name}: "loss"', got[:1], [a * rec + b * kl_], how, mistakes)
        weighted = [(np.array([a * rec, b * kl_])[: len(got) - 1], "they are returned with their weights")]
        right = [rec, kl_][: len(got) - 1]
        compare_losses(f"{name}: the terms beside loss", got[1:], right, "without their weights", weighted)

    return probe, check


def probe_step(module, inputs, out):
    model, batch, seen = torch.nn.Linear(1, 1, bias=False), tuple(tensors(inputs, "x", "labels")), []
    optimizer, gradients = torch.optim.SGD(model.parameters(), lr=0.1), []  # the gradient at each step
    optimizer.register_step_pre_hook(lambda *_: gradients.append(float(model.weight.grad or 0)))  # None without one
    model.weight.grad = torch.full_like(model.weight, 5.0)  # as an earlier step leaves it

    def loss_function(*given):
        seen.append(len(given) == 2 and given[0] is model and given[1] is batch)
        return {"loss": 3.0 * model.weight.sum(), "recon_loss": 2.0 * model.weight.sum()}

    losses = get_function(module, "train_step")(model, optimizer, loss_function, batch)
    out.put(steps=len(gradients), gradient=float([0.0, *gradients][-1]), given=int(seen == [True]))
    out.put(returned=int(isinstance(losses, dict) and "loss" in losses))


def check_step(inputs, evidence):
    gradient, steps = float(evidence.array("gradient", (), "run")), evidence.number("steps")
    causes = {
        0.0: "backward is missing or comes after step, or zero_grad stands between backward and step",
        2.0: 'backward of "recon_loss" in place of "loss"',
        5.0: "backward is missing",
        8.0: "zero_grad is missing, so gradients of earlier steps are added",
        6.0: "backward is called twice",
    }
    require(evidence.number("given"), "train_step should call loss_function(model, batch) once, it does not")
    require(steps == 1, f"train_step should step once, it calls optimizer.step {steps} times")
    text = f"train_step should step with the gradient of this batch's loss, 3 here, it steps with {gradient:.3g}"
    require(abs(gradient - 3) < 1e-5, text, causes.get(gradient, ""))
    require(evidence.number("returned"), "train_step should return the dict that loss_function returned, it does not")


PARTS = (
    (Section("1.1", "Encoder.forward", 5, "encoder"), (models.probe_encoder, models.check_encoder)),
    (Section("1.2", "decoder of the VAE", 5, "vae_layers"), models.layers_of("VAE")),
    (Section("1.3", "decoder of the CVAE", 5, "cvae_layers"), models.layers_of("CVAE")),
    (Section("1.4", "Decoder.forward", 10, "decoder"), (models.probe_decoder, models.check_decoder)),
    (Section("1.5", "AE forward", 5, "ae"), models.model_of("AutoEncoder", variational=False)),
    (Section("1.6", "VAE forward", 10, "vae"), models.model_of("VariationalAutoEncoder")),
    (Section("1.7", "CVAE forward", 15, "cvae"), models.model_of("ConditionalVariationalAutoEncoder", labelled=True)),
    (Section("2.1", "reconstruction_loss", 5, "rec"), (probe_reconstruction, check_reconstruction)),
    (Section("2.2", "kl_div", 5, "kl"), (probe_kl, check_kl)),
    (Section("2.3", "ae_loss", 5, "ae_loss"), loss_of("ae_loss", variational=False)),
    (Section("2.4", "vae_loss", 10, "vae_loss"), loss_of("vae_loss")),
    (Section("2.5", "cvae_loss", 10, "cvae_loss"), loss_of("cvae_loss", labelled=True)),
    (Section("2.6", "train_step", 10, "step"), (probe_step, check_step)),
)
LAB = Lab("autoencoders", make_inputs, {section.number: (section, functions) for section, functions in PARTS})

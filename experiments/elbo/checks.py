"""The checks of the Bernoulli VAE's lab; negative_elbo_bound gets a stub encoder and a stub decoder."""

from unittest.mock import patch

import numpy as np
import torch
from torch.distributions import Normal

from checks import tools
from checks.evidence import sigmoid
from checks.lab import Lab
from checks.tools import bce_with_logits, compare_losses, kl, means, require, scale_mistakes, tensors
from lab.contract import get_function
from lab.tasks import Section

BATCH, LATENT, PIXELS = 150, 40, 784
NAMES = ("nelbo", "kl", "rec")
CUT = "torch.normal, .sample(), .detach() or no_grad: write z = m + sqrt(v) * eps"


def make_inputs(seed):
    """Return fresh inputs: x float32 [150, 784] of 0 and 1; logits [150, 784]; m, v [150, 40]; sizes: how many rows of
    these each of three cases has."""
    rng = np.random.default_rng(seed)
    inputs = {"x": rng.integers(0, 2, (BATCH, PIXELS)), "logits": rng.normal(0, 1.5, (BATCH, PIXELS))}
    inputs |= {"m": rng.normal(0.4, 1.2, (BATCH, LATENT)), "v": np.exp(rng.uniform(-2.5, 1.5, (BATCH, LATENT)))}
    inputs = {name: np.float32(value) for name, value in inputs.items()}
    return inputs | {"sizes": rng.permutation([3, 5, 11]), "seed": np.int64(seed % 2**31)}


def probe_sample(module, inputs, out):
    m, v = (tensor.requires_grad_() for tensor in tensors(inputs, "m", "v"))
    z, again = (tools.unpack(get_function(module, "sample_gaussian")(m, v), 1, "sample_gaussian")[0] for _ in range(2))
    out.put(z=z, again=again)
    tools.record_gradients(out, z.sum(), m=m, v=v)


def check_sample(inputs, evidence):
    shape = (BATCH, LATENT)
    z, again = (evidence.array(name, shape, "run") for name in ("z", "again"))
    tools.check_draws("sample_gaussian", z, inputs["m"], np.float64(inputs["v"]), "v", "a variance")
    text = "sample_gaussian should draw anew in each call, it draws the same noise"
    require(np.abs(z - again).max() > 1e-3, text, "torch.manual_seed in it")
    tools.check_gradients("sample_gaussian", evidence, CUT, m=shape, v=shape)


def probe_bound(module, inputs, out):
    """Section 1 has a stand-in too, so that a mistake there costs nothing here."""
    values, logits_of = [], []
    for rows in inputs["sizes"]:
        x, m, v, base = tensors(inputs, "x", "m", "v", "logits", rows=rows)
        m.requires_grad_(), v.requires_grad_()
        model = get_function(module, "VAE")()
        decode = tools.Stub(lambda z, base=base: base + z[..., :1])
        vars(model).update(encode=tools.Stub(lambda _, m=m, v=v: (m * 1, v * 1)), decode=decode)
        with patch.object(module, "sample_gaussian", lambda m, v: Normal(m, v.sqrt()).rsample(), create=True):
            bound = tools.unpack(model.negative_elbo_bound(x), 3, "negative_elbo_bound")
        named = zip(NAMES, bound, strict=True)
        values.append([tools.as_number(value, f"negative_elbo_bound: {name}") for name, value in named])
        require(decode.calls, "negative_elbo_bound should call self.decode with z, it does not")
        z = decode.calls[-1][0].detach()
        logits_of.append(base + z[..., :1])
        out.put(noise=(z[..., 0] - m[:, 0]).abs().max())
    out.put(values=np.array(values), logits=torch.cat(logits_of))
    tools.record_gradients(out, bound[0], m=m, v=v)


def check_bound(inputs, evidence):
    sizes, got = inputs["sizes"], evidence.array("values", (3, 3), "run")
    m, v = np.float64(inputs["m"]), np.float64(inputs["v"])
    text = "negative_elbo_bound should decode a sample of q(z|x), it decodes the mean"
    require(evidence.array("noise", (), "run") > 1e-6, text, "sample_gaussian is not called")
    parts = np.split(evidence.array("logits", (int(sizes.sum()), PIXELS), "run"), np.cumsum(sizes)[:-1])
    pairs = [(np.float64(inputs["x"][: len(part)]), part) for part in parts]
    rec = np.array([bce_with_logits(x, logits).sum() / len(x) for x, logits in pairs])
    twice = np.array([bce_with_logits(x, sigmoid(logits)).sum() / len(x) for x, logits in pairs])
    right = means(kl(m, np.sqrt(v), 0, 1), sizes)
    formulas = [
        (kl(m, v, 0, 1), "v is a variance, kl_normal is given its square"),
        (kl(m, v**0.25, 0, 1), "kl_normal takes variances, it is given standard deviations"),
        (kl(m, np.exp(v / 2), 0, 1), "kl_normal takes variances, it is given exp(v)"),
        (kl(0, 1, m, np.sqrt(v)), "q and p are exchanged: it is KL(q(z|x) || p(z))"),
    ]
    mistakes = [(means(formula, sizes), cause) for formula, cause in formulas]
    mistakes += [*scale_mistakes(right, sizes, LATENT, "dimensions"), (rec, "the order is nelbo, kl, rec")]
    compare_losses("negative_elbo_bound: kl", got[:, 1], right, "KL(q(z|x) || p(z)), mean over the batch", mistakes)
    mistakes = [(twice, "a sigmoid before log_bernoulli_with_logits, which takes logits")]
    mistakes += scale_mistakes(rec, sizes, PIXELS, "pixels")
    compare_losses("negative_elbo_bound: rec", got[:, 2], rec, "-log p(x|z), mean over the batch", mistakes)
    mistakes = tools.weight_mistakes(rec, right, 1.0)
    compare_losses("negative_elbo_bound: nelbo", got[:, 0], right + rec, "kl + rec", mistakes)
    rows = (int(sizes[-1]), LATENT)
    tools.check_gradients("negative_elbo_bound", evidence, CUT, m=rows, v=rows)


PARTS = (
    (Section("1", "sample_gaussian", 40, "sample"), (probe_sample, check_sample)),
    (Section("2", "negative_elbo_bound", 60, "bound"), (probe_bound, check_bound)),
)
LAB = Lab("elbo", make_inputs, {section.number: (section, functions) for section, functions in PARTS})

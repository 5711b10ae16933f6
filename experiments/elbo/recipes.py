"""Recipes for a tighter bound: other networks, another prior, other ways to train; and the importance-weighted bound.

A recipe is a model with the methods of submission.py's VAE, and how to train it; __main__.py trains all of them alike.
"""

import math
from functools import partial
from itertools import pairwise

import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import Subset
from tqdm import tqdm

from data_utils import batches, set_random_seed
from experiments.elbo import HOMEWORK
from experiments.runs import once

IWAE_PART = 500  # pictures whose importance-weighted bounds are kept at a time
DECODE_AT_ONCE = 500  # pictures in one call of the decoder: bounds the memory of the importance-weighted bound


# ---- the networks


class Residual(nn.Module):
    """x → x + layers(x), at the start the identity, because the last of the layers starts at 0; layer() makes one.

    Source: He et al. (2016), Identity mappings in deep residual networks; Goyal et al. (2017), section 5.1.
    """

    def __init__(self, layer):
        super().__init__()
        self.layers = nn.Sequential(nn.SiLU(), layer(), nn.SiLU(), layer())
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, x):
        return x + self.layers(x)


def linear_layers(latent_dim, gain=1.0):
    """Return the encoder and the decoder of the homework: [B, 784] → [B, 2 latent_dim], [B, latent_dim] → [B, 784].

    gain: factor on the starting weights. PyTorch gives them the variance 1 / (3 fan_in). A gain of sqrt(3) makes it
    1 / fan_in, with which signals keep their size from layer to layer (LeCun et al. 1998, Efficient BackProp, 4.6).
    """

    def layers(*sizes):
        linear = [nn.Linear(*pair) for pair in pairwise(sizes)]
        for layer in linear:
            layer.weight.data *= gain
        return nn.Sequential(linear[0], *(one for layer in linear[1:] for one in (nn.ELU(), layer)))

    return layers(784, 300, 300, 2 * latent_dim), layers(latent_dim, 300, 300, 784)


def convolutions(latent_dim):
    """Return an encoder and a decoder of the same shapes, with convolutions and residual blocks."""
    image_block = partial(Residual, partial(nn.Conv2d, 64, 64, 3, padding=1))
    block = partial(Residual, partial(nn.Linear, 256, 256))
    encoder = nn.Sequential(
        *(nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, 32, 4, stride=2, padding=1), nn.SiLU()),
        *(nn.Conv2d(32, 64, 4, stride=2, padding=1), image_block(), nn.SiLU(), nn.Flatten()),
        *(nn.Linear(64 * 7 * 7, 256), block(), block(), nn.SiLU(), nn.Linear(256, 2 * latent_dim)),
    )
    decoder = nn.Sequential(
        *(nn.Linear(latent_dim, 256), block(), block(), nn.SiLU(), nn.Linear(256, 64 * 7 * 7)),
        *(nn.Unflatten(1, (64, 7, 7)), image_block(), nn.SiLU()),
        *(nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1), nn.SiLU()),
        *(nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1), nn.Flatten()),
    )
    return encoder, decoder


# ---- the models


class BernoulliVAE(nn.Module):
    """networks: latent_dim → encoder, decoder
    components: if not 0, p(z) is a mixture of this many Gaussians, trained with the rest, in place of N(0, I)."""

    def __init__(self, latent_dim, networks, components=0):
        super().__init__()
        self.latent_dim, self.components = latent_dim, components
        if components:
            self.prior_weights = nn.Parameter(torch.zeros(components))  # logits
            self.prior_means = nn.Parameter(torch.randn(components, latent_dim))
            self.prior_log_vars = nn.Parameter(torch.zeros(components, latent_dim))
        self.encoder, self.decoder = networks(latent_dim)

    def encode(self, x):
        """x float32 [B, 784] of 0 and 1 → m, v: means and variances of q(z|x), float32 [B, latent_dim] each."""
        m, log_var = self.encoder(x).float().chunk(2, dim=1)
        return m, log_var.exp()

    def decode(self, z):
        """z float32 [B, latent_dim] → the pixels' logits float32 [B, 784]."""
        return self.decoder(z).float()

    def prior(self):
        """Return p(z), a torch.distributions object over vectors of latent_dim."""
        if not self.components:
            zeros = self.encoder[-1].weight.new_zeros(self.latent_dim)
            return Independent(Normal(zeros, zeros + 1), 1)
        parts = Independent(Normal(self.prior_means, (self.prior_log_vars / 2).exp()), 1)
        return MixtureSameFamily(Categorical(logits=self.prior_weights), parts)

    @torch.no_grad()
    def sample(self, count):
        """Return `count` pictures [count, 784] in [0, 1]: p(x = 1|z) with z ~ p(z)."""
        return self.decode(self.prior().sample((count,))).sigmoid()

    def negative_elbo_bound(self, x):
        """Return nelbo, kl, rec: scalars in nats, means over the batch; see submission.py.

        The KL is in closed form for N(0, I), and estimated with the same sample of z for a mixture.
        Source: Kingma and Welling (2013), equations 3 and 10, and appendix B.
        """
        m, v = self.encode(x)
        z = sample_gaussian(m, v)
        if self.components:
            kl = log_gaussian(z, m, v) - self.prior().log_prob(z)
        else:
            kl = 0.5 * (v + m.square() - 1 - v.log()).sum(dim=1)
        kl, rec = kl.mean(), bernoulli_rec(self.decode(z), x).mean()
        return kl + rec, kl, rec


class WeightAverage(nn.Module):
    """A model and an average of its weights, which takes the model's place in eval mode.

    Each training step moves it: average ← decay · average + (1 - decay) · weights. It has less of the noise that single
    batches bring into the weights. Source: Polyak and Juditsky (1992), with an exponential average in place of theirs.
    """

    def __init__(self, model, decay):
        super().__init__()
        self.model = model
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))

    def negative_elbo_bound(self, x):
        """The model's, or its average's in eval mode; in training mode, to be called once per step."""
        if not self.training:
            return self.average.module.negative_elbo_bound(x)
        self.average.update_parameters(self.model)
        return self.model.negative_elbo_bound(x)

    def sample(self, count):
        return self.average.module.sample(count)


def sample_gaussian(m, v):
    """Return z ~ N(m, diag(v)) so that gradients reach m and v. Source: Kingma and Welling (2013), section 2.4."""
    return m + v.sqrt() * torch.randn_like(m)


def log_gaussian(z, m, v):
    """Return log N(z; m, diag(v)): float32 [B, latent_dim] each → [B]."""
    return Independent(Normal(m, v.sqrt()), 1).log_prob(z)


def bernoulli_rec(logits, x):
    """Return -log p(x|z) of Bernoulli pixels in nats, summed over the pixels: logits, x [B, 784] → [B]."""
    return functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=1)


# model: latent_dim → the model; the rest says how to train it.
FAST = {"batch_size": 200, "steps": 3_750, "lr": 8e-3, "schedule": "linear"}
BEST = {"batch_size": 200, "steps": 5_000, "lr": 3e-3, "schedule": "linear", "bf16": True}
SCALED = partial(linear_layers, gain=3**0.5)
RECIPES = {
    "classic": HOMEWORK | {"model": lambda latent_dim: BernoulliVAE(latent_dim, linear_layers)},
    # A step of 200 pictures costs as much as 1.5 to 1.7 steps of 100: 3,750 of them are a third of 20,000, or less.
    "fast": FAST | {"model": lambda latent_dim: BernoulliVAE(latent_dim, SCALED)},
    # Differs from fast only in its prior.
    "mixture": FAST | {"model": lambda latent_dim: BernoulliVAE(latent_dim, SCALED, components=100)},
    "best": BEST | {"model": lambda latent_dim: WeightAverage(BernoulliVAE(latent_dim, convolutions), decay=0.998)},
}


# ---- the importance-weighted bound


def bounds_in_parts(model, dataset, ks, seed, run_dir, settings):
    """Return iwae_bounds over a dataset, computed part by part; a part that is finished is not repeated."""
    totals = {str(k): 0.0 for k in sorted(ks)}
    for start in range(0, len(dataset), IWAE_PART):
        part = Subset(dataset, range(len(dataset))[start : start + IWAE_PART])
        wanted = settings | {"k": sorted(ks), "iwae_num": len(part)}
        set_random_seed(seed + start)
        text = f"pictures {start + 1} to {start + len(part)} of {len(dataset)}"
        bounds = once(run_dir / f"iwae_{start}.json", wanted, partial(iwae_bounds, model, part, ks, text))
        totals = {k: total + bounds[k] * len(part) / len(dataset) for k, total in totals.items()}
    return totals


@torch.no_grad()
def iwae_bounds(model, dataset, ks, text="iwae"):
    """Return {k: bound}, the importance-weighted lower bounds of log p(x) in nats, means over a dataset:

        L_k = E[log((1/k) sum_i w_i)],    w_i = p(x, z_i) / q(z_i|x),    z_i ~ q(z|x),    i = 1 ... k

    All k share max(ks) samples a picture, and a smaller k averages over its groups: where each k divides the next, the
    estimates rise with k as the bounds do. Source: Burda et al. (2015), equation 8 and theorem 1.
    """
    model = model.average.module if isinstance(model, WeightAverage) else model
    most = max(ks)
    totals = dict.fromkeys(sorted(ks), 0.0)
    some = batches(dataset, max(1, DECODE_AT_ONCE // most))
    for x, _ in tqdm(some, desc=text, unit="batch", mininterval=0.5, disable=None):
        log_w = log_weights(model, x.flatten(1), most)
        for k in totals:
            groups = log_w[:, : most // k * k].unflatten(1, (-1, k))
            totals[k] += (groups.logsumexp(dim=2) - math.log(k)).mean(dim=1).sum().item()
    return {k: total / len(dataset) for k, total in totals.items()}


def log_weights(model, x, count):
    """Return log p(x, z_i) - log q(z_i|x) of `count` samples per picture, float64 [B, count], in bounded memory."""
    m, v = model.encode(x)
    prior = model.prior() if hasattr(model, "prior") else Independent(Normal(0 * m[0], 0 * m[0] + 1), 1)
    parts, at_once = [], max(1, DECODE_AT_ONCE // len(x))
    for start in range(0, count, at_once):
        samples = min(at_once, count - start)
        m_i, v_i, x_i = (tensor.repeat_interleave(samples, dim=0) for tensor in (m, v, x))
        z = sample_gaussian(m_i, v_i)
        log_prior_over_q = prior.log_prob(z) - log_gaussian(z, m_i, v_i)
        parts.append((log_prior_over_q - bernoulli_rec(model.decode(z), x_i)).double().view(len(x), samples))
    return torch.cat(parts, dim=1)

"""Your file: a Bernoulli VAE for binarised MNIST, its sampling and its loss.

    python check.py --lab elbo                                                # what is wrong, and why
    python -m experiments.elbo --submission experiments/elbo/submission.py    # 20,000 steps, NELBO, 200 digits

Pictures are flat and binary here: x float32 [B, 784] of zeros and ones. m and v are means and variances.
"""

import torch
from torch import nn
from torch.nn import functional


def gaussian_parameters(h):
    """Split a layer's output h [B, 2 d] into means and variances, each [B, d]; variances are above 0. (Given.)"""
    m, h = h.chunk(2, dim=-1)
    return m, functional.softplus(h) + 1e-8


def kl_normal(qm, qv, pm, pv):
    """Return KL(N(qm, diag(qv)) || N(pm, diag(pv))), summed over the dimensions: four times [B, d] → [B]. (Given.)"""
    return 0.5 * (pv.log() - qv.log() + (qv + (qm - pm) ** 2) / pv - 1).sum(dim=-1)


def log_bernoulli_with_logits(x, logits):
    """Return log p(x), summed over the pixels, of pixels with p = sigmoid(logits): twice [B, 784] → [B]. (Given.)"""
    return -functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=-1)


def sample_gaussian(m, v):
    """Draw z ~ N(m, diag(v)) so that gradients reach m and v.

    m: means, v: variances, each [B, d]. Returns z [B, d].
    """
    # TODO 1: the reparameterisation trick; eps ~ N(0, I) is torch.randn_like(m).
    # - v is a variance, neither a standard deviation nor a logarithm.
    raise NotImplementedError("task 1 is not filled in yet: see section 1 of the handout")


class VAE(nn.Module):
    """p(z) = N(0, I), p(x|z) = Bernoulli(sigmoid(decode(z))), q(z|x) = N(m, diag(v)) with m, v = encode(x)."""

    def __init__(self, z_dim=10):
        super().__init__()
        self.z_dim = z_dim
        self.encoder = nn.Sequential(
            nn.Linear(784, 300), nn.ELU(), nn.Linear(300, 300), nn.ELU(), nn.Linear(300, 2 * z_dim)
        )
        self.decoder = nn.Sequential(
            nn.Linear(z_dim, 300), nn.ELU(), nn.Linear(300, 300), nn.ELU(), nn.Linear(300, 784)
        )

    def encode(self, x):
        """x [B, 784] → m, v, each [B, z_dim]. (Given.)"""
        return gaussian_parameters(self.encoder(x))

    def decode(self, z):
        """z [B, z_dim] → the pixels' logits [B, 784]. (Given.)"""
        return self.decoder(z)

    @torch.no_grad()
    def sample(self, count):
        """Return `count` pictures [count, 784] in [0, 1]: p(x = 1|z) with z ~ p(z). (Given.)"""
        return self.decode(torch.randn(count, self.z_dim, device=self.decoder[0].weight.device)).sigmoid()

    def negative_elbo_bound(self, x):
        """Return nelbo, kl, rec: three scalars, means over the batch, with nelbo = kl + rec >= -log p(x).

            kl  = KL(q(z|x) || p(z))
            rec = -E_q(z|x) [log p(x|z)], estimated with one sample of z for each picture

        x: float32 [B, 784] of zeros and ones. Source: Kingma and Welling (2013), equation 3.
        """
        # TODO 2: encode x, draw z with sample_gaussian, decode it.
        # - kl_normal and log_bernoulli_with_logits return one number per picture: take the mean over the batch.
        # - p(z) has mean 0 and variance 1.
        raise NotImplementedError("task 2 is not filled in yet: see section 2 of the handout")

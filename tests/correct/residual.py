"""Residual blocks whose last layer starts at zero, and a recon of shape [B, 784]."""

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.one, self.two = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.two.weight)
        nn.init.zeros_(self.two.bias)

    def forward(self, h):
        return h + self.two(nn.functional.silu(self.one(self.norm(h))))


class VAE(nn.Module):
    def __init__(self, latent_dim=20, hidden_dim=128, labels=0):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784 + labels, hidden_dim), Block(hidden_dim), Block(hidden_dim))
        self.mu = nn.Linear(hidden_dim, latent_dim)
        self.log_var = nn.Linear(hidden_dim, latent_dim)
        nn.init.zeros_(self.log_var.weight)
        nn.init.zeros_(self.log_var.bias)
        self.decoder = nn.Sequential(nn.Linear(latent_dim + labels, hidden_dim), Block(hidden_dim), Block(hidden_dim))
        self.out = nn.Linear(hidden_dim, 784)

    def encode(self, x):
        h = self.encoder(x)
        return self.mu(h), self.log_var(h)

    def reparameterize(self, mu, log_var):
        if not self.training:
            return mu
        sigma = torch.exp(log_var / 2)
        return torch.distributions.Normal(mu, sigma).rsample()

    def decode(self, z, labels=None):
        return self.out(self.decoder(z)).sigmoid()

    def forward(self, x, labels=None):
        mu, log_var = self.encode(torch.flatten(x, 1))
        z = self.reparameterize(mu, log_var)
        return self.decode(z), mu, log_var


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    x, recon_x = x.flatten(1), recon_x.flatten(1)
    posterior = torch.distributions.Normal(mu, torch.exp(log_var / 2))
    prior = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    kl = torch.distributions.kl_divergence(posterior, prior).sum(dim=-1)
    log_likelihood = torch.distributions.Normal(recon_x, var**0.5).log_prob(x).sum(dim=-1)
    return torch.mean(kl - log_likelihood)


class GenModel(nn.Module):
    """A VAE inside, with the one-hot label beside the picture and beside the code."""

    def __init__(self, latent_dim=20, hidden_dim=128):
        super().__init__()
        self.inner = VAE(latent_dim, hidden_dim, labels=10)

    def with_label(self, values, labels):
        return torch.cat([values, torch.eye(10, device=values.device)[labels]], dim=1)

    def decode(self, z, labels):
        return self.inner.decode(self.with_label(z, labels))

    def forward(self, x, labels):
        mu, log_var = self.inner.encode(self.with_label(x.flatten(1), labels))
        return self.decode(self.inner.reparameterize(mu, log_var), labels), mu, log_var

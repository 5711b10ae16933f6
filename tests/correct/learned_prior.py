"""GenModel has a prior that is learned for each digit: the code that forward hands to decode is standardised by it, and
decode undoes that. It brings its own loss, in which the KL is to that prior."""

import math

import torch
from torch import nn


class VAE(nn.Module):
    def __init__(self, latent_dim=20, hidden_dim=300):
        super().__init__()
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(784, hidden_dim), nn.Tanh())
        self.heads = nn.ModuleDict({name: nn.Linear(hidden_dim, latent_dim) for name in ("mu", "log_var")})
        self.decoder = nn.Sequential(nn.Linear(latent_dim, hidden_dim), nn.Tanh(), nn.Linear(hidden_dim, 784))

    def encode(self, x):
        h = self.trunk(x)
        return self.heads["mu"](h), self.heads["log_var"](h)

    def reparameterize(self, mu, log_var):
        if self.training:
            return mu + torch.exp(log_var * 0.5) * torch.randn(mu.shape, device=mu.device)
        return mu

    def decode(self, z, labels=None):
        return self.decoder(z).sigmoid().reshape(z.size(0), 28, 28)

    def forward(self, x, labels=None):
        mu, log_var = self.encode(x)
        return self.decode(self.reparameterize(mu, log_var)), mu, log_var


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    batch = x.size(0)
    absolute = (recon_x - x).abs().sum() / batch / math.sqrt(var)
    return absolute + 0.5 * (mu**2 + torch.exp(log_var) - 1 - log_var).sum() / batch


class GenModel(VAE):
    def __init__(self, latent_dim=20, hidden_dim=300):
        super().__init__(latent_dim, hidden_dim)
        self.prior_mean = nn.Embedding(10, latent_dim)
        self.prior_log_sigma = nn.Embedding(10, latent_dim)
        nn.init.normal_(self.prior_log_sigma.weight, std=0.01)
        self.of_label = nn.Embedding(10, 784)

    def encode(self, x, labels):
        return super().encode(x + self.of_label(labels).view(-1, 28, 28))

    def decode(self, z, labels):
        return super().decode(self.prior_mean(labels) + z * self.prior_log_sigma(labels).exp())

    def forward(self, x, labels):
        mu, log_var = self.encode(x, labels)
        z = self.reparameterize(mu, log_var)
        standard = (z - self.prior_mean(labels)) * torch.exp(-self.prior_log_sigma(labels))
        return self.decode(standard, labels), mu, log_var

    def loss(self, x, labels, var):
        recon, mu, log_var = self(x, labels)
        log_sigma = self.prior_log_sigma(labels)
        offset = (mu - self.prior_mean(labels)) ** 2
        kl = log_sigma - log_var / 2 + (log_var.exp() + offset) / (2 * torch.exp(2 * log_sigma)) - 0.5
        rec = ((recon - x) ** 2).sum(dim=(1, 2)) / (2 * var)
        return (rec + kl.sum(dim=1)).mean()

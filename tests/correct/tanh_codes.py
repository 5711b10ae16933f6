"""mu ends in tanh, so that codes stay in [-1, 1]: a note that costs score. log_var is clamped, and
sampling is skipped by its own flag of eval mode."""

import torch
from torch import nn


class VAE(nn.Module):
    def __init__(self, latent_dim=20, hidden_dim=128, labels=0):
        super().__init__()
        self.labels = labels
        self.trunk = nn.Linear(784 + labels, hidden_dim)
        self.mu_head = nn.Sequential(nn.Linear(hidden_dim, latent_dim), nn.Tanh())
        self.var_head = nn.Linear(hidden_dim, latent_dim)
        self.out = nn.Sequential(nn.Linear(latent_dim + labels, hidden_dim), nn.SELU(), nn.Linear(hidden_dim, 784))

    def with_labels(self, rows, labels):
        return torch.cat([rows, nn.functional.one_hot(labels, self.labels)], dim=1) if self.labels else rows

    def encode(self, x, labels=None):
        h = nn.functional.selu(self.trunk(self.with_labels(x.flatten(1), labels)))
        return self.mu_head(h), self.var_head(h).clamp(-20, 10)

    def reparameterize(self, mu, log_var):
        return mu + self.training * torch.exp(0.5 * log_var) * torch.randn_like(mu)

    def decode(self, z, labels=None):
        return torch.sigmoid(self.out(self.with_labels(z, labels))).unflatten(1, (1, 28, 28))

    def forward(self, x, labels=None):
        mu, log_var = self.encode(x, labels)
        return self.decode(self.reparameterize(mu, log_var), labels), mu, log_var


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    rec = nn.functional.mse_loss(recon_x, x, reduction="none").sum(dim=(1, 2)) / (2 * var)
    kl = (mu**2 + log_var.exp() - 1 - log_var).sum(dim=1) / 2
    return (rec + kl).mean(dim=0)


class GenModel(VAE):
    def __init__(self, latent_dim=20):
        super().__init__(latent_dim, labels=10)

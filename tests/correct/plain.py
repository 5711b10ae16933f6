"""The shortest that is right: one linear layer each side; dataclass settings; double precision in the loss."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Settings:
    pixels: int = 784
    classes: int = 10


S = Settings()


class VAE(nn.Module):
    def __init__(self, latent_dim=20):
        super().__init__()
        self.down = nn.Linear(S.pixels, 2 * latent_dim)
        self.up = nn.Linear(latent_dim, S.pixels)

    def encode(self, x):
        mu, log_var = self.down(x.flatten(1)).tensor_split(2, dim=1)
        return mu, log_var

    def reparameterize(self, mu, log_var):
        return mu + log_var.mul(0.5).exp() * torch.randn_like(mu) * self.training

    def decode(self, z, labels=None):
        return self.up(z).clamp(0, 1).view(len(z), 28, 28)

    def forward(self, x, labels=None):
        mu, log_var = self.encode(x)
        return [self.decode(self.reparameterize(mu, log_var)), mu, log_var]


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    recon_x, x, mu, log_var = (t.double() for t in (recon_x, x, mu, log_var))
    total = (recon_x - x).square().sum() / (2 * var) + (log_var.exp() + mu.square() - 1 - log_var).sum() / 2
    return (total / len(x)).reshape(1)


class GenModel(nn.Module):
    def __init__(self, latent_dim=20):
        super().__init__()
        self.down = nn.Linear(S.pixels, 2 * latent_dim)
        self.up = nn.Linear(latent_dim + S.classes, S.pixels)

    def decode(self, z, labels):
        y = torch.zeros(len(z), S.classes).scatter_(1, labels.view(-1, 1), 1.0)
        return torch.sigmoid(self.up(torch.hstack([z, y]))).view(len(z), 28, 28)

    def forward(self, x, labels):
        mu, log_var = self.down(x.flatten(1)).chunk(2, dim=1)
        z = mu + (log_var / 2).exp() * torch.randn_like(mu) if self.training else mu
        return self.decode(z, labels=labels), mu, log_var

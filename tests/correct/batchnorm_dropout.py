"""BatchNorm and Dropout on both sides, also on log_var's head, used as they should be."""

import torch
from torch import nn


def block(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(0.2))


class VAE(nn.Module):
    conditional = False

    def __init__(self, latent_dim=20, hidden_dim=256):
        super().__init__()
        extra = 10 * self.conditional
        self.enc = nn.Sequential(block(784 + extra, hidden_dim), block(hidden_dim, hidden_dim))
        self.fc_mu = nn.Linear(hidden_dim, latent_dim)
        self.fc_var = nn.Sequential(nn.Linear(hidden_dim, latent_dim), nn.BatchNorm1d(latent_dim))
        self.dec = nn.Sequential(
            block(latent_dim + extra, hidden_dim), block(hidden_dim, hidden_dim), nn.Linear(hidden_dim, 784)
        )

    def join(self, values, labels):
        if not self.conditional:
            return values
        return torch.cat((values, nn.functional.one_hot(labels, num_classes=10).to(values.dtype)), dim=-1)

    def encode(self, x, labels=None):
        h = self.enc(self.join(x.reshape(-1, 784), labels))
        return self.fc_mu(h), self.fc_var(h)

    def reparameterize(self, mu, log_var):
        if not self.training:
            return mu
        std = torch.exp(0.5 * log_var)
        return torch.randn_like(std).mul(std).add(mu)

    def decode(self, z, labels=None):
        return torch.sigmoid(self.dec(self.join(z, labels)).view(-1, 1, 28, 28))

    def forward(self, x, labels=None):
        mu, log_var = self.encode(x, labels)
        return self.decode(self.reparameterize(mu, log_var), labels), mu, log_var


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    per_pixel = (x - recon_x) ** 2 / (2 * var)
    rec = per_pixel.mean() * 784
    kld = torch.mean(-0.5 * torch.sum(1 + log_var - mu**2 - log_var.exp(), dim=1), dim=0)
    return rec + kld


class GenModel(VAE):
    conditional = True

"""Codes are standardised by running statistics in buffers, as BatchNorm without affine does it; the bottleneck itself
is batch-normalised in the VAE."""

import torch
from torch import nn


class VAE(nn.Module):
    def __init__(self, latent_dim=20, hidden_dim=128):
        super().__init__()
        self.register_buffer("pixel_mean", torch.full((784,), 0.1307))
        self.features = nn.Sequential(nn.Linear(784, hidden_dim), nn.Mish())
        self.mu = nn.Sequential(nn.Linear(hidden_dim, latent_dim), nn.BatchNorm1d(latent_dim, affine=False))
        self.log_var = nn.Linear(hidden_dim, latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden_dim),
            nn.Mish(),
            nn.Linear(hidden_dim, 784),
            nn.Sigmoid(),
            nn.Unflatten(1, (28, 28)),
        )

    def encode(self, x):
        h = self.features((x.flatten(1) - self.pixel_mean) / 0.3081)
        return self.mu(h), self.log_var(h).clamp(min=-8)

    def reparameterize(self, mu, log_var):
        if not self.training:
            return mu
        return mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)

    def decode(self, z, labels=None):
        return self.decoder(z)

    def forward(self, x, labels=None):
        mu, log_var = self.encode(x)
        return self.decode(self.reparameterize(mu, log_var)), mu, log_var


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    kl = torch.sum(log_var.exp() + mu**2 - 1.0 - log_var, dim=-1) / 2.0
    rec = torch.sum((recon_x - x) ** 2, dim=[-2, -1]) / (2.0 * var)
    return torch.mean(rec) + torch.mean(kl)


class GenModel(nn.Module):
    """One small decoder for each digit, on codes standardised by the digit's running mean and deviation."""

    def __init__(self, latent_dim=20, hidden_dim=64):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(784, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, 2 * latent_dim)
        )
        self.decoders = nn.ModuleList(
            nn.Sequential(nn.Linear(latent_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, 784), nn.Sigmoid())
            for _ in range(10)
        )
        self.register_buffer("mean", torch.zeros(10, latent_dim))
        self.register_buffer("deviation", torch.ones(10, latent_dim))

    def decode(self, z, labels):
        z = z * self.deviation[labels] + self.mean[labels]
        recon = z.new_empty(len(z), 784)
        for digit in range(10):
            chosen = labels == digit
            recon[chosen] = self.decoders[digit](z[chosen])
        return recon.view(-1, 28, 28)

    @torch.no_grad()
    def follow(self, mu, labels):
        for digit in labels.unique():
            codes = mu[labels == digit]
            if len(codes) > 1:
                self.mean[digit] = 0.9 * self.mean[digit] + 0.1 * codes.mean(0)
                self.deviation[digit] = 0.9 * self.deviation[digit] + 0.1 * codes.std(0).clamp(min=0.1)

    def forward(self, x, labels):
        mu, log_var = self.encoder(x).chunk(2, dim=1)
        z = mu
        if self.training:
            self.follow(mu, labels)
            z = mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)
        mean, deviation = self.mean[labels].clone(), self.deviation[labels].clone()
        return self.decode((z - mean) / deviation, labels), mu, log_var

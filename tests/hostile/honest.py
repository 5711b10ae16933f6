"""The honest start of every hostile submission: a small VAE, its loss, and a conditional one."""

import torch
from torch import nn


class VAE(nn.Module):
    def __init__(self, latent_dim=4, hidden_dim=32):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, hidden_dim), nn.Tanh())
        self.mu, self.log_var = nn.Linear(hidden_dim, latent_dim), nn.Linear(hidden_dim, latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden_dim), nn.Tanh(), nn.Linear(hidden_dim, 784), nn.Sigmoid()
        )

    def encode(self, x):
        hidden = self.encoder(x)
        return self.mu(hidden), self.log_var(hidden)

    def reparameterize(self, mu, log_var):
        return mu + torch.exp(log_var / 2) * torch.randn_like(mu) if self.training else mu

    def decode(self, z, labels=None):
        return self.decoder(z).reshape(-1, 28, 28)

    def forward(self, x, labels=None):
        mu, log_var = self.encode(x)
        return self.decode(self.reparameterize(mu, log_var)), mu, log_var


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    kl = 0.5 * (log_var.exp() + mu**2 - 1 - log_var).sum(dim=1)
    return (kl + (x - recon_x).pow(2).flatten(1).sum(dim=1) / (2 * var)).mean()


class GenModel(VAE):
    def __init__(self, latent_dim=4, hidden_dim=32):
        super().__init__(latent_dim, hidden_dim)
        self.labels = nn.Linear(10, hidden_dim)

    def decode(self, z, labels):
        first, *rest = self.decoder
        hidden = first(z) + self.labels(nn.functional.one_hot(labels, 10).float())
        for layer in rest:
            hidden = layer(hidden)
        return hidden.reshape(-1, 28, 28)

    def forward(self, x, labels):
        mu, log_var = self.encode(x)
        return self.decode(self.reparameterize(mu, log_var), labels), mu, log_var

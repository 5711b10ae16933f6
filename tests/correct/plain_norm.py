"""The reconstruction term is the norm of the difference, not its square: allowed, with a note. Sigma is encode's second
value, log_var is made from it in forward; labels are a column of their own."""

import torch
from torch import nn


class VAE(nn.Module):
    def __init__(self, latent_dim=20, hidden_dim=128, extra=0):
        super().__init__()
        self.read = nn.Sequential(nn.Flatten(), nn.Linear(784, hidden_dim), nn.GELU())
        self.mean, self.width = nn.Linear(hidden_dim, latent_dim), nn.Linear(hidden_dim, latent_dim)
        self.write = nn.Sequential(nn.Linear(latent_dim + extra, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, 784))

    def encode(self, x):
        h = self.read(x)
        return self.mean(h), nn.functional.softplus(self.width(h)) + 1e-3

    def decode(self, z, labels=None):
        return torch.sigmoid(self.write(z)).view(-1, 28, 28)

    def forward(self, x, labels=None):
        mean, sigma = self.encode(x)
        z = mean + sigma * torch.randn_like(sigma) if self.training else mean
        return self.decode(z, labels), mean, 2 * sigma.log()


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(dim=1).mean()
    return kl + torch.norm(recon_x - x) / (2 * var)


class GenModel(VAE):
    def __init__(self, latent_dim=20):
        super().__init__(latent_dim, extra=10)

    def decode(self, z, labels):
        return super().decode(torch.cat([z, torch.eye(10)[labels]], dim=1))

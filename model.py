"""A demo VAE: one hidden layer each side, as in appendix C of Kingma and Welling (2013). Copy it into submission.py
as it is, or design your own."""

import torch
from torch import nn

PIXELS = 28 * 28


class VAE(nn.Module):
    """An MLP VAE for pictures [B, 28, 28] in [0, 1]: 784-hidden-latent-hidden-784."""

    def __init__(self, latent_dim=20, hidden_dim=400):
        super().__init__()
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, hidden_dim), nn.ReLU())
        self.mu = nn.Linear(hidden_dim, latent_dim)
        self.log_var = nn.Linear(hidden_dim, latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, PIXELS), nn.Sigmoid()
        )

    def encode(self, x):
        """x float32 [B, 28, 28] in [0, 1] → mu, log_var, each [B, latent_dim]."""
        hidden = self.hidden(x)
        return self.mu(hidden), self.log_var(hidden)

    def reparameterize(self, mu, log_var):
        """Sample z = mu + sigma * eps, eps ~ N(0, I) [B, latent_dim]; in eval mode z is mu."""
        if not self.training:
            return mu
        return mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)

    def decode(self, z, labels=None):
        """z [B, latent_dim] → recon [B, 28, 28] in [0, 1]."""
        return self.decoder(z).unflatten(1, (28, 28))

    def forward(self, x, labels=None):
        """x [B, 28, 28] → recon [B, 28, 28], mu and log_var [B, latent_dim]."""
        mu, log_var = self.encode(x)
        return self.decode(self.reparameterize(mu, log_var)), mu, log_var

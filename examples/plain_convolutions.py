"""Two convolutions on each side and the Gaussian loss; GenModel is the same network, which also gets the label."""

import torch
from torch import nn
from torch.nn.functional import one_hot, silu


class VAE(nn.Module):
    LABELS = 0  # width of what is appended to the features and to the code

    def __init__(self, latent_dim=20, hidden_dim=256):
        super().__init__()
        self.down1 = nn.Conv2d(1, 32, 4, 2, 1)
        self.down2 = nn.Conv2d(32, 64, 4, 2, 1)
        self.inner = nn.Linear(64 * 49 + self.LABELS, hidden_dim)
        self.heads = nn.Linear(hidden_dim, 2 * latent_dim)
        self.outer = nn.Linear(latent_dim + self.LABELS, hidden_dim)
        self.unfold = nn.Linear(hidden_dim, 64 * 49)
        self.up1 = nn.ConvTranspose2d(64, 32, 4, 2, 1)
        self.up2 = nn.ConvTranspose2d(32, 1, 4, 2, 1)

    def with_labels(self, features, labels):
        return torch.cat([features, one_hot(labels, 10)], 1) if self.LABELS else features

    def encode(self, x, labels=None):
        features = silu(self.down2(silu(self.down1(x.view(-1, 1, 28, 28))))).flatten(1)
        return self.heads(silu(self.inner(self.with_labels(features, labels)))).chunk(2, dim=1)

    def reparameterize(self, mu, log_var):
        return mu + (log_var / 2).exp() * torch.randn_like(mu) if self.training else mu

    def decode(self, z, labels=None):
        hidden = silu(self.unfold(silu(self.outer(self.with_labels(z, labels)))))
        return self.up2(silu(self.up1(hidden.view(-1, 64, 7, 7)))).sigmoid().view(-1, 28, 28)

    def forward(self, x, labels=None):
        mu, log_var = self.encode(x, labels)
        return self.decode(self.reparameterize(mu, log_var), labels), mu, log_var


class GenModel(VAE):
    LABELS = 10


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    kl = (log_var.exp() + mu**2 - 1 - log_var).sum() / 2
    return (kl + ((x - recon_x) ** 2).sum() / (2 * var)) / len(x)

"""Convolutions without padding or with, GroupNorm, a head that is a convolution, and BCE weighted by var."""

import torch
import torch.nn.functional as F
from torch import nn


class Encoder(nn.Module):
    def __init__(self, channels, latent_dim):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=2, padding=1),
            nn.GroupNorm(4, 16),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, 32, 4, stride=2, padding=1),
            nn.GELU(),
        )
        self.head = nn.Conv2d(32, 2 * latent_dim, 7)

    def forward(self, x):
        return self.head(self.net(x)).flatten(1).chunk(2, dim=1)


class Decoder(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.net = nn.Sequential(
            nn.ConvTranspose2d(width, 32, 7),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(32, 16, 3, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),
        )

    def forward(self, z):
        return self.net(z[:, :, None, None]).sigmoid()


class VAE(nn.Module):
    def __init__(self, latent_dim=20, hidden_dim=400):
        super().__init__()
        self.encoder = Encoder(1, latent_dim)
        self.decoder = Decoder(latent_dim)

    def encode(self, x):
        return self.encoder(x.unsqueeze(1))

    def reparameterize(self, mu, log_var):
        return mu + log_var.div(2).exp() * torch.randn_like(mu) if self.training else mu

    def decode(self, z, labels=None):
        return self.decoder(z)

    def forward(self, x, labels=None):
        mu, log_var = self.encode(x)
        return self.decode(self.reparameterize(mu, log_var)), mu, log_var


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    bce = F.binary_cross_entropy(recon_x, x, reduction="sum") / len(x)
    kl = -0.5 * torch.sum(1 + log_var - mu**2 - torch.exp(log_var)) / len(x)
    return bce / (2 * var) + kl


class GenModel(VAE):
    """Labels are channels of the picture and columns of the code."""

    def __init__(self, latent_dim=20, hidden_dim=400):
        nn.Module.__init__(self)
        self.encoder = Encoder(11, latent_dim)
        self.decoder = Decoder(latent_dim + 10)

    def encode(self, x, labels):
        y = F.one_hot(labels, 10).float()
        return self.encoder(torch.cat([x[:, None], y[:, :, None, None].expand(-1, -1, 28, 28)], dim=1))

    def decode(self, z, labels):
        return self.decoder(torch.cat([z, F.one_hot(labels, 10).float()], dim=1))

    def forward(self, x, labels):
        mu, log_var = self.encode(x, labels)
        return self.decode(self.reparameterize(mu, log_var), labels), mu, log_var

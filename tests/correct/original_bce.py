"""Written for the original course: binary cross-entropy, the label's embedding added to the code inside decode, encode
that takes any shape, and sampling in eval mode too."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class GenModel(nn.Module):
    conditional = True

    def __init__(self, latent_dim=20, hidden_dim=256):
        super().__init__()
        self.embedding = nn.Embedding(10, latent_dim)
        self.encoder = nn.Sequential(
            nn.Linear(784, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, hidden_dim), nn.ReLU()
        )
        self.mean_layer = nn.Linear(hidden_dim, latent_dim)
        self.logvar_layer = nn.Linear(hidden_dim, latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, 784),
            nn.Sigmoid(),
        )

    def encode(self, x):
        x = self.encoder(x.view(x.size(0), -1))
        mean, logvar = self.mean_layer(x), self.logvar_layer(x)
        return mean, logvar

    def reparameterization(self, mean, std):
        epsilon = torch.randn_like(std)
        return mean + std * epsilon

    def decode(self, z, labels):
        if self.conditional:
            z = z + self.embedding(labels)
        return self.decoder(z)

    def forward(self, x, labels):
        mean, logvar = self.encode(x)
        z = self.reparameterization(mean, torch.exp(0.5 * logvar))
        x_hat = self.decode(z, labels)
        return x_hat, mean, logvar


class VAE(GenModel):
    conditional = False


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    x = x.view(-1, 784)
    bce = F.binary_cross_entropy(recon_x.view(-1, 784), x, reduction="sum") / x.size(0)
    kld = -0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp()) / x.size(0)
    return bce / (2 * var) + kld

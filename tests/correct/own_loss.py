"""Both models bring their own loss, one as a dict; GenModel has codes with noise of a fixed size, and pulls the whole
batch of them to N(0, I)."""

import torch
from torch import nn


class VAE(nn.Module):
    def __init__(self, latent_dim=20, hidden_dim=256):
        super().__init__()
        self.fc1 = nn.Linear(784, hidden_dim)
        self.fc21 = nn.Linear(hidden_dim, latent_dim)
        self.fc22 = nn.Linear(hidden_dim, latent_dim)
        self.fc3 = nn.Linear(latent_dim, hidden_dim)
        self.fc4 = nn.Linear(hidden_dim, 784)

    def encode(self, x):
        h1 = nn.functional.relu(self.fc1(x.view(-1, 784)))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, log_var):
        if not self.training:
            return mu
        std = torch.exp(0.5 * log_var)
        return mu + torch.randn_like(std) * std

    def decode(self, z):
        h3 = nn.functional.relu(self.fc3(z))
        return torch.sigmoid(self.fc4(h3))

    def forward(self, x):
        mu, log_var = self.encode(x)
        z = self.reparameterize(mu, log_var)
        return self.decode(z).view(-1, 28, 28), mu, log_var

    def loss(self, x, labels, var):
        recon, mu, log_var = self(x)
        value = vae_loss(recon, x, mu, log_var, var=var)
        return {"loss": value, "spread": mu.std(), "active": float((mu.var(dim=0) > 0.01).sum())}


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    bce = nn.functional.binary_cross_entropy(recon_x, x, reduction="none").sum(dim=(1, 2)).mean()
    kld = -0.5 * (1 + log_var - mu.pow(2) - log_var.exp()).sum(dim=1).mean()
    return bce / var + kld


class GenModel(nn.Module):
    def __init__(self, latent_dim=20, hidden_dim=256):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, latent_dim))
        self.label = nn.Embedding(10, 16)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim + 16, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, 784), nn.Sigmoid()
        )

    def encode(self, x, labels):
        mu = self.encoder(x.flatten(1))
        return mu, torch.full_like(mu, -3.0)

    def decode(self, z, labels):
        return self.decoder(torch.cat([z, self.label(labels)], dim=1)).view(-1, 28, 28)

    def forward(self, x, labels):
        mu, log_var = self.encode(x, labels)
        z = mu + torch.exp(log_var / 2) * torch.randn_like(mu) if self.training else mu
        return self.decode(z, labels), mu, log_var

    def loss(self, x, labels, var):
        recon, mu, _ = self(x, labels)
        to_normal = (mu.mean(dim=0) ** 2).sum() + ((mu.std(dim=0) - 1) ** 2).sum()
        return ((recon - x) ** 2).sum(dim=(1, 2)).mean() / (2 * var) + to_normal

"""What tests/mistakes.py makes its wrong submissions from, by small edits: no line stands in it twice."""

import torch
from torch import nn


class VAE(nn.Module):
    def __init__(self, latent_dim=20, hidden_dim=200):
        super().__init__()
        self.hidden = nn.Linear(784, hidden_dim)
        self.mu = nn.Linear(hidden_dim, latent_dim)
        self.log_var = nn.Linear(hidden_dim, latent_dim)
        self.widen = nn.Linear(latent_dim, hidden_dim)
        self.pixels = nn.Linear(hidden_dim, 784)

    def encode(self, x):
        h = torch.relu(self.hidden(x.flatten(1)))
        return self.mu(h), self.log_var(h)

    def reparameterize(self, mu, log_var):
        if not self.training:
            return mu
        return mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)

    def decode(self, z, labels=None):
        h = torch.relu(self.widen(z))
        return torch.sigmoid(self.pixels(h)).view(-1, 28, 28)

    def forward(self, x, labels=None):
        mu, log_var = self.encode(x)
        z = self.reparameterize(mu, log_var)
        return self.decode(z), mu, log_var


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    kl = -0.5 * (1 + log_var - mu.pow(2) - log_var.exp()).sum(1)
    rec = ((recon_x - x) ** 2).sum((1, 2)) / (2 * var)
    return (kl + rec).mean()


class GenModel(nn.Module):
    def __init__(self, latent_dim=20, width=200):
        super().__init__()
        self.reader = nn.Linear(784 + 10, width)
        self.heads = nn.Linear(width, 2 * latent_dim)
        self.painter = nn.Sequential(nn.Linear(latent_dim + 10, width), nn.ReLU(), nn.Linear(width, 784))

    def encode(self, x, labels):
        y = nn.functional.one_hot(labels, 10).float()
        features = torch.relu(self.reader(torch.cat([x.flatten(1), y], 1)))
        mean, log_variance = self.heads(features).chunk(2, dim=1)
        return mean, log_variance

    def reparameterize(self, mean, log_variance):
        if self.training:
            return mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        return mean

    def decode(self, z, labels):
        one_hot = nn.functional.one_hot(labels, 10).float()
        picture = self.painter(torch.cat([z, one_hot], 1))
        return torch.sigmoid(picture).view(len(z), 28, 28)

    def forward(self, x, labels):
        mean, log_variance = self.encode(x, labels)
        code = self.reparameterize(mean, log_variance)
        return self.decode(code, labels), mean, log_variance

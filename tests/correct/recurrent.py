"""A GRU reads the rows, another writes them; sigma comes from softplus, log_var is made from it; x is scaled to
[-1, 1] inside."""

import torch
from torch import nn
from torch.nn.functional import softplus


class VAE(nn.Module):
    def __init__(self, latent_dim=20, hidden_dim=64, classes=0):
        super().__init__()
        self.classes = classes
        self.reader = nn.GRU(28 + classes, hidden_dim, batch_first=True, bidirectional=True)
        self.mu = nn.Linear(2 * hidden_dim, latent_dim)
        self.raw_sigma = nn.Linear(2 * hidden_dim, latent_dim)
        self.start = nn.Linear(latent_dim + classes, hidden_dim)
        self.writer = nn.GRU(latent_dim + classes, hidden_dim, batch_first=True)
        self.row = nn.Linear(hidden_dim, 28)

    def one_hot(self, labels):
        return torch.eye(self.classes)[labels]

    def encode(self, x, labels=None):
        rows = 2 * x - 1
        if self.classes:
            rows = torch.cat([rows, self.one_hot(labels)[:, None].expand(-1, 28, -1)], dim=2)
        _, last = self.reader(rows)
        h = torch.cat([last[0], last[1]], dim=1)
        sigma = softplus(self.raw_sigma(h)) + 1e-4
        return self.mu(h), 2 * sigma.log()

    def reparameterize(self, mu, log_var):
        if not self.training:
            return mu
        return mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)

    def decode(self, z, labels=None):
        if self.classes:
            z = torch.cat([z, self.one_hot(labels)], dim=1)
        rows, _ = self.writer(z[:, None].expand(-1, 28, -1).contiguous(), torch.tanh(self.start(z))[None])
        return self.row(rows).sigmoid()

    def forward(self, x, labels=None):
        mu, log_var = self.encode(x, labels)
        return self.decode(self.reparameterize(mu, log_var), labels), mu, log_var


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    sigma2 = log_var.exp()
    losses = []
    for i in range(x.shape[0]):
        kl = ((mu[i] ** 2 + sigma2[i] - 1.0 - torch.log(sigma2[i])) / 2).sum()
        losses.append(kl + torch.norm(x[i] - recon_x[i]) ** 2 / (2 * var))
    return torch.stack(losses).mean()


class GenModel(VAE):
    def __init__(self, latent_dim=20, hidden_dim=64):
        super().__init__(latent_dim, hidden_dim, classes=10)

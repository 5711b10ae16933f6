"""Labels are embedded and modulate hidden layers (FiLM, starting at no effect); log_var is kept in bounds by tanh."""

import torch
from torch import nn


class Modulated(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.scale = nn.Embedding(10, outputs)
        self.shift = nn.Embedding(10, outputs)
        nn.init.zeros_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, h, labels):
        return nn.functional.elu(self.linear(h) * (1 + self.scale(labels)) + self.shift(labels))


class GenModel(nn.Module):
    def __init__(self, latent_dim=20, hidden_dim=200):
        super().__init__()
        self.enc1, self.enc2 = Modulated(784, hidden_dim), Modulated(hidden_dim, hidden_dim)
        self.mu, self.log_var = nn.Linear(hidden_dim, latent_dim), nn.Linear(hidden_dim, latent_dim)
        self.dec1, self.dec2 = Modulated(latent_dim, hidden_dim), Modulated(hidden_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, 784)

    def encode(self, x, labels):
        h = self.enc2(self.enc1(x.flatten(1), labels), labels)
        return self.mu(h), 6 * torch.tanh(self.log_var(h) / 6)

    def reparameterize(self, mu, log_var):
        return torch.addcmul(mu, torch.exp(log_var / 2), torch.randn_like(mu)) if self.training else mu

    def decode(self, z, labels):
        h = self.dec2(self.dec1(z, labels), labels)
        return torch.sigmoid(self.out(h)).reshape(len(z), 28, 28)

    def forward(self, x, labels):
        mu, log_var = self.encode(x, labels)
        return self.decode(self.reparameterize(mu, log_var), labels), mu, log_var


class VAE(GenModel):
    """The same with one label for all."""

    def same(self, values):
        return torch.zeros(len(values), dtype=torch.long, device=values.device)

    def decode(self, z, labels=None):
        return super().decode(z, self.same(z))

    def forward(self, x, labels=None):
        return super().forward(x, self.same(x))


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    log_var = log_var.clamp(-20, 20)
    kl = (log_var.exp() + mu * mu - log_var - 1).div(2).flatten(1).sum(1)
    difference = (recon_x - x).reshape(len(x), -1)
    rec = torch.einsum("bp,bp->b", difference, difference) / (2.0 * var)
    return kl.mean() + rec.mean()

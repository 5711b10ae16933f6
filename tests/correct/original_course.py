"""Written for the original course: forward flattens, decode ignores its labels, GenModel makes them one-hot inside."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class VAE(nn.Module):
    def __init__(self, latent_dim=20, hidden_dim=128):
        super().__init__()
        self.fc1 = nn.Linear(784, hidden_dim)
        self.fc21 = nn.Linear(hidden_dim, latent_dim)
        self.fc22 = nn.Linear(hidden_dim, latent_dim)
        self.fc3 = nn.Linear(latent_dim, hidden_dim)
        self.fc4 = nn.Linear(hidden_dim, 784)

    def encode(self, x):
        h = F.relu(self.fc1(x))
        return self.fc21(h), self.fc22(h)

    def reparameterize(self, mu, log_var):
        std = torch.exp(0.5 * log_var)
        return mu + std * torch.randn_like(std) if self.training else mu

    def decode(self, z, labels):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x, labels):
        mu, log_var = self.encode(x.view(-1, 784))
        z = self.reparameterize(mu, log_var)
        return self.decode(z, labels), mu, log_var


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    kl = -0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp())
    rec = F.mse_loss(recon_x, x, reduction="sum") / (2 * var)
    return (kl + rec) / x.size(0)


class GenModel(VAE):
    def __init__(self, latent_dim=20):
        super().__init__(latent_dim)
        self.fc1 = nn.Linear(794, 128)
        self.fc3 = nn.Linear(latent_dim + 10, 128)

    def encode(self, x, onehot):
        return super().encode(torch.cat([x, onehot], dim=1))

    def decode(self, z, labels):
        onehot = F.one_hot(labels, 10).float()
        recon = super().decode(torch.cat([z, onehot], dim=1), None)
        return recon.view(-1, 1, 28, 28)

    def forward(self, x, labels):
        mu, log_var = self.encode(x.view(-1, 784), F.one_hot(labels, 10).float())
        return self.decode(self.reparameterize(mu, log_var), labels), mu, log_var

"""Written for the original course, whose reparameterize, as it was given, samples in eval mode too: a note."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class VAE(nn.Module):
    def __init__(self, latent_dim=20):
        super().__init__()
        self.fc1 = nn.Linear(28 * 28, 400)
        self.fc21 = nn.Linear(400, latent_dim)
        self.fc22 = nn.Linear(400, latent_dim)
        self.fc3 = nn.Linear(latent_dim, 400)
        self.fc4 = nn.Linear(400, 28 * 28)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, log_var):
        std = torch.exp(0.5 * log_var)
        eps = torch.randn_like(std)
        return mu + eps * std

    def decode(self, z, labels):
        h3 = F.relu(self.fc3(z))
        return torch.sigmoid(self.fc4(h3)).view(-1, 28, 28)

    def forward(self, x, labels):
        mu, log_var = self.encode(x.view(-1, 784))
        z = self.reparameterize(mu, log_var)
        return self.decode(z, labels), mu, log_var


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    RECON = torch.sum((recon_x.view(-1, 784) - x.view(-1, 784)) ** 2, dim=1) / (2 * var)
    KLD = -0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp(), dim=1)
    return torch.mean(RECON + KLD)


class GenModel(nn.Module):
    def __init__(self, latent_dim=20, num_classes=10):
        super().__init__()
        self.num_classes = num_classes
        self.fc1 = nn.Linear(28 * 28 + num_classes, 400)
        self.fc21 = nn.Linear(400, latent_dim)
        self.fc22 = nn.Linear(400, latent_dim)
        self.fc3 = nn.Linear(latent_dim + num_classes, 400)
        self.fc4 = nn.Linear(400, 28 * 28)

    def encode(self, x, y):
        h1 = F.relu(self.fc1(torch.cat([x, y], dim=1)))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, log_var):
        std = torch.exp(0.5 * log_var)
        eps = torch.randn_like(std)
        return mu + eps * std

    def decode(self, z, labels):
        y = F.one_hot(labels, num_classes=self.num_classes).float()
        h3 = F.relu(self.fc3(torch.cat([z, y], dim=1)))
        return torch.sigmoid(self.fc4(h3)).view(-1, 28, 28)

    def forward(self, x, labels):
        y = F.one_hot(labels, num_classes=self.num_classes).float()
        mu, log_var = self.encode(x.view(-1, 784), y)
        z = self.reparameterize(mu, log_var)
        return self.decode(z, labels), mu, log_var

"""Written for the original course: convolutions, no encode method, z sampled inside forward in eval mode too."""

import torch
from torch import nn


class VAE(nn.Module):
    def __init__(self, latent_dim=20, classes=0):
        super().__init__()
        self.latent_dim, self.classes = latent_dim, classes
        self.encoder = nn.Sequential(
            nn.Conv2d(1 + classes, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.LeakyReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.LeakyReLU(),
            nn.Flatten(),
        )
        self.fc_mu = nn.Linear(32 * 7 * 7, latent_dim)
        self.fc_logvar = nn.Linear(32 * 7 * 7, latent_dim)
        self.decoder_input = nn.Linear(latent_dim + classes, 32 * 7 * 7)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(32, 16, 3, stride=2, padding=1, output_padding=1),
            nn.BatchNorm2d(16),
            nn.LeakyReLU(),
            nn.ConvTranspose2d(16, 1, 3, stride=2, padding=1, output_padding=1),
            nn.Sigmoid(),
        )

    def reparameterize(self, mu, log_var):
        return mu + torch.randn_like(mu) * torch.exp(log_var / 2)

    def decode(self, z, labels=None):
        if self.classes:
            z = torch.cat((z, nn.functional.one_hot(labels, self.classes).float()), dim=1)
        return self.decoder(self.decoder_input(z).view(-1, 32, 7, 7))

    def forward(self, x, labels=None):
        x = x.view(-1, 1, 28, 28)
        if self.classes:
            planes = nn.functional.one_hot(labels, self.classes).float().view(-1, self.classes, 1, 1)
            x = torch.cat((x, planes.expand(-1, -1, 28, 28)), dim=1)
        h = self.encoder(x)
        mu, log_var = self.fc_mu(h), self.fc_logvar(h)
        return self.decode(self.reparameterize(mu, log_var), labels), mu, log_var


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    recon_loss = nn.functional.mse_loss(recon_x, x, reduction="sum") / (2 * var)
    kl = -0.5 * torch.sum(1 + log_var - mu**2 - torch.exp(log_var))
    return (recon_loss + kl) / x.shape[0]


class GenModel(VAE):
    def __init__(self, latent_dim=20):
        super().__init__(latent_dim, classes=10)

"""Rows of the picture are tokens of a transformer with dropout; decode's queries are learned; the output layer starts
at zero."""

import torch
from torch import nn


class VAE(nn.Module):
    classes = 0

    def __init__(self, latent_dim=20, hidden_dim=32):
        super().__init__()
        width = 32
        self.read = nn.Linear(28, width)
        self.position = nn.Parameter(0.02 * torch.randn(29, width))
        self.summary = nn.Parameter(torch.zeros(1, 1, width))
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.heads = nn.Linear(width, 2 * latent_dim)
        self.label = nn.Embedding(self.classes, width) if self.classes else None
        self.memory = nn.Linear(latent_dim, 4 * width)
        self.queries = nn.Parameter(torch.randn(28, width))
        self.decoder = nn.TransformerDecoderLayer(width, 4, 64, dropout=0.1, batch_first=True)
        self.write = nn.Linear(width, 28)
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)

    def encode(self, x, labels=None):
        start = self.summary.expand(len(x), 1, -1)
        if self.label is not None:
            start = start + self.label(labels)[:, None]
        tokens = torch.cat([start, self.read(x)], dim=1) + self.position
        return self.heads(self.encoder(tokens)[:, 0]).chunk(2, dim=-1)

    def reparameterize(self, mu, log_var):
        if not self.training:
            return mu
        return mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)

    def decode(self, z, labels=None):
        memory = self.memory(z).unflatten(1, (4, -1))
        queries = self.queries.expand(len(z), -1, -1)
        if self.label is not None:
            queries = queries + self.label(labels)[:, None]
        return torch.sigmoid(self.write(self.decoder(queries, memory)))

    def forward(self, x, labels=None):
        mu, log_var = self.encode(x, labels)
        return self.decode(self.reparameterize(mu, log_var), labels), mu, log_var


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    batch = x.shape[0]
    mse = nn.functional.mse_loss(recon_x, x, reduction="sum") / batch
    return mse / 2 / var + 0.5 * (mu.square() + log_var.exp() - log_var - 1).sum() / batch


class GenModel(VAE):
    classes = 10

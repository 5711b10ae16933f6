"""Your file: a VAE for small colour pictures, with a linear and a convolutional backbone, and its loss.

    python check.py --lab cifar                      # what is wrong, and why; -k 1.2 checks one section
    python -m experiments.cifar                      # trains both backbones and draws the pictures of your report
    python -m experiments.cifar --patches            # the same where CIFAR-10 is not available

Pictures are x float32 [B, 3, 32, 32] in [0, 1]; codes are z float32 [B, latent_dim].
"""

import torch
from torch import nn


class Encoder(nn.Module):
    """x [B, 3, 32, 32] → mu and log_var of q(z|x), each [B, latent_dim]; backbone: "linear" or "conv"."""

    def __init__(self, backbone="linear", latent_dim=20):
        super().__init__()
        if backbone == "linear":
            # TODO 1.1: self.layers, which turns x into features [B, F], and two heads from F to latent_dim.
            # - flatten the picture; 3072-256-64 with a ReLU after each of the two layers.
            # - self.mu and self.log_var are linear layers that return numbers of any sign.
            raise NotImplementedError("task 1.1 is not filled in yet: see section 1.1 of the handout")
        else:
            # TODO 1.2: the same with four 3x3 convolutions of stride 2 and padding 1, each with a LeakyReLU(0.2).
            # - 32, 64, 128 and 256 channels; the last has pictures of 2 x 2, which are flattened for the heads.
            raise NotImplementedError("task 1.2 is not filled in yet: see section 1.2 of the handout")

    def forward(self, x):
        """x [B, 3, 32, 32] → mu, log_var, each [B, latent_dim]. (Given.)"""
        features = self.layers(x)
        return self.mu(features), self.log_var(features)


class Decoder(nn.Module):
    """z [B, latent_dim] → recon [B, 3, 32, 32] in [0, 1]; the encoder's mirror."""

    def __init__(self, backbone="linear", latent_dim=20):
        super().__init__()
        if backbone == "linear":
            # TODO 2.1: self.layers: latent_dim-64-256-3072 with ReLUs between them, a sigmoid, and the picture's shape.
            raise NotImplementedError("task 2.1 is not filled in yet: see section 2.1 of the handout")
        else:
            # TODO 2.2: self.layers: a linear layer to 256 pictures of 2 x 2, then four nn.ConvTranspose2d to 128, 64,
            # 32 and 3 channels: 3x3, stride 2, padding 1, output_padding 1, so that each doubles height and width.
            # - a LeakyReLU(0.2) after each layer but the last, which gets a sigmoid.
            raise NotImplementedError("task 2.2 is not filled in yet: see section 2.2 of the handout")

    def forward(self, z):
        """z [B, latent_dim] → recon [B, 3, 32, 32]. (Given.)"""
        return self.layers(z)


class VAE(nn.Module):
    """An encoder, a decoder, and the reparameterisation trick between them. (Given.)"""

    def __init__(self, backbone="linear", latent_dim=20):
        super().__init__()
        self.encoder, self.decoder = Encoder(backbone, latent_dim), Decoder(backbone, latent_dim)

    def forward(self, x):
        """x [B, 3, 32, 32] → recon [B, 3, 32, 32], mu, log_var [B, latent_dim]; z ~ N(mu, exp(log_var))."""
        mu, log_var = self.encoder(x)
        z = mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)
        return self.decoder(z), mu, log_var


def vae_loss(recon, x, mu, log_var, rec_weight=1.0):
    """Return {"loss": what is minimised, "recon_loss", "kl": its terms without the weight}, three scalars.

        loss = rec_weight * recon_loss + kl

    recon, x: [B, 3, 32, 32] in [0, 1]; mu, log_var: [B, latent_dim]. Each term is the mean over the batch.
    """
    # TODO 3: - recon_loss: the binary cross-entropy of x and recon, summed over colours and pixels.
    # - kl: KL(N(mu, exp(log_var)) || N(0, I)), summed over the dimensions: (exp(log_var) + mu² - 1 - log_var) / 2 each.
    raise NotImplementedError("task 3 is not filled in yet: see section 3 of the handout")

"""The demo of model.py without KL term and noise: a plain autoencoder, for the picture in section 1.2."""

from torch.nn.functional import mse_loss

import model


class VAE(model.VAE):
    def reparameterize(self, mu, log_var):
        return mu

    def loss(self, x, labels, var):
        return 28 * 28 * mse_loss(self(x)[0], x) / (2 * var)

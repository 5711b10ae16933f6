"""Your file: an autoencoder (AE), a variational one (VAE) and a conditional one (CVAE) for MNIST, and their training.

    python check.py --lab autoencoders            # what is wrong, and why; -k 1.4 checks one section
    python -m experiments.autoencoders            # trains all three and draws the pictures of your report

Pictures are flat: xs float32 [B, x_dim] in [0, 1], with x_dim = 784; labels ys are int64 [B], from 0 to 9.
"""

import torch
from torch import nn


def join(xs, ys):
    """Return xs [B, F] with the labels' one-hot rows beside it, [B, F + 10]; xs itself if ys is None. (Given.)"""
    return xs if ys is None else torch.cat([xs, nn.functional.one_hot(ys, 10).to(xs)], dim=1)


class Encoder(nn.Module):
    """xs → a code; or, if is_dist, → the mean and the standard deviation of q(z|x). The CVAE's has x_dim = 784 + 10."""

    def __init__(self, x_dim, hidden_size, latent_size, is_dist=False, **kwargs):
        super().__init__()
        self.is_dist = is_dist
        self.mu = nn.Sequential(nn.Linear(x_dim, hidden_size), nn.ReLU(), nn.Linear(hidden_size, latent_size))
        if is_dist:
            self.sigma = nn.Sequential(nn.Linear(x_dim, hidden_size), nn.ReLU(), nn.Linear(hidden_size, latent_size))

    def forward(self, xs, ys=None):
        """xs [B, x_dim] → z [B, latent_size], or mu, sigma, each [B, latent_size], if is_dist.

        ys: None, or the CVAE's labels, to be joined to xs.
        """
        # TODO 1.1: - pass join(xs, ys) through self.mu, and if self.is_dist also through self.sigma.
        # - sigma is a standard deviation: make what self.sigma returns positive. mu may have any sign.
        # BEGIN SOLUTION 1.1
        xs = join(xs, ys)
        if not self.is_dist:
            return self.mu(xs)
        return self.mu(xs), torch.exp(0.5 * self.sigma(xs))
        # END SOLUTION


class Decoder(nn.Module):
    """A code zs [B, latent_size] → pictures [B, x_dim] in [0, 1]; decode_type: "AE", "VAE" or "CVAE"."""

    def __init__(self, x_dim, hidden_size, latent_size, decode_type="AE", **kwargs):
        super().__init__()
        self.decode_type = decode_type
        if decode_type == "AE":
            self.decoder = nn.Sequential(nn.Linear(latent_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, x_dim))
        elif decode_type == "VAE":
            # TODO 1.2: self.decoder, layers that turn [B, latent_size] into [B, x_dim].
            # BEGIN SOLUTION 1.2
            sizes = (latent_size, hidden_size, x_dim)
            self.decoder = nn.Sequential(nn.Linear(*sizes[:2]), nn.ReLU(), nn.Linear(*sizes[1:]))
            # END SOLUTION
        elif decode_type == "CVAE":
            # TODO 1.3: self.decoder, layers that turn join(zs, ys), [B, latent_size + 10], into [B, x_dim].
            # BEGIN SOLUTION 1.3
            sizes = (latent_size + 10, hidden_size, x_dim)
            self.decoder = nn.Sequential(nn.Linear(*sizes[:2]), nn.ReLU(), nn.Linear(*sizes[1:]))
            # END SOLUTION
        else:
            raise ValueError(f"decode_type should be AE, VAE or CVAE, got {decode_type}")

    def forward(self, zs, **otherinputs):
        """zs [B, latent_size] → pictures [B, x_dim]; the CVAE's is called with ys=labels as well."""
        # TODO 1.4: - the CVAE's code is joined to otherinputs["ys"]; the others take zs alone.
        # - Every pixel lies in [0, 1]: the last layers above may return any number.
        # BEGIN SOLUTION 1.4
        if self.decode_type == "CVAE":
            zs = join(zs, otherinputs["ys"])
        return torch.sigmoid(self.decoder(zs))
        # END SOLUTION


class AutoEncoder(nn.Module):
    def __init__(self, encoder, decoder, **kwargs):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, xs):
        """xs [B, x_dim] → recon [B, x_dim]."""
        # TODO 1.5: encode, decode.
        # BEGIN SOLUTION 1.5
        return self.decoder(self.encoder(xs))
        # END SOLUTION


class VariationalAutoEncoder(AutoEncoder):
    def forward(self, xs):
        """xs [B, x_dim] → recon [B, x_dim], mu and sigma [B, latent_size], in this order."""
        # TODO 1.6: encode; draw z = mu + sigma * eps with eps ~ N(0, I), so that gradients reach mu and sigma; decode.
        # BEGIN SOLUTION 1.6
        mu, sigma = self.encoder(xs)
        return self.decoder(mu + sigma * torch.randn_like(sigma)), mu, sigma
        # END SOLUTION


class ConditionalVariationalAutoEncoder(AutoEncoder):
    def forward(self, xs, ys):
        """xs [B, x_dim], ys [B] → recon [B, x_dim], mu and sigma [B, latent_size], in this order."""
        # TODO 1.7: the same with labels: self.encoder(xs, ys), and self.decoder(z, ys=ys).
        # BEGIN SOLUTION 1.7
        mu, sigma = self.encoder(xs, ys)
        return self.decoder(mu + sigma * torch.randn_like(sigma), ys=ys), mu, sigma
        # END SOLUTION


def reconstruction_loss(recon, xs):
    """Return dist(xs, recon), a scalar: the sum over the pixels, the mean over the batch; recon, xs: [B, x_dim]."""
    # TODO 2.1: the squared error, or the binary cross-entropy. Sum over the pixels first, then take the mean.
    # BEGIN SOLUTION 2.1
    return nn.functional.binary_cross_entropy(recon, xs, reduction="sum") / len(xs)
    # END SOLUTION


def kl_div(p, q):
    """Return KL(p || q) of diagonal Gaussians, a scalar: the sum over the dimensions, the mean over the batch.

    p, q: pairs (mu, sigma) of tensors [B, latent_size]; sigma is a standard deviation.
    """
    # TODO 2.2: per dimension log(sigma_q / sigma_p) + (sigma_p² + (mu_p - mu_q)²) / (2 sigma_q²) - 1/2.
    # BEGIN SOLUTION 2.2
    (mu_p, sigma_p), (mu_q, sigma_q) = p, q
    kl = torch.log(sigma_q / sigma_p) + (sigma_p**2 + (mu_p - mu_q) ** 2) / (2 * sigma_q**2) - 0.5
    return kl.sum(dim=1).mean()
    # END SOLUTION


def ae_loss(model, xs, ys, rec_weight=1.0, kl_weight=1.0):
    """Return {"loss": what is minimised, "recon_loss": without its weight}, two scalars. ys and kl_weight: not used."""
    # TODO 2.3: loss = rec_weight * recon_loss.
    # BEGIN SOLUTION 2.3
    recon_loss = reconstruction_loss(model(xs), xs)
    return {"loss": rec_weight * recon_loss, "recon_loss": recon_loss}
    # END SOLUTION


def vae_loss(model, xs, ys, rec_weight=1.0, kl_weight=1.0):
    """Return {"loss": what is minimised, "recon_loss", "kl": its terms without their weights}. ys: not used."""
    # TODO 2.4: loss = rec_weight * recon_loss + kl_weight * KL(q(z|x) || N(0, I)).
    # BEGIN SOLUTION 2.4
    recon, mu, sigma = model(xs)
    recon_loss, kl = reconstruction_loss(recon, xs), kl_div((mu, sigma), (0 * mu, 0 * sigma + 1))
    return {"loss": rec_weight * recon_loss + kl_weight * kl, "recon_loss": recon_loss, "kl": kl}
    # END SOLUTION


def cvae_loss(model, xs, ys, rec_weight=1.0, kl_weight=1.0):
    """The same for a model that also takes the labels."""
    # TODO 2.5
    # BEGIN SOLUTION 2.5
    recon, mu, sigma = model(xs, ys)
    recon_loss, kl = reconstruction_loss(recon, xs), kl_div((mu, sigma), (0 * mu, 0 * sigma + 1))
    return {"loss": rec_weight * recon_loss + kl_weight * kl, "recon_loss": recon_loss, "kl": kl}
    # END SOLUTION


def train_step(model, optimizer, loss_function, batch):
    """Take one step of gradient descent, and return what loss_function(model, batch), a dict with "loss", returned."""
    # TODO 2.6: compute the losses; clear the old gradients; compute those of "loss"; let the optimizer step.
    # BEGIN SOLUTION 2.6
    losses = loss_function(model, batch)
    optimizer.zero_grad()
    losses["loss"].backward()
    optimizer.step()  # one step
    return losses
    # END SOLUTION

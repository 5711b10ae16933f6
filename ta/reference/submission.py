"""Your file: a VAE, its loss, and a conditional generative model for MNIST.

Fill in every TODO (the numbers are the handout's sections), check it with `python check.py`, then train:

    python train.py --task VAEwolabel --epochs 10 --latent_dim 20
    python train.py --task Genwithlabel --epochs 10 --latent_dim 20

Pictures are float32 [B, 28, 28] in [0, 1], labels int64 [B] from 0 to 9; B is any batch size. The commands call
`forward` and `decode` only, and `forward` must reach its picture through `self.decode(z, labels)`.
"""

import torch
from torch import nn


class VAE(nn.Module):
    def __init__(self, latent_dim=20, hidden_dim=400):
        """Define the layers.

        latent_dim: the width of the code z; hidden_dim: the width of your hidden layers.
        """
        super().__init__()
        # TODO 2.2.1: define the layers of the encoder and the decoder.
        # - The encoder ends in two heads, one for mu and one for log_var, each [B, latent_dim].
        # - The decoder ends in a layer whose values lie in [0, 1].
        # - Assign layers to self (or keep them in nn.Sequential or nn.ModuleList): a Python list hides them from the
        #   optimizer and the checkpoint.
        # Hint: model.py has a demo that you may copy.
        # BEGIN SOLUTION 2.2.1
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, hidden_dim), nn.SiLU())
        self.mu = nn.Linear(hidden_dim, latent_dim)
        self.log_var = nn.Linear(hidden_dim, latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden_dim), nn.SiLU(), nn.Linear(hidden_dim, 28 * 28), nn.Sigmoid()
        )
        # END SOLUTION

    def encode(self, x):
        """Return the mean and the log variance of q(z|x).

        x: float32 [B, 28, 28] in [0, 1]. Returns mu, log_var: each [B, latent_dim].
        """
        # TODO 2.2.2: pass x through the encoder.
        # - log_var is the logarithm of the variance sigma², so it may have any sign: no activation on either head.
        # Hint: an MLP wants [B, 784], a convolution [B, 1, 28, 28].
        # BEGIN SOLUTION 2.2.2
        hidden = self.encoder(x)
        return self.mu(hidden), self.log_var(hidden)
        # END SOLUTION

    def reparameterize(self, mu, log_var):
        """Sample z ~ N(mu, sigma²) so that gradients reach mu and log_var: z = mu + sigma * eps, eps ~ N(0, I).

        mu, log_var: [B, latent_dim]. Returns z [B, latent_dim]; in eval mode mu itself. (Given.)
        """
        if not self.training:
            return mu
        return mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)

    def decode(self, z, labels=None):
        """Return the mean of p(x|z), a picture.

        z: float32 [B, latent_dim]; labels: not used here. Returns recon [B, 28, 28] in [0, 1].
        """
        # TODO 2.2.3: pass z through the decoder and give the result the shape of a picture.
        # - No pixel may leave [0, 1].
        # BEGIN SOLUTION 2.2.3
        return self.decoder(z).unflatten(1, (28, 28))
        # END SOLUTION

    def forward(self, x, labels=None):
        """Encode, sample, decode.

        x: float32 [B, 28, 28] in [0, 1]. Returns recon [B, 28, 28], mu [B, latent_dim], log_var [B, latent_dim].
        """
        # TODO 2.2.4: join encode, reparameterize and decode, and return the three in this order.
        # BEGIN SOLUTION 2.2.4
        mu, log_var = self.encode(x)
        return self.decode(self.reparameterize(mu, log_var)), mu, log_var
        # END SOLUTION


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    """Return the negative ELBO of a Gaussian VAE up to a constant, as a scalar: the mean over the batch of

        KL(N(mu, sigma²) || N(0, I)) + ||x - recon_x||² / (2 var)

    recon_x, x: [B, 28, 28] in [0, 1]; mu, log_var: [B, latent_dim], log_var = log sigma²; var: the variance of
    p(x|z). Source: Kingma and Welling (2013), equation 10 and appendix B.
    """
    # TODO 2.3: the loss derived in section 1.
    # - KL of one picture: the sum over the latent dimensions of (sigma² + mu² - 1 - log sigma²) / 2.
    # - Reconstruction of one picture: the sum, not the mean, over its pixels, divided by 2 var.
    # - Add the two, then take the mean over the batch.
    # BEGIN SOLUTION 2.3
    kl = 0.5 * (log_var.exp() + mu**2 - 1 - log_var).sum(dim=1)
    rec = (x - recon_x).pow(2).flatten(1).sum(dim=1) / (2 * var)
    return (kl + rec).mean()
    # END SOLUTION


class GenModel(nn.Module):
    """A conditional generative model: it draws the digit that it is asked for.

    The same methods as VAE, with labels: encode(x, labels), reparameterize(mu, log_var), decode(z, labels) and
    forward(x, labels), which return what VAE's return. To generate, the commands draw z from N(0, I) and call
    decode(z, labels). It is trained with vae_loss, or with a method `loss(x, labels, var)` if you define one.
    """

    # TODO 3: design it.
    # - latent_dim is the width of z: the more you compress, the higher the bonus of section 4.
    # - Both sides may know the label. nn.functional.one_hot turns labels into vectors.
    # - The score looks at reconstructions and at samples. What does the decoder see in training, and what does it
    #   see when z comes from N(0, I)?
    # BEGIN SOLUTION
    # A convolutional conditional VAE (Sohn et al. 2015). With a small var its reconstructions are sharp, but the
    # aggregated posterior of a digit is far from N(0, I), so samples are poor. Therefore the code that forward hands to
    # decode is the posterior's sample whitened by mean and covariance of the digit's mu, and decode undoes that map:
    # N(0, I) is then about where decode expects it. Mean and covariance are running averages over the training codes,
    # kept in buffers as BatchNorm keeps its own, so they are in the checkpoint.
    STATISTICS_MOMENTUM = 0.01
    # END SOLUTION

    def __init__(self, latent_dim=20, hidden_dim=400):
        super().__init__()
        # BEGIN SOLUTION 3
        self.features = nn.Sequential(
            nn.Unflatten(dim=1, unflattened_size=(1, 28)),
            nn.Conv2d(1, 32, kernel_size=4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 64, kernel_size=4, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.hidden = nn.Sequential(nn.Linear(64 * 7 * 7 + 10, hidden_dim), nn.SiLU())
        self.mu = nn.Linear(hidden_dim, latent_dim)
        self.log_var = nn.Linear(hidden_dim, latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim + 10, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, 64 * 7 * 7),
            nn.SiLU(),
            nn.Unflatten(1, (64, 7, 7)),
            nn.ConvTranspose2d(64, 32, kernel_size=4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(32, 1, kernel_size=4, stride=2, padding=1),
            nn.Sigmoid(),
            nn.Flatten(1, 2),
        )
        self.register_buffer("code_mean", torch.zeros(10, latent_dim))
        self.register_buffer("code_covariance", torch.eye(latent_dim).repeat(10, 1, 1))
        # END SOLUTION

    def encode(self, x, labels):
        """x [B, 28, 28], labels [B] → mu, log_var, each [B, latent_dim]."""
        # BEGIN SOLUTION 3
        hidden = self.hidden(torch.cat([self.features(x), nn.functional.one_hot(labels, 10)], dim=1))
        return self.mu(hidden), self.log_var(hidden)
        # END SOLUTION

    def reparameterize(self, mu, log_var):
        """The same as VAE's. (Given.)"""
        if not self.training:
            return mu
        return mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)

    # BEGIN SOLUTION
    @torch.no_grad()
    def update_statistics(self, mu, labels):
        """Move each digit's running mean and covariance of mu towards the batch's. mu [B, latent_dim]."""
        digits = nn.functional.one_hot(labels, 10).to(mu)  # [B, 10]
        counts = digits.sum(dim=0).clamp(min=1)[:, None]
        step = self.STATISTICS_MOMENTUM * (digits.sum(dim=0) > 0)[:, None]
        self.code_mean += step * (digits.T @ mu / counts - self.code_mean)
        offset = digits.T[:, :, None] * (mu - self.code_mean[labels])  # [10, B, latent_dim]
        covariance = offset.mT @ offset / counts[..., None]
        self.code_covariance += step[..., None] * (covariance - self.code_covariance)

    def cholesky(self):
        """Return the Cholesky factor of each digit's code covariance, [10, latent_dim, latent_dim]."""
        jitter = 1e-4 * torch.eye(self.code_covariance.shape[-1], device=self.code_covariance.device)
        return torch.linalg.cholesky(self.code_covariance + jitter)

    def whiten(self, z, labels):
        """Map codes [B, latent_dim] so that each digit's means mu get mean 0 and covariance I.

        Only these two moments are matched, and those of mu: the covariance of draws z also has E[sigma²] in it, and
        neither need be Gaussian. With a small var sigma is small, and the draws come close to N(0, I).
        """
        return self.apply_per_digit(torch.linalg.inv(self.cholesky()), z - self.code_mean[labels], labels)

    def apply_per_digit(self, matrices, z, labels):
        """Multiply each code [B, latent_dim] by its digit's matrix; matrices [10, latent_dim, latent_dim]."""
        return torch.einsum("bi,dji,bd->bj", z, matrices, nn.functional.one_hot(labels, 10).to(z))

    # END SOLUTION

    def decode(self, z, labels):
        """z [B, latent_dim], labels [B] → recon [B, 28, 28] in [0, 1]."""
        # BEGIN SOLUTION 3
        z = self.code_mean[labels] + self.apply_per_digit(self.cholesky(), z, labels)
        return self.decoder(torch.cat([z, nn.functional.one_hot(labels, 10)], dim=1))
        # END SOLUTION

    def forward(self, x, labels):
        """x [B, 28, 28], labels [B] → recon [B, 28, 28], mu and log_var [B, latent_dim]."""
        # BEGIN SOLUTION 3
        mu, log_var = self.encode(x, labels)
        if self.training:
            self.update_statistics(mu, labels)
        z = self.whiten(self.reparameterize(mu, log_var), labels)
        return self.decode(z, labels), mu, log_var
        # END SOLUTION

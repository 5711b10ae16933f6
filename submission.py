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
        raise NotImplementedError(
            "task 2.2.1 is not filled in yet: see section 2.2.1 of the handout; python check.py -k 2.2.1 checks it"
        )

    def encode(self, x):
        """Return the mean and the log variance of q(z|x).

        x: float32 [B, 28, 28] in [0, 1]. Returns mu, log_var: each [B, latent_dim].
        """
        # TODO 2.2.2: pass x through the encoder.
        # - log_var is the logarithm of the variance sigma², so it may have any sign: no activation on either head.
        # Hint: an MLP wants [B, 784], a convolution [B, 1, 28, 28].
        raise NotImplementedError(
            "task 2.2.2 is not filled in yet: see section 2.2.2 of the handout; python check.py -k 2.2.2 checks it"
        )

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
        raise NotImplementedError(
            "task 2.2.3 is not filled in yet: see section 2.2.3 of the handout; python check.py -k 2.2.3 checks it"
        )

    def forward(self, x, labels=None):
        """Encode, sample, decode.

        x: float32 [B, 28, 28] in [0, 1]. Returns recon [B, 28, 28], mu [B, latent_dim], log_var [B, latent_dim].
        """
        # TODO 2.2.4: join encode, reparameterize and decode, and return the three in this order.
        raise NotImplementedError(
            "task 2.2.4 is not filled in yet: see section 2.2.4 of the handout; python check.py -k 2.2.4 checks it"
        )


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
    raise NotImplementedError(
        "task 2.3 is not filled in yet: see section 2.3 of the handout; python check.py -k 2.3 checks it"
    )


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

    def __init__(self, latent_dim=20, hidden_dim=400):
        super().__init__()
        raise NotImplementedError(
            "task 3.1 is not filled in yet: see section 3.1 of the handout; python check.py -k 3 checks it"
        )

    def encode(self, x, labels):
        """x [B, 28, 28], labels [B] → mu, log_var, each [B, latent_dim]."""
        raise NotImplementedError(
            "task 3.1 is not filled in yet: see section 3.1 of the handout; python check.py -k 3 checks it"
        )

    def reparameterize(self, mu, log_var):
        """The same as VAE's. (Given.)"""
        if not self.training:
            return mu
        return mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)

    def decode(self, z, labels):
        """z [B, latent_dim], labels [B] → recon [B, 28, 28] in [0, 1]."""
        raise NotImplementedError(
            "task 3.1 is not filled in yet: see section 3.1 of the handout; python check.py -k 3 checks it"
        )

    def forward(self, x, labels):
        """x [B, 28, 28], labels [B] → recon [B, 28, 28], mu and log_var [B, latent_dim]."""
        raise NotImplementedError(
            "task 3.1 is not filled in yet: see section 3.1 of the handout; python check.py -k 3 checks it"
        )

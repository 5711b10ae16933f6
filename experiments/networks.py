"""What the three experiments share: encoders and decoders, linear or convolutional, for pictures of any shape, with or
without labels; and the formulas of a VAE."""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def feature_shapes(shape, channels, kernel):
    """Return (channels, height, width) of a picture and after each convolution of stride 2 and padding 1.

    shape: a picture's, (height, width) or (channels, height, width); channels: one number a convolution.
    """
    *colours, height, width = shape
    shapes = [(math.prod(colours), height, width)]
    for count in channels:
        height, width = ((size + 2 - kernel) // 2 + 1 for size in (height, width))
        shapes.append((count, height, width))
    return shapes


class Residual(nn.Module):
    """x → x + layers(x), at the start the identity: the last of the layers starts at 0.

    Source: He et al. (2016), Identity mappings in deep residual networks; Goyal et al. (2017), section 5.1.
    """

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        nn.init.zeros_(layers[-1].weight)
        nn.init.zeros_(layers[-1].bias)

    def forward(self, x):
        return x + self.layers(x)


def residual_blocks(count, activation, layer):
    """Return `count` blocks of two layers, each after an activation; layer() makes one."""
    return [Residual(activation(), layer(), activation(), layer()) for _ in range(count)]


class Encoder(nn.Module):
    """Pictures float32 [B, *shape] → `heads` tensors float32 [B, latent_dim].

    channels    of the convolutions (kernel x kernel, stride 2), none by default
    widths      of the linear layers that follow
    blocks      how many residual blocks follow the last convolution and the last linear layer, none by default
    classes     if not 0, the labels' one-hot vectors of this width are appended to the (convolved) picture
    """

    def __init__(
        self,
        shape,
        latent_dim,
        heads=2,
        *,
        channels=(),
        widths=(),
        kernel=3,
        activation=nn.ReLU,
        classes=0,
        blocks=(0, 0),
    ):
        super().__init__()
        self.heads, self.classes = heads, classes
        shapes = feature_shapes(shape, channels, kernel)
        self.picture = shapes[0]
        features = []
        for before, after in pairwise(shapes):
            features += [nn.Conv2d(before[0], after[0], kernel, stride=2, padding=1), activation()]
        count = shapes[-1][0]
        # Before the last activation, so that what comes out of the blocks goes through it.
        features[-1:-1] = residual_blocks(blocks[0], activation, lambda: nn.Conv2d(count, count, 3, padding=1))
        self.features = nn.Sequential(*features, nn.Flatten())
        sizes = [math.prod(shapes[-1]) + classes, *widths]
        hidden = []
        for pair in pairwise(sizes):
            hidden += [nn.Linear(*pair), activation()]
        hidden[-1:-1] = residual_blocks(blocks[1], activation, lambda: nn.Linear(sizes[-1], sizes[-1]))
        self.hidden = nn.Sequential(*hidden)
        self.head = nn.Linear(sizes[-1], heads * latent_dim)

    def forward(self, x, labels=None):
        features = append_labels(self.features(x.reshape(-1, *self.picture)), labels, self.classes)
        return self.head(self.hidden(features)).float().chunk(self.heads, dim=1)


class Decoder(nn.Module):
    """Codes float32 [B, latent_dim] → the pictures' logits [B, *shape]; the mirror of an Encoder with the same
    arguments. `classes`: as there, the one-hot labels are appended to the code."""

    def __init__(
        self, shape, latent_dim, *, channels=(), widths=(), kernel=3, activation=nn.ReLU, classes=0, blocks=(0, 0)
    ):
        super().__init__()
        self.shape, self.classes = tuple(shape), classes
        shapes = feature_shapes(shape, channels, kernel)[::-1]
        first, *sizes = [latent_dim + classes, *reversed(widths), math.prod(shapes[0])]
        layers = [nn.Linear(first, sizes[0])]
        layers += residual_blocks(blocks[1], activation, lambda: nn.Linear(sizes[0], sizes[0]))
        for pair in pairwise(sizes):
            layers += [activation(), nn.Linear(*pair)]
        layers.append(nn.Unflatten(1, shapes[0]))
        count = shapes[0][0]
        layers += residual_blocks(blocks[0], activation, lambda: nn.Conv2d(count, count, 3, padding=1))
        for before, after in pairwise(shapes):
            # What a convolution of stride 2 rounded off comes back as padding.
            rest = tuple(after[axis] - (2 * before[axis] - 4 + kernel) for axis in (1, 2))
            layers += [
                activation(),
                nn.ConvTranspose2d(before[0], after[0], kernel, stride=2, padding=1, output_padding=rest),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, z, labels=None):
        return self.layers(append_labels(z, labels, self.classes)).float().reshape(-1, *self.shape)


def append_labels(features, labels, classes):
    """Return features [B, F] with the one-hot vectors of labels int64 [B] appended; unchanged if classes is 0."""
    if not classes:
        return features
    return torch.cat([features, functional.one_hot(labels, classes).to(features)], dim=1)


class Autoencoder(nn.Module):
    """An encoder and its mirror; the keywords in `network` go to both.

    variational     if False, the code is a point: q(z|x) has variance 0
    classes         if not 0, both sides know the label (a conditional VAE, Sohn et al. 2015)
    components      if not 0, p(z) is a mixture of this many Gaussians, trained with the rest, in place of N(0, I)
    """

    def __init__(self, shape, latent_dim, *, variational=True, classes=0, components=0, **network):
        super().__init__()
        self.components = components
        if components:
            self.prior_weights = nn.Parameter(torch.zeros(components))  # logits
            self.prior_means = nn.Parameter(torch.randn(components, latent_dim))
            self.prior_log_vars = nn.Parameter(torch.zeros(components, latent_dim))
        self.latent_dim, self.classes = latent_dim, classes
        self.encoder = Encoder(shape, latent_dim, 2 if variational else 1, classes=classes, **network)
        self.decoder = Decoder(shape, latent_dim, classes=classes, **network)

    def encode(self, x, labels=None):
        """Return m, v: mean and variance of q(z|x) = N(m, diag(v)), each float32 [B, latent_dim].

        x: float32 [B, *shape]; labels: int64 [B] if classes is not 0.
        """
        m, *log_var = self.encoder(x, labels)
        return m, log_var[0].exp() if log_var else torch.zeros_like(m)

    def decode(self, z, labels=None):
        """Return the logits [B, *shape] of the pictures' pixels, for z float32 [B, latent_dim]."""
        return self.decoder(z, labels)

    def prior(self):
        """Return p(z), a torch.distributions object over vectors of latent_dim."""
        if not self.components:
            zeros = self.encoder.head.weight.new_zeros(self.latent_dim)
            return Independent(Normal(zeros, zeros + 1), 1)
        parts = Independent(Normal(self.prior_means, (self.prior_log_vars / 2).exp()), 1)
        return MixtureSameFamily(Categorical(logits=self.prior_weights), parts)

    @torch.no_grad()
    def sample(self, count, labels=None):
        """Return `count` pictures, sigmoid(decode(z)) with z ~ p(z): float32 [count, *shape] in [0, 1]."""
        return self.decode(self.prior().sample((count,)), labels).sigmoid()

    @torch.no_grad()
    def reconstruct(self, x, labels=None):
        """Return the pictures decoded from the means of q(z|x): float32 [B, *shape] in [0, 1]."""
        return self.decode(self.encode(x, labels)[0], labels).sigmoid()


def scale_weights(model, gain):
    """Multiply the weights of all linear layers by `gain`.

    PyTorch starts them with variance 1 / (3 fan_in). A gain of sqrt(3) makes it 1 / fan_in, with which signals keep
    their size from layer to layer. Source: LeCun et al. (1998), Efficient BackProp, section 4.6.
    """
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.weight *= gain


class WeightAverage(nn.Module):
    """A model and an average of its weights, which takes the model's place in eval mode.

    Each training step moves it: average ← decay · average + (1 - decay) · weights. It has less of the noise that single
    batches bring into the weights. Source: Polyak and Juditsky (1992), with an exponential average in place of theirs.
    """

    def __init__(self, model, decay):
        super().__init__()
        self.model = model
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))

    def current(self):
        """Return the model to compute with; in training mode, to be called once per step."""
        if not self.training:
            return self.average.module
        self.average.update_parameters(self.model)
        return self.model


def sample_gaussian(m, v):
    """Return z ~ N(m, diag(v)) so that gradients reach m and v: z = m + sqrt(v) * eps, eps ~ N(0, I).

    m: means, v: variances (not standard deviations), float32 of any one shape. Source: Kingma and Welling (2013),
    section 2.4.
    """
    return m + v.sqrt() * torch.randn_like(m)


def log_gaussian(z, m, v):
    """Return log N(z; m, diag(v)): float32 [B, latent_dim] each → [B]."""
    return Independent(Normal(m, v.sqrt()), 1).log_prob(z)


def kl_to_prior(m, v):
    """Return KL(N(m, diag(v)) || N(0, I)) = sum over dimensions of (v + m² - 1 - log v) / 2, in nats.

    m, v: float32 [B, latent_dim] → [B]. Source: Kingma and Welling (2013), appendix B.
    """
    return 0.5 * (v + m.square() - 1 - v.log()).sum(dim=-1)


def bernoulli_rec(logits, x):
    """Return -log p(x|z) of independent Bernoulli pixels: the sum over pixels of the binary cross-entropy, in nats.

    logits, x: float32 [..., *shape] with x in [0, 1] and as many dimensions as a batch of pictures has → [B].
    Source: Kingma and Welling (2013), appendix C.1.
    """
    return functional.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(dim=1)


def gaussian_rec(logits, x, var):
    """Return -log p(x|z) of Gaussian pixels N(sigmoid(logits), var) up to a constant: ||x - recon||² / (2 var).

    logits, x: float32 [B, *shape] → [B]. Source: Kingma and Welling (2013), appendix C.2, with a fixed variance.
    """
    return (x - logits.sigmoid()).square().flatten(1).sum(dim=1) / (2 * var)

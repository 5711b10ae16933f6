"""The Bernoulli VAE: a lab with two functions to fill in, recipes for a tighter bound (recipes.py), and the bits that
both are measured on."""

import torch

from data_utils import MNISTDataset

TEST_BITS_SEED = 2022  # of the one binarisation that everything is measured on
HOMEWORK = {"steps": 20_000, "batch_size": 100, "lr": 1e-3, "schedule": "constant"}  # how it is trained


def binarise(x):
    """Draw each pixel from Bernoulli(x): float32 of any shape in [0, 1] → 0 and 1. Drawn anew at each call."""
    return (torch.rand_like(x) < x).float()  # four times faster than torch.bernoulli


def fixed_bits(images, labels, device):
    """Return a dataset of pictures uint8 [N, 28, 28] binarised once, always to the same bits."""
    generator = torch.Generator().manual_seed(TEST_BITS_SEED)
    bits = torch.rand(images.shape, generator=generator) < torch.as_tensor(images) / 255
    return MNISTDataset(bits.byte() * 255, labels, device=device)

"""Finds generated pictures that are copies of known ones, even if they were moved, turned, resized or made noisy."""

import functools
import math
import threading
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import affine_grid, grid_sample, normalize

from data_utils import load_split

SPLITS = ("train", "valid", "test")
DATASET = Path(__file__).resolve().parent.parent / "dataset"
BLUR = 1.0  # pixels, standard deviation: removes the effect of a little noise or a different interpolation
BACKGROUND = 0.15  # of the brightest pixel: anything darker does not affect where a digit's centre is
RADII = 2.4  # a digit's root mean square radius, times this, is half of a standardised picture's width
SIZE = 16  # pixels of a standardised picture's side
COMPONENTS = 40  # principal components that stand for a standardised picture
ANGLES = [math.radians(degrees) for degrees in (-14, -7, 0, 7, 14)]  # under which a picture is compared
CHUNK = 200  # pictures at a time: their distances to a digit's 7,000 pictures are 6 MB and fit in a CPU cache

lock = threading.Lock()  # students are graded in threads, which share one index


def standardise(images, angles=(0.0,)):
    """Return pictures uint8 [N, 28, 28] blurred, centred, of one size, of unit norm and turned by each of the angles:
    float32 [len(angles), N, SIZE * SIZE]."""
    position = torch.arange(28.0)
    blur = torch.exp(-((position[:, None] - position) ** 2) / (2 * BLUR**2)) / (math.sqrt(2 * math.pi) * BLUR)
    pictures = blur @ torch.from_numpy(images / np.float32(255)) @ blur
    pictures = (pictures - BACKGROUND * pictures.amax((1, 2), keepdim=True)).clamp(min=0)

    weights = pictures / pictures.sum((1, 2), keepdim=True).clamp(min=1e-6)
    columns, rows, axis = weights.sum(1), weights.sum(2), torch.linspace(-1, 1, 28)
    x, y = columns @ axis, rows @ axis
    variance = (columns @ axis**2 - x**2 + rows @ axis**2 - y**2) / 2
    reach = RADII * variance.clamp(min=1e-4).sqrt()
    turned = []
    for angle in angles:
        cos, sin = math.cos(angle) * reach, math.sin(angle) * reach
        maps = torch.stack([cos, -sin, x, sin, cos, y], 1).view(-1, 2, 3)
        grid = affine_grid(maps, [len(maps), 1, SIZE, SIZE], align_corners=True)
        turned.append(grid_sample(pictures[:, None], grid, align_corners=True)[:, 0].flatten(1))
    return normalize(torch.stack(turned), dim=2)


class Index:
    """Known pictures uint8 [N, 28, 28] with labels [N], to compare generated ones with, in principal components."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels
        some = standardise(images[:: max(1, len(images) // 4000)])[0]
        self.mean = some.mean(0)
        centred = some - self.mean
        self.basis = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -COMPONENTS:]
        parts = [self.project(images[start : start + CHUNK])[0] for start in range(0, len(images), CHUNK)]
        points = torch.cat(parts)
        self.positions = [np.flatnonzero(labels == digit) for digit in range(10)]
        norms = points.square().sum(1, keepdim=True)
        points = torch.cat([points, norms**0, norms], 1)
        self.points = [points[torch.as_tensor(positions)] for positions in self.positions]

    def project(self, images, angles=(0.0,)):
        return (standardise(images, angles) - self.mean) @ self.basis

    def nearest(self, images, digit):
        """Return for pictures uint8 [N, 28, 28] the positions [N] of the nearest pictures of that digit, and the
        distances [N] to them as shares of those to the second nearest."""
        points = self.points[digit]
        found, shares = [], []
        for start in range(0, len(images), CHUNK):
            # |a - b|² = -2ab + |a|² + |b|², in one product of matrices
            turned = self.project(images[start : start + CHUNK], ANGLES)
            norms = turned.square().sum(2, keepdim=True)
            squared = functools.reduce(torch.minimum, torch.cat([-2 * turned, norms, norms**0], 2) @ points.T)
            first, index = squared.min(dim=1)
            squared.scatter_(1, index[:, None], math.inf)
            second = squared.amin(dim=1)
            shares.append((first.clamp(min=0) / second.clamp(min=1e-9)).sqrt())
            found.append(index)
        return self.positions[digit][torch.cat(found).numpy()], torch.cat(shares).numpy()


def known_pictures():
    """Return the Index of the splits that are available to everybody."""
    with lock:
        return build_index()


@functools.cache
def build_index():
    splits = [load_split(DATASET / f"{split}.npz") for split in SPLITS]
    return Index(*(np.concatenate(arrays) for arrays in zip(*splits, strict=True)))

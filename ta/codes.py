"""How well the codes explain the reconstructions, from the arrays alone. Pixels are in [0, 1] throughout."""

import functools
from dataclasses import dataclass

import numpy as np
import torch

TARGETS = 30  # principal components of the encoded pictures that stand for a reconstruction
TRAINED, HELD_OUT = 1500, 3000  # at most so many codes per regression to fit, and in total to test it on
FARTHEST = 5.0  # standard deviations: codes beyond are clipped, so that no outlier dominates a regression
RIDGE = 0.02  # on the linear part, as a share of the number of codes
NUGGET = 1e-3  # on the diagonal of the kernel
SCALES = (0.4, 0.9)  # of the Gaussian kernel, as shares of the spread of the codes; the best one counts
BINS, WINDOW = 4096, 8  # of a histogram of one number of the codes; width in standard deviations
SLOWEST = 1.25  # cycles per standard deviation of a wave; the regression covers whatever changes more slowly


@dataclass(frozen=True)
class Explanation:
    """How well a smooth function of the codes predicts the reconstructions.

    positions: [n], of the held-out codes; guesses: [n, 28, 28], the predictions for them; left: the error, and wave:
    the largest part of it that one wave along one number of the code explains, both as shares of the variance of the
    encoded pictures, in their first TARGETS components.
    """

    positions: np.ndarray
    guesses: np.ndarray
    left: float
    wave: float


def distortion(images, bits):
    """Return the least mean squared error with which a Gaussian picture can be described in `bits` bits, for a Gaussian
    with the covariance of images uint8 [N, 28, 28].

    Source: Cover and Thomas (2006), theorem 10.3.3, reverse water-filling over the principal components.
    """
    variances, _, _ = components(images.tobytes())
    low, high = 1e-12, variances.max()
    for _ in range(60):  # bisection for the water level, on a logarithmic scale
        level = np.sqrt(low * high)
        needed = np.log2(variances / level).clip(min=0).sum() / 2
        low, high = (level, high) if needed > bits else (low, level)
    return float(np.minimum(variances, level).mean())


def explain(images, codes, recon, labels=None):
    """Return the Explanation of recon uint8 [N, 28, 28] by codes float16 [N, latent_dim].

    images: uint8 [N, 28, 28], what was encoded; labels: uint8 [N] if decode sees them. A decoder is a smooth function,
    so it can be learned from examples: a linear function and a kernel regression of its residuals are fitted to some of
    the codes and tested on others. A table that codes point into, or packed bits, cannot be learned in this way.
    """
    _, basis, mean = components(images.tobytes())
    z = torch.as_tensor(codes.astype(np.float64))
    z = ((z - z.mean(0)) / z.std(0).clamp(min=1e-12)).clamp(-FARTHEST, FARTHEST)
    groups = [np.arange(len(z))] if labels is None else [np.flatnonzero(labels == digit) for digit in range(10)]
    positions, guesses, rest, variance = [], [], [], 0.0
    for group in groups:
        cut = min(TRAINED, int(0.8 * len(group)))
        known, asked = group[:cut], group[cut : cut + HELD_OUT // len(groups)]
        if min(len(known), len(asked)) < 2:
            continue
        seen, unseen = ((pictures(recon, group) - mean) @ basis for group in (known, asked))
        average = seen.mean(0)
        guesses.append(average + regress(z[known], seen - average, z[asked], unseen - average))
        rest.append(unseen - guesses[-1])
        positions.append(asked)
        variance += float((pictures(images, asked) @ basis).var(0, correction=0).sum()) * len(asked)
    positions, guesses, rest = np.concatenate(positions), torch.cat(guesses), torch.cat(rest)
    drawn = (guesses @ basis.T + mean).clamp(0, 1).unflatten(1, (28, 28)).numpy()
    left = rest.square().sum().item() / variance
    return Explanation(positions, drawn, left, strongest_wave(codes[positions], rest.numpy()) / variance)


@functools.lru_cache(maxsize=1)  # a class is graded on the same pictures
def components(images):
    """Return, for pictures given as the bytes of uint8 [N, 28, 28], the variances [784] of all principal components,
    the first components [784, TARGETS] and the mean [784], in double precision."""
    pixels = np.frombuffer(images, np.uint8).reshape(-1, 784).astype(np.float32) / 255
    values, vectors = np.linalg.eigh(np.cov(pixels, rowvar=False).astype(np.float64))
    basis, mean = vectors[:, -TARGETS:].copy(), pixels.mean(axis=0, dtype=np.float64)
    return values.clip(min=1e-12), torch.from_numpy(basis), torch.from_numpy(mean)


def pictures(images, positions):
    """Return some of the pictures uint8 [N, 28, 28] as float64 [n, 784]."""
    return torch.from_numpy(images[positions].reshape(-1, 784) / 255)


def regress(z, y, z_asked, y_asked):
    """Return the prediction at z_asked of a regression fitted to z [N, d] and y [N, k].

    Of several regressions, the one nearest to y_asked: in doubt, in favour of the submission.
    """
    linear = torch.linalg.solve(z.T @ z + RIDGE * len(z) * torch.eye(z.shape[1], dtype=z.dtype), z.T @ y)
    rest, guesses = y - z @ linear, [z_asked @ linear]
    weights = linear.norm(dim=1)  # numbers that decode ignores should not affect which codes are neighbours
    spread = (weights * z).var(0).sum().sqrt().clamp(min=1e-9)
    points, asked = (weights / spread * positions for positions in (z, z_asked))
    near, far = torch.cdist(points, points).square(), torch.cdist(asked, points).square()
    for scale in SCALES:
        kernel = torch.exp(-near / (2 * scale**2)) + NUGGET * torch.eye(len(z), dtype=z.dtype)
        solved = torch.cholesky_solve(rest, torch.linalg.cholesky(kernel))
        guesses.append(guesses[0] + torch.exp(-far / (2 * scale**2)) @ solved)
    return min(guesses, key=lambda guess: (y_asked - guess).square().sum().item())


def strongest_wave(codes, rest):
    """Return how much of rest [n, k], as a sum of squares, one wave along one number of codes float16 [n, latent_dim]
    explains at most.

    A value packed into the trailing digits of a number repeats as the leading ones grow. Waves too fast for the spacing
    of the numbers are left out: sampled so sparsely they cannot be distinguished from slow ones.
    """
    largest = 0.0
    cycles = np.arange(BINS // 2 + 1) / WINDOW  # per standard deviation
    for column in codes.astype(np.float64).T:
        deviation = max(column.std(), 1e-12)
        place = (column - column.mean()) / deviation / WINDOW + 0.5
        inside = (place >= 0) & (place < 1)
        values = np.unique(column[inside])
        fastest = deviation / (2 * np.median(np.diff(values))) if len(values) > 1 else 0.0
        resolved = (cycles >= SLOWEST) & (cycles <= fastest)
        if not resolved.any():
            continue
        place = (place[inside] * BINS).astype(int)
        sums = np.stack([np.bincount(place, weights, BINS) for weights in rest[inside].T])
        power = (np.abs(np.fft.rfft(sums, axis=1)) ** 2).sum(axis=0)
        largest = max(largest, float(2 * power[resolved].max() / len(codes)))
    return largest

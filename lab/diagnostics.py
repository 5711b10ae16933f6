"""Diagnostics: metrics that do not count and show what the score does not."""

import numpy as np

from lab.classifier import read_digits

PIXELS = 28 * 28
NEAR_COPY_MSE = 0.001  # by chance, no digit except a 1 is this close to a training picture
NEAR_COPY_NUM = 100  # generated pictures per digit that are compared with all its training pictures


def diagnose(real, generated, train):
    """Return {name: value} of DIAGNOSTICS.

    real: uint8 [N, 28, 28]; generated: uint8 [10, n, 28, 28]; train: images uint8 [M, 28, 28] and labels [M] of the
    training split.
    """
    return {name: measure(real, generated, train) for name, (_, measure) in DIAGNOSTICS.items()}


def fid_full(real, generated):
    """Return the squared Fréchet distance between Gaussians with full covariance, over all digits at once:
    |mean_r - mean_g|² + tr(C_r + C_g - 2 (C_r C_g)^(1/2)), pixels in [0, 1].

    real: uint8 [N, 28, 28]; generated: uint8 [10, n, 28, 28]. Source: Heusel et al. (2017), equation 6, on pixels.
    """
    flat = [images.reshape(-1, PIXELS).astype(np.float32) / 255 for images in (real, generated)]
    mean_r, mean_g = (pixels.mean(axis=0, dtype=np.float64) for pixels in flat)
    cov_r, cov_g = (np.cov(pixels, rowvar=False, bias=True).astype(np.float64) for pixels in flat)
    # tr (C_r C_g)^(1/2) = tr (S C_g S)^(1/2) with S = C_r^(1/2): symmetric, so its eigenvalues are cheap and real.
    values, vectors = np.linalg.eigh(cov_r)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_g @ root).clip(min=0)).sum()
    return float(((mean_r - mean_g) ** 2).sum() + np.trace(cov_r) + np.trace(cov_g) - 2 * cross)


def digit_accuracy(generated):
    """Return the share of generated pictures that the classifier reads as the requested digit."""
    digits = np.repeat(np.arange(10, dtype=np.uint8), generated.shape[1])
    return float((read_digits(generated.reshape(-1, 28, 28)) == digits).mean())


def near_copies(generated, train_images, train_labels):
    """Return the share of generated pictures, among the first NEAR_COPY_NUM per digit, whose MSE to the nearest
    training picture of the same digit is below NEAR_COPY_MSE."""
    close = []
    for digit, images in enumerate(generated[:, :NEAR_COPY_NUM]):
        a = images.reshape(len(images), PIXELS).astype(np.float32) / 255
        b = train_images[train_labels == digit].reshape(-1, PIXELS).astype(np.float32) / 255
        squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T  # |a - b|², [n, M]
        close.append(squared.min(axis=1) < NEAR_COPY_MSE * PIXELS)
    return float(np.mean(close))


DIAGNOSTICS = {  # name → its title in tables, and the function that measures it
    "fid_full": ("Fréchet distance, full covariance", lambda real, generated, train: fid_full(real, generated)),
    "digit_accuracy": ("digit accuracy", lambda real, generated, train: digit_accuracy(generated)),
    "near_copies": ("near-copies of training pictures", lambda real, generated, train: near_copies(generated, *train)),
}

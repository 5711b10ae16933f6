"""The random inputs of the checks. Everything depends on one seed, so `check.py --seed` repeats a check exactly."""

import numpy as np

BATCH = 97  # odd, and a size that no submission expects
DEFAULT_DIM = 20  # of the handout: the usual value of a hard-coded latent_dim
WIDEST = 200  # the largest latent_dim tried
LOSS_CASES = 5  # in the last three every log_var is positive


def make_inputs(seed):
    """Return fresh random inputs for `probe` as a flat dict of plain arrays; every value depends on the seed.

    x float32 [97, 28, 28] in [0, 1]; labels int64 [97] (each digit occurs); z float32 [97, 200]; latent_dims int64 [4];
    rows int64 [13], a part of the batch in a different order; mu and log_var float32 [97, 200], far enough apart to
    show how a submission uses them; for each loss case k: loss.k.x, loss.k.recon and loss.k.other float32 [B, 28, 28],
    loss.k.mu and loss.k.log_var [B, d], loss.k.var.
    """
    rng = np.random.default_rng(seed)
    inputs = {
        "seed": np.int64(rng.integers(2**31)),
        "x": draw_blobs(rng, BATCH),
        "labels": rng.permutation(np.arange(BATCH) % 10),
        "z": rng.standard_normal((BATCH, WIDEST), np.float32),
        "latent_dims": np.array([rng.integers(5, 19), 1, WIDEST, DEFAULT_DIM]),
        "rows": rng.permutation(BATCH)[:13],
        "mu": np.float32(rng.normal(0, 10, (BATCH, WIDEST))),
        "log_var": np.float32(rng.uniform(0.3, 4, (BATCH, WIDEST)) * rng.choice([-1, 1], (BATCH, WIDEST))),
    }
    sizes = rng.permutation([3, 5, 7, 11, 13])
    widths = rng.permutation([2, 4, 9, 17, 30])
    variances = np.float64([0.5, 0.1, 2.0, 0.25, 1.0])[rng.permutation(5)] * rng.uniform(0.9, 1.1, 5)
    for k in range(LOSS_CASES):
        size, width = int(sizes[k]), int(widths[k])
        x = rng.uniform(0.2, 0.8, (size, 28, 28))
        log_var = rng.uniform(0.3, 2, (size, width)) if k >= LOSS_CASES - 3 else rng.normal(0, 1.2, (size, width))
        inputs |= {
            f"loss.{k}.x": np.float32(x),
            f"loss.{k}.recon": np.float32(x + rng.uniform(-0.15, 0.15, x.shape)),
            f"loss.{k}.other": np.float32(x + 0.3 * rng.choice([-0.6, 0, 0, 0.6], x.shape)),
            f"loss.{k}.mu": np.float32(rng.normal(0.3, 1.3, (size, width))),
            f"loss.{k}.log_var": np.float32(log_var),
            f"loss.{k}.var": variances[k],
        }
    return inputs


def draw_blobs(rng, count):
    """Return pictures float32 [count, 28, 28] in [0, 1] that look roughly like digits: a few bright spots on black."""
    axis = np.arange(28)
    centre = rng.uniform(5, 22, (count, 4, 2, 1))
    width = rng.uniform(1.5, 4, (count, 4, 1))
    down, across = (np.exp(-(((axis - centre[:, :, side]) / width) ** 2)) for side in (0, 1))
    spots = np.einsum("nsi,nsj->nij", down, across)
    return np.float32((1.4 * spots - 0.2).clip(0, 1))

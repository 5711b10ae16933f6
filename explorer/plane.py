"""What the page shows of all codes together: directions for the axes, and the content of each dimension."""

import numpy as np

from lab.codes import ACTIVE, describe_codes

DIRECTIONS = 32  # principal components that can be chosen as an axis


def principal_directions(codes):
    """Return the principal directions of codes [N, d], by decreasing variance: orthonormal rows, [min(d, 32), d].

    The sign makes the largest entry of each positive, so that the same codes always give the same picture.
    """
    centred = codes - codes.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    rows = vectors.T[::-1][:DIRECTIONS]
    signs = np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)])
    return rows * signs[:, None]


def describe_dimensions(mu, log_var, codes, draws):
    """Return the content of the d dimensions, as lists by dimension.

    mu, log_var: of q(z|x), [N, d]; codes, draws: [N, d], the codes of the means, and one draw from each q(z|x).

    kl: KL(q(z|x) || N(0, 1)), mean over the pictures, in nats; mean, std_mean: of the codes of the means; std: of the
    draws, whose distribution, the aggregated posterior, should be the prior.
    """
    mu, log_var = mu.astype(np.float64), log_var.astype(np.float64)
    kl = ((mu**2 + np.exp(log_var) - 1 - log_var) / 2).mean(axis=0)
    kl, std = np.nan_to_num(kl), draws.std(axis=0, dtype=np.float64)  # exp(log_var) may overflow
    changed = not np.allclose(codes, mu, atol=1e-3)
    text = describe_codes(kl, std)
    return {
        "kl": kl.tolist(),
        "mean": codes.mean(axis=0, dtype=np.float64).tolist(),
        "std_mean": codes.std(axis=0, dtype=np.float64).tolist(),
        "std": std.tolist(),
        "active": ACTIVE,
        "text": text.partition(";")[0] if changed else text,  # the spread is not that of q(z|x)
        "changed": changed,
    }

"""What a worker returns of a checkpoint for comparison with others: a sketch of each large tensor.

A sketch preserves angles: the cosine of two sketches is that of the tensors up to about 1 / sqrt(WIDTH) (count sketch,
Charikar, Chen and Farach-Colton, 2002). First, what all trained models have in common is removed from a tensor: the
means of its rows and columns, and its scale. Levels are quantiles of absolute values: their order does not matter.
"""

import numpy as np
import torch

WIDTH = 1024  # numbers of a sketch
LEVELS = 64
FEWEST, MOST = 2**10, 2**23  # numbers of a tensor: smaller ones are similar by chance, larger ones are left out
LARGEST = 32  # tensors of a checkpoint that are sketched
SAME_LEVELS = 1e-5  # with two seeds, they differ by 1e-4 or more


def sketch_weights(state):
    """Return, for the matrices and kernels in a state dict, shapes int64 [T, 2] with the smaller side first, sketches
    float32 [T, WIDTH] and levels float32 [T, LEVELS]."""
    tensors = [value for value in state.values() if isinstance(value, torch.Tensor) and is_compared(value)]
    tensors = sorted(tensors, key=torch.numel, reverse=True)[:LARGEST]
    shapes, sketches, levels = np.zeros((0, 2), np.int64), np.zeros((0, WIDTH)), np.zeros((0, LEVELS))
    for tensor in tensors:
        matrix = tensor.detach().double().reshape(len(tensor), -1).numpy()
        matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        sizes = np.sort(np.abs(matrix), axis=None)
        levels = np.vstack([levels, scaled(sizes[np.linspace(0, sizes.size - 1, LEVELS).astype(int)])])
        centred = matrix - matrix.mean(0, keepdims=True)
        centred = scaled((centred - centred.mean(1, keepdims=True)).ravel())
        random = np.random.default_rng(matrix.shape)  # the same for everybody
        places, signs = random.integers(WIDTH, size=centred.size), random.choice((-1.0, 1.0), size=centred.size)
        sketches = np.vstack([sketches, scaled(np.bincount(places, centred * signs, WIDTH))])
        shapes = np.vstack([shapes, matrix.shape])
    return {"shapes": shapes, "sketches": sketches.astype(np.float32), "levels": levels.astype(np.float32)}


def is_compared(tensor):
    """Return whether a tensor is a matrix or kernel of finite numbers, of a size that is informative."""
    plain = tensor.layout == torch.strided and tensor.is_floating_point() and tensor.device.type == "cpu"
    return plain and tensor.ndim > 1 and FEWEST <= tensor.numel() <= MOST and bool(torch.isfinite(tensor).all())


def scaled(vector):
    """Return a vector of length 1, or zeros."""
    return vector / max(np.linalg.norm(vector), 1e-30)


def compare_weights(one, other):
    """Return the similarity of two checkpoints, from what `sketch_weights` returned for each: the mean cosine of their
    tensors, each paired with the nearest one of its shape whatever its name, weighted by size; 1 if the tensors hold
    the same numbers in a different order."""
    sizes = [of["shapes"].prod(axis=1) for of in (one, other)]
    if not (len(sizes[0]) and len(sizes[1])):
        return 0.0
    alike = reordered = 0.0
    for shape in {(*shape,) for shape in one["shapes"].tolist()} & {(*shape,) for shape in other["shapes"].tolist()}:
        here, there = ((of["shapes"] == shape).all(axis=1) for of in (one, other))
        cosines = one["sketches"][here] @ other["sketches"][there].T
        apart = np.abs(one["levels"][here][:, None] - other["levels"][there][None]).max(axis=2)
        varied = one["levels"][here].std(axis=1, keepdims=True) > SAME_LEVELS  # everybody has zeros and ones
        size = shape[0] * shape[1]
        while cosines.size:
            row, column = np.unravel_index(cosines.argmax(), cosines.shape)
            alike += size * float(cosines[row, column])
            cosines = np.delete(np.delete(cosines, row, 0), column, 1)
        while apart.size:
            row, column = np.unravel_index(apart.argmin(), apart.shape)
            reordered += size * float(apart[row, column] < SAME_LEVELS and varied[row, 0])
            apart, varied = np.delete(np.delete(apart, row, 0), column, 1), np.delete(varied, row, 0)
    total = max(map(np.sum, sizes))
    return 1.0 if reordered == total else float(alike / total)

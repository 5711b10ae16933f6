"""The splits, the dataset, its batches, and random seeds."""

import random
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lab.cli import ROOT, LabError, command
from lab.files import read_arrays


def load_split(path):
    """Return images uint8 [N, 28, 28] and labels uint8 [N] of a split.

    Raises LabError if the file is missing, damaged or not an npz, contains pickled objects, or does not have the keys,
    shapes, dtypes and labels of a split.
    """
    path = Path(path)
    if not path.is_file():
        is_own = path.absolute().parent == ROOT / "dataset"
        hint = f" To rebuild the lab's splits:\nnext: {command('dataset/prepare.py')}" if is_own else ""
        raise LabError(f"{path} does not exist: expected the npz of a split.{hint}")
    images, labels = read_arrays(path, "images", "labels")
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28) or len(images) == 0:
        raise LabError(f"{path}: expected images uint8 [N, 28, 28], got {images.dtype} {list(images.shape)}.")
    if labels.dtype != np.uint8 or labels.shape != (len(images),):
        raise LabError(f"{path}: expected labels uint8 [{len(images)}], got {labels.dtype} {list(labels.shape)}.")
    if labels.max() > 9:
        raise LabError(f"{path}: expected labels from 0 to 9, got {labels.max()} at index {labels.argmax()}.")
    return images, labels


class MNISTDataset(Dataset):
    """Pictures float32 [28, 28] in [0, 1] and labels int64, from a split as `load_split` returns it.

    `transform` maps one batch of pictures [B, 28, 28] (B = 1 for a single item) to another. `device` is where the whole
    split is stored and its pictures are returned. Pictures uint8 [N, 3, H, W] work in the same way.
    """

    def __init__(self, images, labels, transform=None, device="cpu"):
        self.images = torch.as_tensor(images, device=device)
        self.labels = torch.as_tensor(labels, device=device).long()
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        """Return one picture float32 [28, 28] and its label, an int64 scalar."""
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices):
        """Return a batch, float32 [B, 28, 28] and int64 [B], with one indexing operation.

        The standard DataLoader calls this instead of calling `__getitem__` B times.
        """
        indices = torch.as_tensor(indices, device=self.images.device)
        images = self.images[indices].float().div_(255)
        if self.transform is not None:
            images = self.transform(images)
        return images, self.labels[indices]


def batches(dataset, batch_size, generator=None):
    """Return a DataLoader over a dataset with `__getitems__`; it shuffles if a torch.Generator is given.

    The collate function is the identity, because `__getitems__` returns whole batches.
    """
    shuffle = generator is not None
    return DataLoader(dataset, batch_size, shuffle, generator=generator, collate_fn=lambda batch: batch)


def set_random_seed(seed):
    """Seed Python, NumPy and PyTorch (CPU and GPU)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed % 2**63)


def get_rng_state():
    """Return the state of every generator seeded by `set_random_seed`, as tensors and plain Python values."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.as_tensor(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
    }


def set_rng_state(state):
    """Restore the state returned by `get_rng_state`."""
    name, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])

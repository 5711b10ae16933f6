"""Pictures in and out: the splits, the dataset, random seeds, picture sheets, and files that are written whole."""

import argparse
import contextlib
import ctypes
import math
import os
import random
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset


class LabError(Exception):
    """An error that the user can mend: its text says what was expected, what came and what to do."""


def run_command(main):
    """Run a command's `main`: a LabError, or a file that cannot be read or written, ends as one message and exit code
    2, Ctrl-C as exit code 130."""
    keep_freed_memory()
    try:
        main()
    except (LabError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)


def number(kind, low, inclusive=True, below=math.inf):
    """Return an argparse type: an int or float that is at least (or above) `low`, and below `below`."""

    def parse(text):
        value = kind(text)
        if not low <= value < below or (value == low and not inclusive):  # NaN and infinity fail too
            bound = f"{'of at least' if inclusive else 'above'} {low}" + (
                f" and below {below:g}" if below < math.inf else ""
            )
            raise argparse.ArgumentTypeError(f"expected a number {bound}, got {text}")
        return value

    parse.__name__ = kind.__name__  # argparse prints it: invalid int value
    return parse


def device(text):
    """An argparse type: the name of a device that works here."""
    try:
        torch.zeros(1, device=text)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise argparse.ArgumentTypeError(f"{text} is not to be had here ({reason}): try --device cpu") from error
    return text


def default_device():
    """Return cuda where there is such a GPU, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def keep_freed_memory():
    """Have glibc keep the memory of freed tensors for the next ones; elsewhere nothing happens.

    By default each large block goes back to the kernel, which zeroes its pages anew: a third of a convolution's time.
    """
    trim_threshold, mmap_threshold = -1, -3  # the parameters' numbers in malloc.h
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(trim_threshold, 2**30)
        libc.mallopt(mmap_threshold, 2**25)  # the largest that glibc takes


@contextlib.contextmanager
def write_whole(path):
    """Yield a temporary path with the same suffix; when the block ends well, rename it to `path`.

    A reader, or a kill at any moment, sees the old file or the new one and never half of one.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def newest(folder, pattern):
    """Return the most recently changed file under a folder that matches a pattern, None if there is none."""
    return max(Path(folder).glob(pattern), key=lambda path: path.stat().st_mtime, default=None)


def load_split(path):
    """Return images uint8 [N, 28, 28] and labels uint8 [N] of a split.

    Raises LabError if the file is missing, is no npz, holds pickled objects, or has other keys, shapes, dtypes or
    labels than a split has.
    """
    path = Path(path)
    if not path.is_file():
        raise LabError(f"{path} does not exist. `python dataset/prepare.py` rebuilds the splits in dataset/.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = {"images", "labels"} - set(arrays.files)
            if missing:
                raise LabError(f"{path} has no array {' and '.join(sorted(missing))}: it holds {arrays.files}.")
            images, labels = arrays["images"], arrays["labels"]
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise LabError(f"{path} is not a readable npz of plain arrays ({error}).") from error
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28) or len(images) == 0:
        raise LabError(f"{path}: expected images uint8 [N, 28, 28], got {images.dtype} {list(images.shape)}.")
    if labels.dtype != np.uint8 or labels.shape != (len(images),):
        raise LabError(f"{path}: expected labels uint8 [{len(images)}], got {labels.dtype} {list(labels.shape)}.")
    if labels.max() > 9:
        raise LabError(f"{path}: expected labels from 0 to 9, got {labels.max()} at index {labels.argmax()}.")
    return images, labels


class MNISTDataset(Dataset):
    """Pictures float32 [28, 28] in [0, 1] and labels int64, from a split as `load_split` returns it.

    `transform` maps one batch of pictures [B, 28, 28] (B = 1 for a single item) to another. `device` is where the
    whole split lives and where its pictures come out. Pictures uint8 [N, 3, H, W] are served the same way.
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

        The standard DataLoader calls this in place of B calls of `__getitem__`.
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
    return DataLoader(
        dataset, batch_size, shuffle=generator is not None, generator=generator, collate_fn=lambda batch: batch
    )


def set_random_seed(seed):
    """Seed Python, NumPy and PyTorch (CPU and GPU)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed % 2**63)


def get_rng_state():
    """Return the state of every generator that `set_random_seed` seeds, as tensors and plain Python values."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.as_tensor(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
    }


def set_rng_state(state):
    """Put back what `get_rng_state` returned."""
    name, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def to_uint8(images):
    """Return pictures in [0, 1], an array or a tensor, rounded to uint8 [0, 255]."""
    return (np.asarray(images).clip(0, 1) * 255).round().astype(np.uint8)


def tile(rows):
    """Return one picture uint8 of rows of pictures, each with a white edge; rows as in `save_sheet`."""
    rows = np.asarray(rows)
    if rows.dtype != np.uint8:
        rows = to_uint8(rows)
    count, columns, height, width = rows.shape[:4]
    padded = np.full((count, columns, height + 2, width + 2, *rows.shape[4:]), 255, np.uint8)
    padded[:, :, 1:-1, 1:-1] = rows
    return np.concatenate(np.concatenate(padded, axis=1), axis=1)


def save_sheet(path, rows, title, row_titles=None):
    """Draw pictures as a sheet and write it as PNG.

    rows: uint8 or float in [0, 1], [R, C, H, W] (grey) or [R, C, H, W, 3]; row_titles: R strings at the left.
    """
    from matplotlib.figure import Figure

    sheet = tile(rows)
    count, columns = len(rows), len(rows[0])

    inch = 0.45  # a picture's width on the sheet
    figure = Figure(figsize=(columns * inch + 1.2, count * inch + 0.6), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(sheet, cmap="gray", interpolation="nearest", vmin=0, vmax=255)
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    if row_titles is not None:
        height = len(sheet) / count
        axes.set_yticks([(row + 0.5) * height - 0.5 for row in range(count)], row_titles, fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    with write_whole(path) as temporary:
        figure.savefig(temporary, dpi=120)

"""Derive a test set that nobody can look up: the test split's pictures, each under its own small random map.

python -m ta hidden --seed SECRET --out hidden.npz
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage.transform import AffineTransform, warp

from data_utils import load_split
from lab.classifier import read_digits
from lab.cli import ROOT, LabError
from lab.files import sha256, write_whole

TEST_SPLIT = ROOT / "dataset" / "test.npz"
ROTATION = np.radians(8)
SCALE = 0.07
SHEAR = np.radians(5)
SHIFT = 0.9  # pixels
MIN_ACCURACY = 0.97  # of the classifier; below it the pictures would no longer be clean digits
CENTRE = 13.5  # of 28 pixels, counted from 0


@dataclass
class HiddenSet:
    """images uint8 [N, 28, 28]; labels uint8 [N]; gen_seed: of the codes to generate from; digest: of the file."""

    images: np.ndarray
    labels: np.ndarray
    gen_seed: int
    digest: str


def add_arguments(parser):
    parser.add_argument("--seed", required=True, help="your secret, any text; the same text gives the same bytes")
    parser.add_argument("--out", type=Path, required=True, help="the npz to write")
    parser.add_argument("--per_digit", type=int, default=1000, help="pictures per digit")
    parser.add_argument("--force", action="store_true", help="overwrite an existing test set")


def main(args):
    if args.per_digit < 1:
        raise LabError(f"argument --per_digit: expected a number of at least 1, got {args.per_digit}.")
    if args.out.suffix != ".npz":
        raise LabError(f"argument --out: expected the name of an npz file, such as hidden.npz, got {args.out}.")
    if not args.seed:
        raise LabError("argument --seed: expected a non-empty text.")
    if args.out.exists() and not args.force:
        raise LabError(
            f"{args.out} already exists, and once it is overwritten nobody can be graded on it again: give a different "
            "--out, or --force to overwrite it."
        )
    images, labels, gen_seed = make_hidden(*load_split(TEST_SPLIT), args.seed, args.per_digit)
    accuracy = (read_digits(images) == labels).mean()
    print(f"{len(images):,} pictures, {args.per_digit} per digit; accuracy of the classifier {accuracy:.4f}")
    if accuracy < MIN_ACCURACY and len(images) >= 1000:
        raise LabError(f"expected an accuracy of at least {MIN_ACCURACY}: no clean digits; nothing is written.")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(args.out) as temporary:
        np.savez_compressed(temporary, images=images, labels=labels, gen_seed=gen_seed)
    print(f"wrote {args.out}; keep it and the seed to yourself")


def load_hidden(path):
    """Return the HiddenSet of a split; if `ta hidden` did not make it, codes are drawn with inference.py's seed."""
    if path.is_dir():
        raise LabError(f"{path} is a folder: expected an npz file.")
    if not path.is_file():
        raise LabError(f"{path} does not exist: python -m ta hidden --seed SECRET --out {path} creates a test set.")
    try:
        images, labels = load_split(path)
        with np.load(path, allow_pickle=False) as arrays:
            gen_seed = int(arrays["gen_seed"]) if "gen_seed" in arrays.files else 0
    except LabError:
        raise
    except Exception as error:  # damaged bytes can raise anything in a parser
        raise LabError(f"{path} is not a readable test set ({type(error).__name__}: {error}).") from error
    return HiddenSet(images, labels, gen_seed, sha256(path.read_bytes()))


def make_hidden(images, labels, secret, per_digit):
    """Return a test set drawn from a split: images uint8 [10 * per_digit, 28, 28] in random order, labels uint8, and
    gen_seed int64, the seed of the codes that digits are generated from.

    Each digit's pictures are used in random order, repeatedly if there are too few, each time under a new random map.
    The same secret gives the same arrays.
    """
    rng = np.random.default_rng(list(hashlib.sha256(f"hidden {secret}".encode()).digest()))
    chosen = []
    for digit in range(10):
        of_digit = np.flatnonzero(labels == digit)
        if len(of_digit) == 0:
            raise LabError(f"the split has no picture of a {digit}: expected pictures of all ten digits.")
        rounds = -(-per_digit // len(of_digit))
        chosen.append(np.concatenate([rng.permutation(of_digit) for _ in range(rounds)])[:per_digit])
    order = rng.permutation(np.concatenate(chosen))
    moved = np.stack([move(images[index], rng) for index in order])
    return moved, labels[order], np.int64(rng.integers(2**62))


def move(image, rng):
    """Return a picture uint8 [28, 28] turned, scaled, sheared and shifted at random, with bicubic interpolation."""
    rotation, shear = rng.uniform(-1, 1, 2) * (ROTATION, SHEAR)
    scale = 1 + rng.uniform(-SCALE, SCALE, 2)
    shift = rng.uniform(-SHIFT, SHIFT, 2)
    to_centre = AffineTransform(translation=(-CENTRE, -CENTRE))
    back = AffineTransform(translation=(CENTRE + shift[0], CENTRE + shift[1]))
    turn = AffineTransform(scale=tuple(scale), rotation=rotation, shear=shear)
    moved = warp(image.astype(np.float64), (to_centre + turn + back).inverse, order=3, preserve_range=True)
    return moved.clip(0, 255).round().astype(np.uint8)

"""Rebuild train.npz, valid.npz and test.npz from the four original MNIST files.

    python dataset/prepare.py                     # torchvision downloads the files
    python dataset/prepare.py --idx_dir FOLDER    # uses existing files, plain or .gz

The original training file is split 5:1 into train and valid, stratified by digit; the original test file is the test
split. The same input gives the same bytes.
"""

import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from lab.cli import LabError, Parser, run_command
from lab.files import sha256, write_whole

MD5 = {  # of the uncompressed files
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
IMAGE_HEADER, LABEL_HEADER = 16, 8  # bytes before the data of an IDX file
SPLIT_SEED = 0


def parse_args():
    parser = Parser(description=__doc__)
    parser.add_argument("--idx_dir", type=Path, help="folder with the four original files (default: download them)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the three splits")
    return parser.parse_args()


def download(folder):
    """Download the original files into `folder` with torchvision; return the folder that contains them."""
    from torchvision.datasets import MNIST

    try:
        return Path(MNIST(folder, download=True).raw_folder)
    except (RuntimeError, OSError) as error:
        raise LabError(
            f"MNIST could not be downloaded ({error}). Get the four original files in a different way, put them into "
            "one folder and run: python dataset/prepare.py --idx_dir FOLDER"
        ) from error


def read_checked(folder, name):
    """Return the bytes of one original file, which may be gzipped, after checking its MD5 sum."""
    plain, packed = folder / name, folder / f"{name}.gz"
    if plain.is_file():
        content = plain.read_bytes()
    elif packed.is_file():
        try:
            content = gzip.decompress(packed.read_bytes())
        except (OSError, EOFError) as error:
            raise LabError(f"{packed} is not a complete gzip file ({error}). Download it again.") from error
    else:
        raise LabError(f"{plain} is missing, and so is {packed.name}: expected the four files {', '.join(MD5)}.")
    md5 = hashlib.md5(content).hexdigest()
    if md5 != MD5[name]:
        raise LabError(
            f"{name} in {folder} is not the original file: expected MD5 {MD5[name]}, got {md5} "
            f"({len(content):,} bytes). Download it again."
        )
    return content


def read_pair(folder, prefix):
    """Return images uint8 [N, 28, 28] and labels uint8 [N] of the original `train` or `t10k` files."""
    images = np.frombuffer(read_checked(folder, f"{prefix}-images-idx3-ubyte"), np.uint8, offset=IMAGE_HEADER)
    labels = np.frombuffer(read_checked(folder, f"{prefix}-labels-idx1-ubyte"), np.uint8, offset=LABEL_HEADER)
    return images.reshape(-1, 28, 28), labels


def stratified_split(labels, valid_size, seed):
    """Return sorted indices (train, valid) such that valid has `valid_size` pictures and each digit has the same share
    in both, up to rounding (largest remainders first). RandomState, because numpy guarantees that its stream never
    changes."""
    quota = np.bincount(labels, minlength=10) * valid_size / len(labels)
    take = np.floor(quota).astype(int)
    take[np.argsort(take - quota, kind="stable")[: valid_size - take.sum()]] += 1
    random = np.random.RandomState(seed)
    valid = np.concatenate([random.permutation(np.flatnonzero(labels == digit))[: take[digit]] for digit in range(10)])
    return np.setdiff1d(np.arange(len(labels)), valid), np.sort(valid)


def main():
    args = parse_args()
    folder = args.idx_dir or download(args.out / "original")
    images, labels = read_pair(folder, "train")
    train, valid = stratified_split(labels, valid_size=len(labels) // 6, seed=SPLIT_SEED)
    splits = {
        "train": (images[train], labels[train]),
        "valid": (images[valid], labels[valid]),
        "test": read_pair(folder, "t10k"),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    for name, (images, labels) in splits.items():
        path = args.out / f"{name}.npz"
        with write_whole(path) as temporary:
            np.savez_compressed(temporary, images=images, labels=labels)
        print(f"{path}  {len(images):,} pictures  sha256 {sha256(path.read_bytes())}")


if __name__ == "__main__":
    run_command(main)

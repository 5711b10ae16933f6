"""The pictures of the lab: CIFAR-10, or patches of the colour photographs that scikit-image brings along."""

from pathlib import Path

import numpy as np
import skimage.data
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

from lab.cli import LabError

DOWNLOADS = Path("runs/cifar10")
VALID_SHARE = 0.1  # of CIFAR-10's training pictures, the last ones
GROUPS = {  # the classes of the patches: photographs to train on → the one to test on
    "close-ups": (("astronaut", "coffee"), "chelsea"),
    "sky": (("rocket",), "hubble_deep_field"),
    "tissue": (("immunohistochemistry",), "retina"),
}
PER_PHOTOGRAPH = {"train": 4000, "valid": 250, "test": 1000}  # patches: 20,000 in all
TRAIN_COLUMNS = 3 / 4  # of a photograph to train on; the others are for validation


def load_cifar(data_root):
    """Return (images, labels) of a training, a validation and a test split: uint8 [N, 3, 32, 32] and int64 [N].

    data_root: the folder that holds cifar-10-batches-py; None downloads it. Raises LabError if the pictures are
    missing, damaged or cannot be downloaded.
    """
    root = data_root or DOWNLOADS
    try:
        sets = [CIFAR10(root, train=train, download=data_root is None) for train in (True, False)]
    except (RuntimeError, OSError) as error:
        listed = [*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])]
        paths = ((root / CIFAR10.base_folder / name, md5) for name, md5 in listed)
        path = next((path for path, md5 in paths if not check_integrity(path, md5)), root)
        text = f"{path} is damaged (its checksum is wrong)" if path.exists() else f"there is no {path}"
        text += "" if data_root else f", and {CIFAR10.url} cannot be reached ({error})"
        text += f": get {CIFAR10.filename}, unpack it, and give --data_root the folder that holds {CIFAR10.base_folder}"
        raise LabError(f"{text}. Without CIFAR-10, use --patches.") from error
    (images, labels), test = [(dataset.data.transpose(0, 3, 1, 2), np.array(dataset.targets)) for dataset in sets]
    train_num = len(images) - max(1, int(VALID_SHARE * len(images)))
    return [(images[:train_num], labels[:train_num]), (images[train_num:], labels[train_num:]), test]


def cut_patches():
    """Return the same three splits of patches, always the same ones; labels: the number of a patch's group.

    Test patches are of photographs that no training patch is of, and validation patches of columns that none reaches.
    """
    random = np.random.default_rng(0)
    splits = {split: ([], []) for split in PER_PHOTOGRAPH}
    for label, (training, testing) in enumerate(GROUPS.values()):
        parts = [("test", getattr(skimage.data, testing)())]
        for photograph in (getattr(skimage.data, name)() for name in training):
            border = int(TRAIN_COLUMNS * photograph.shape[1])
            parts += [("train", photograph[:, :border]), ("valid", photograph[:, border:])]
        for split, part in parts:
            splits[split][0].append(patches_of(part, PER_PHOTOGRAPH[split], random))
            splits[split][1].append(np.full(PER_PHOTOGRAPH[split], label))
    orders = [random.permutation(sum(map(len, labels))) for _, labels in splits.values()]
    pairs = zip(splits.values(), orders, strict=True)
    return [(np.concatenate(images)[order], np.concatenate(labels)[order]) for (images, labels), order in pairs]


def patches_of(photograph, count, random):
    """Return random squares of a photograph uint8 [H, W, 3], scaled down to [count, 3, 32, 32].

    Their sides are 32, 64, 96, ... pixels, up to half of the photograph's shorter side.
    """
    scaled = []
    for scale in range(1, min(photograph.shape[:2]) // 64 + 1):
        height, width = (size // scale for size in photograph.shape[:2])
        blocks = photograph[: height * scale, : width * scale].reshape(height, scale, width, scale, 3)
        scaled.append(blocks.mean(axis=(1, 3)).round().astype(np.uint8))
    patches = np.empty((count, 3, 32, 32), np.uint8)
    for patch in patches:
        image = scaled[random.integers(len(scaled))]
        top, left = (random.integers(size - 31) for size in image.shape[:2])
        patch[:] = image[top : top + 32, left : left + 32].transpose(2, 0, 1)
    return patches

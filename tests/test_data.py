"""The splits, the dataset, and files that are written whole."""

import gzip
import hashlib
import io
import runpy
import sys
import zipfile

import numpy as np
import pytest
import torch
from conftest import ROOT, is_read_or_refused

from data_utils import MNISTDataset, batches, load_split
from lab.cli import LabError
from lab.files import write_whole

VALID = ROOT / "dataset" / "valid.npz"


def test_splits_have_their_sizes_and_every_digit_in_the_same_share():
    train, valid = (load_split(ROOT / "dataset" / f"{name}.npz")[1] for name in ("train", "valid"))
    assert (len(train), len(valid)) == (50_000, 10_000)
    shares = np.bincount(train) / np.bincount(valid)
    assert np.allclose(shares, 5, atol=0.01)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((3, 28, 28), np.uint8)}, "no array labels"),
        ({"images": np.zeros((3, 28, 28), np.float32), "labels": np.zeros(3, np.uint8)}, "got float32 [3, 28, 28]"),
        ({"images": np.zeros((3, 784), np.uint8), "labels": np.zeros(3, np.uint8)}, "got uint8 [3, 784]"),
        ({"images": np.zeros((0, 28, 28), np.uint8), "labels": np.zeros(0, np.uint8)}, "got uint8 [0, 28, 28]"),
        ({"images": np.zeros((3, 28, 28), np.uint8), "labels": np.zeros(2, np.uint8)}, "expected labels uint8 [3]"),
        ({"images": np.zeros((3, 28, 28), np.uint8), "labels": np.zeros(3, np.int64)}, "got int64 [3]"),
        ({"images": np.zeros((3, 28, 28), np.uint8), "labels": np.array([1, 10, 2], np.uint8)}, "got 10 at index 1"),
        ({"images": np.array([{}]), "labels": np.zeros(1, np.uint8)}, "not a readable npz of plain arrays"),
    ],
)
def test_a_bad_split_is_told_what_is_wrong(tmp_path, arrays, message):
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(LabError) as error:
        load_split(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no npz at all", VALID.read_bytes()[:100_000]])
def test_a_broken_file_is_no_split(tmp_path, content):
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(LabError, match="not a readable npz"):
        load_split(path)


def test_a_flipped_bit_in_a_split_is_told_and_never_a_traceback(tmp_path):
    path = tmp_path / "damaged.npz"
    images = np.arange(3 * 784, dtype=np.uint16).astype(np.uint8).reshape(3, 28, 28)
    np.savez_compressed(path, images=images, labels=np.uint8([1, 2, 3]))
    assert is_read_or_refused(lambda: load_split(path), path) > 500


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"(3, 28, 28)", b"(9**9**9,)"),
        (b"(3, 28, 28)", b"(99999999,)"),
        (b"|u1", b"|O8"),
        (b"'fortran", b"'\xff\xfertran"),
    ],
)
def test_a_header_that_asks_for_too_much_is_refused(tmp_path, old, new):
    with io.BytesIO() as file:
        np.save(file, np.zeros((3, 28, 28), np.uint8))
        array = file.getvalue().replace(old, new.ljust(len(old)))
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2):
        with zipfile.ZipFile(tmp_path / "odd.npz", "w", compression) as archive:
            archive.writestr("images.npy", array)
            archive.writestr("labels.npy", array)
        with pytest.raises(LabError, match=r"not a readable npz|expected images"):
            load_split(tmp_path / "odd.npz")


@pytest.mark.parametrize("transform", [None, lambda images: 1 - images])
def test_one_item_and_a_batch_agree(transform):
    dataset = MNISTDataset(*load_split(VALID), transform=transform)
    indices = [5, 9_999, 0, 5]
    images, labels = dataset.__getitems__(indices)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert images.shape == (4, 28, 28)
    assert images.min() >= 0
    assert images.max() == 1
    for row, index in enumerate(indices):
        image, label = dataset[index]
        assert torch.equal(image, images[row])
        assert torch.equal(label, labels[row])


def test_the_loader_fetches_each_picture_once_in_whole_batches():
    dataset = MNISTDataset(*load_split(VALID))
    dataset.labels = torch.arange(10_000)  # names each picture
    sizes, seen = [], []
    for images, labels in batches(dataset, 300, torch.Generator().manual_seed(1)):
        sizes.append(len(images))
        seen.append(labels)
    seen = torch.cat(seen)
    assert sizes == [300] * 33 + [100]
    assert torch.equal(seen.sort().values, torch.arange(10_000))
    assert not torch.equal(seen, torch.arange(10_000))


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), write_whole(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def original_files(tmp_path, monkeypatch):
    """Files laid out as the original ones, 1,200 and 100 pictures, one of them gzipped, and their MD5 sums."""
    images, labels = load_split(VALID)
    folder = tmp_path / "idx"
    folder.mkdir()
    parts = {"train": slice(0, 1_200), "t10k": slice(1_200, 1_300)}
    md5 = {}
    for name, part in parts.items():
        for kind, content in (
            ("images-idx3", bytes(16) + images[part].tobytes()),
            ("labels-idx1", bytes(8) + labels[part].tobytes()),
        ):
            file_name = f"{name}-{kind}-ubyte"
            md5[file_name] = hashlib.md5(content).hexdigest()
            (folder / file_name).write_bytes(content)
    packed = folder / "t10k-images-idx3-ubyte"
    (folder / f"{packed.name}.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    prepare = runpy.run_path(str(ROOT / "dataset" / "prepare.py"))
    monkeypatch.setitem(prepare["read_checked"].__globals__, "MD5", md5)
    return folder, prepare["main"]


def test_prepare_gives_the_same_bytes_from_the_same_files(original_files, tmp_path, monkeypatch):
    folder, main = original_files
    for out in ("a", "b"):
        monkeypatch.setattr(sys, "argv", ["prepare.py", "--idx_dir", str(folder), "--out", str(tmp_path / out)])
        main()
    for name in ("train", "valid", "test"):
        assert (tmp_path / "a" / f"{name}.npz").read_bytes() == (tmp_path / "b" / f"{name}.npz").read_bytes()
    train, valid, test = (load_split(tmp_path / "a" / f"{name}.npz")[1] for name in ("train", "valid", "test"))
    assert (len(train), len(valid), len(test)) == (1_000, 200, 100)
    assert np.abs(np.bincount(valid) * 6 - np.bincount(np.concatenate([train, valid]))).max() <= 6


def test_prepare_names_the_file_that_is_not_the_original(original_files, tmp_path, monkeypatch):
    folder, main = original_files
    monkeypatch.setattr(sys, "argv", ["prepare.py", "--idx_dir", str(folder), "--out", str(tmp_path)])
    damaged = folder / "train-labels-idx1-ubyte"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(LabError, match=r"train-labels-idx1-ubyte in .* is not the original file"):
        main()
    damaged.unlink()
    with pytest.raises(LabError, match="train-labels-idx1-ubyte is missing"):
        main()

"""The hidden test set: reproducible, balanced, clean, and of no use to a memory of MNIST."""

import numpy as np
import pytest
import torch
from conftest import ROOT

import grade
from data_utils import load_split
from lab.tasks import TASKS
from ta.hidden import make_hidden


@pytest.fixture(scope="module")
def test_split():
    return load_split(ROOT / "dataset" / "test.npz")


def test_the_same_secret_gives_the_same_bytes_and_clean_balanced_digits(lab_ta, tmp_path):
    printed = [lab_ta("hidden", "--seed", seed, "--out", tmp_path / f"{number}.npz", "--per_digit", 200)
               for number, seed in enumerate(("one", "one", "two"))]  # fmt: skip
    first, again, other = [(tmp_path / f"{number}.npz").read_bytes() for number in range(3)]
    assert first == again != other
    images, labels = load_split(tmp_path / "0.npz")
    assert images.shape == (2000, 28, 28)
    assert np.bincount(labels).tolist() == [200] * 10
    accuracy = float(printed[0][1].split("classifier ")[1].split()[0])
    assert accuracy > 0.97


def test_a_digit_with_too_few_pictures_is_used_again_under_other_maps(test_split):
    images, labels = (array[:100] for array in test_split)
    hidden, hidden_labels, _ = make_hidden(images, labels, "secret", 50)
    assert np.bincount(hidden_labels).tolist() == [50] * 10
    assert len(np.unique(hidden.reshape(500, -1), axis=0)) == 500


def test_a_decoder_that_looks_up_memorised_pictures_scores_clearly_worse(test_split):
    """Its code is the index of the nearest picture of the public split, and its decoder holds that split."""
    images, labels = (array[:2000] for array in test_split)
    hidden, hidden_labels, _ = make_hidden(images, labels, "secret", 100)

    def look_up(pictures):
        a, b = (torch.tensor(array).reshape(-1, 784).float() for array in (pictures, images))
        codes = torch.cdist(a, b).argmin(dim=1)
        return images[codes], codes[:, None].half().numpy()

    public = grade.score_task(TASKS["VAEwolabel"], images, labels, *look_up(images))
    secret = grade.score_task(TASKS["VAEwolabel"], hidden, hidden_labels, *look_up(hidden))
    assert public["mse"] == 0 and public["score"] == 10
    assert secret["mse"] > 0.015
    assert secret["raw"] < public["raw"] - 2

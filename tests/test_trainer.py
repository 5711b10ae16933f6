"""The training loop itself, on a model that is no VAE."""

import numpy as np
import pytest
import torch

from data_utils import MNISTDataset
from lab.cli import LabError
from lab.plots import readable_range
from trainer import Trainer, weighted_means


class Scale(torch.nn.Module):
    """Has one number to learn."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))


def squared_error(model, batch):
    images, labels = batch
    return {"loss": (images.mean(dim=(1, 2)) - model.weight).pow(2).mean(), "labels": labels.float().mean()}


@pytest.fixture
def dataset():
    random = np.random.default_rng(0)
    return MNISTDataset(random.integers(0, 256, (70, 28, 28), np.uint8), np.arange(70, dtype=np.uint8) % 10)


def test_a_short_last_batch_does_not_count_double(dataset, tmp_path):
    terms = [{"loss": torch.tensor(1.0)}, {"loss": torch.tensor(4.0)}]
    assert weighted_means(terms, [64, 6]) == {"loss": pytest.approx((64 + 4 * 6) / 70)}
    trainer = Trainer(Scale(), squared_error, dataset, dataset, epochs=1, batch_size=64)
    (row,) = trainer.train(tmp_path)
    assert row["train_labels"] == row["valid_labels"] == pytest.approx(4.5)


def test_validation_comes_every_pred_step_and_at_the_end_of_an_epoch(dataset, tmp_path):
    trainer = Trainer(Scale(), squared_error, dataset, dataset, epochs=2, batch_size=10, pred_step=3, eval_num=20)
    history = trainer.train(tmp_path)
    assert [row["step"] for row in history] == [3, 6, 7, 10, 13, 14]
    assert history[-1]["valid_loss"] < history[0]["valid_loss"]


def test_the_learning_rate_rises_then_falls_to_zero(dataset):
    trainer = Trainer(Scale(), squared_error, dataset, dataset, epochs=20, batch_size=10, lr=0.5)
    rates = [trainer.learning_rate(step) for step in range(140)]
    assert max(rates) == 0.5
    assert rates.index(0.5) == 6
    assert 0 < rates[-1] < 0.01
    assert np.all(np.diff(rates[7:]) < 0)


def test_a_model_without_parameters_is_told_why(dataset):
    model = torch.nn.Module()
    model.layers = [torch.nn.Linear(1, 1)]
    with pytest.raises(LabError, match="no parameters to train"):
        Trainer(model, squared_error, dataset, dataset)


def test_nothing_is_written_when_the_first_batch_fails(dataset, tmp_path):
    def fails(model, batch):
        raise LabError("wrong shape")

    with pytest.raises(LabError, match="wrong shape"):
        Trainer(Scale(), fails, dataset, dataset).train(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_parts_of_any_loss_are_logged_and_must_stay_the_same(dataset, tmp_path, capsys):
    trainer = Trainer(Scale(), squared_error, dataset, dataset, epochs=2, batch_size=64, landmark=0.3)
    trainer.train(tmp_path)
    assert "(labels 4.50)  valid" in capsys.readouterr().out
    with pytest.raises(LabError, match="same parts for every batch"):
        weighted_means([{"loss": torch.tensor(1.0)}, {"loss": torch.tensor(1.0), "kl": torch.tensor(1.0)}], [1, 1])


def test_the_curve_shows_where_the_loss_can_be_read():
    history = [{"step": step, "train_loss": 9000 / step**2 + 30, "valid_loss": 25.0} for step in range(1, 21)]
    low, high = readable_range(history)
    assert low == 0 and max(row["train_loss"] for row in history[:2]) > 1000 and high == history[2]["train_loss"]
    assert readable_range([{"step": 1, "train_loss": -5.0, "valid_loss": float("nan")}]) == (-5, 0)

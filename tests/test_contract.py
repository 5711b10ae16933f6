"""A model's own loss: what it may return, how that is logged, and what is said when it returns something else."""

import csv

import pytest
import torch

from lab.cli import LabError
from lab.contract import build_model, load_submission
from lab.losses import make_loss

SUBMISSION = """
import torch
from torch import nn

class VAE(nn.Module):
    def __init__(self, latent_dim=20):
        super().__init__()
        self.down, self.up = nn.Linear(784, 2 * latent_dim), nn.Linear(latent_dim, 784)

    def decode(self, z, labels=None):
        return self.up(z).sigmoid().view(-1, 28, 28)

    def forward(self, x, labels=None):
        mu, log_var = self.down(x.flatten(1)).chunk(2, dim=1)
        z = mu + self.training * torch.exp(log_var / 2) * torch.randn_like(mu)
        return self.decode(z), mu, log_var

    def loss(self, SIGNATURE):
        recon, mu, log_var = self(x)
        loss = ((recon - x) ** 2).sum((1, 2)).mean() + 0.01 * mu.square().sum(1).mean()
        return RETURNED
"""


def write(folder, returned, signature="x, labels, var"):
    path = folder / "submission.py"
    path.write_text(SUBMISSION.replace("SIGNATURE", signature).replace("RETURNED", returned))
    return path


def run_loss(path, batches=(3,)):
    """Return what the loss gives for batches of these sizes."""
    module = load_submission(path)
    model, loss = build_model(module, "VAEwolabel", 4), make_loss(module, "VAEwolabel", 0.5)
    return [loss(model, (torch.rand(size, 28, 28), None)) for size in batches]


def test_the_parts_of_an_own_loss_are_logged(lab, small, tmp_path):
    path = write(tmp_path, '{"loss": loss, "spread": mu.std(), "pictures": len(x)}')
    code, _, err = lab(
        *("train.py", "--task", "VAEwolabel", "--submission", path, "--epochs", 1, "--save_dir", tmp_path / "run"),
        *("--train_data", small / "train.npz", "--valid_data", small / "valid.npz"),
    )
    assert code == 0, err
    (history,) = tmp_path.glob("run/**/history.csv")
    row = list(csv.DictReader(history.open()))[-1]
    assert float(row["train_spread"]) > 0 and float(row["valid_pictures"]) == 200
    assert "train_loss" in row and "train_kl" not in row


@pytest.mark.parametrize(
    ("returned", "signature", "message"),
    [
        ("loss", "recon, x, mu, log_var", "expected def loss(self, x, labels, var), but yours is loss(self, recon, x"),
        ('{"total": loss}', "x, labels, var", "got the names 'total'"),
        ("{}", "x, labels, var", "got the names (none)"),
        ('{"loss": loss, 1: loss}', "x, labels, var", "got the names 'loss', 1"),
        ('{"loss": loss.item()}', "x, labels, var", '"loss" of the dict it returns must be one number'),
        ('{"loss": loss, "mu": mu}', "x, labels, var", '"mu" of the dict it returns must be one number'),
        ("loss, mu", "x, labels, var", "must return one number, the mean over the batch"),
        ('{"loss": loss} | ({"odd": 1} if len(x) % 2 else {})', "x, labels, var", "the same names in every batch"),
    ],
)
def test_an_own_loss_that_returns_something_else_is_told_what_is_expected(tmp_path, returned, signature, message):
    with pytest.raises(LabError) as raised:
        run_loss(write(tmp_path, returned, signature), batches=(3, 4))
    assert "VAE.loss" in str(raised.value) and message in str(raised.value)


def test_a_layer_called_loss_is_no_own_loss(tmp_path):
    path = write(tmp_path, "loss")
    text = path.read_text()
    path.write_text(
        text[: text.index("    def loss")].replace("super().__init__()", "super().__init__(); self.loss = nn.MSELoss()")
    )
    with pytest.raises(LabError, match=r"a MSELoss that was assigned to self\.loss: give it a different name"):
        run_loss(path)

"""Retrain the digit classifier of lab/classifier.py, and write its weights to dataset/classifier.pth.

    python dataset/train_classifier.py        # about a minute

The training pictures are shifted, turned and scaled at random, so that it also reads digits that are not centred like
those of MNIST.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_utils import MNISTDataset, load_split, set_random_seed
from lab.classifier import WEIGHTS, DigitClassifier, read_digits
from lab.cli import run_command
from lab.files import write_whole
from trainer import Trainer


def random_affine(images, generator=None):
    """Return pictures [B, 28, 28], each transformed by its own small random map: rotation up to 12 degrees, scale and
    shear up to 10 %, and shift up to 2 pixels."""
    low_to_high = torch.rand(len(images), 6, generator=generator).to(images.device) * 2 - 1
    angle, scale_x, scale_y, shear, shift_x, shift_y = low_to_high.mul(
        torch.tensor([0.21, 0.1, 0.1, 0.1, 2 / 14, 2 / 14], device=images.device)
    ).unbind(1)
    cos, sin = angle.cos(), angle.sin()
    rows = [(1 + scale_x) * cos, shear - sin, shift_x, sin, (1 + scale_y) * cos, shift_y]
    grid = nn.functional.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), [len(images), 1, 28, 28], align_corners=False)
    return nn.functional.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


def main():
    def loss_function(model, batch):
        x, labels = batch
        return {"loss": nn.functional.cross_entropy(model(x), labels)}

    set_random_seed(0)
    folder = WEIGHTS.parent
    train_set = MNISTDataset(*load_split(folder / "train.npz"), transform=random_affine)
    valid_set = MNISTDataset(*load_split(folder / "valid.npz"))
    model = DigitClassifier()
    trainer = Trainer(model, loss_function, train_set, valid_set, epochs=12, batch_size=128, lr=2e-3)
    with TemporaryDirectory() as run_dir:
        trainer.train(run_dir)
    with write_whole(WEIGHTS) as temporary:
        torch.save(model.half().state_dict(), temporary)
    for split in ("valid", "test"):
        images, labels = load_split(folder / f"{split}.npz")
        print(f"accuracy on {split}: {(read_digits(images) == labels).mean():.4f}")


if __name__ == "__main__":
    run_command(main)

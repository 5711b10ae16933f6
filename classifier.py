"""A small digit classifier: it reads generated digits, so that their accuracy can stand beside the score.

    python classifier.py        # trains it again and writes dataset/classifier.pth

The weights in the repository were made by this command. The training pictures are shifted, turned and scaled at random,
so that it also reads digits that are not centred as MNIST's are.
"""

from pathlib import Path

import torch
from torch import nn

from data_utils import MNISTDataset, load_split, set_random_seed
from lab.cli import run_command
from lab.files import write_whole

WEIGHTS = Path(__file__).parent / "dataset" / "classifier.pth"


class DigitClassifier(nn.Module):
    """A convolutional network: pictures float32 [B, 28, 28] in [0, 1] → logits [B, 10]."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Unflatten(1, (1, 28)),
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 96),
            nn.ReLU(),
            nn.Linear(96, 10),
        )

    def forward(self, x):
        return self.layers(x)


def random_affine(images, generator=None):
    """Return pictures [B, 28, 28], each under its own small random map: up to 12 degrees, 10 % in scale and shear, and
    2 pixels."""
    low_to_high = torch.rand(len(images), 6, generator=generator).to(images.device) * 2 - 1
    angle, scale_x, scale_y, shear, shift_x, shift_y = low_to_high.mul(
        torch.tensor([0.21, 0.1, 0.1, 0.1, 2 / 14, 2 / 14], device=images.device)
    ).unbind(1)
    cos, sin = angle.cos(), angle.sin()
    rows = [(1 + scale_x) * cos, shear - sin, shift_x, sin, (1 + scale_y) * cos, shift_y]
    grid = nn.functional.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), [len(images), 1, 28, 28], align_corners=False)
    return nn.functional.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


def load_classifier():
    """Return the trained classifier in eval mode."""
    model = DigitClassifier()
    model.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    return model.float().eval()


@torch.no_grad()
def read_digits(images, batch_size=250):
    """Return the digits uint8 [N] that the classifier reads in pictures uint8 [N, 28, 28]."""
    model = load_classifier()
    pictures = torch.as_tensor(images).split(batch_size)
    return torch.cat([model(batch.float() / 255).argmax(dim=1) for batch in pictures]).byte().numpy()


def main():
    # Only training needs the trainer, and only drawing needs a temporary folder.
    from tempfile import TemporaryDirectory

    from trainer import Trainer

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

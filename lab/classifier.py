"""A small digit classifier that reads generated digits: their accuracy is a diagnostic shown with the score.

dataset/train_classifier.py trained its weights.
"""

import torch
from torch import nn

from lab.cli import ROOT

WEIGHTS = ROOT / "dataset" / "classifier.pth"


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


def load_classifier():
    """Return the trained classifier in eval mode."""
    model = DigitClassifier()
    model.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    return model.float().eval()


@torch.no_grad()
def read_digits(images, batch_size=250):
    """Return the digits uint8 [N] that the classifier predicts for pictures uint8 [N, 28, 28]."""
    model = load_classifier()
    pictures = torch.as_tensor(images).split(batch_size)
    return torch.cat([model(batch.float() / 255).argmax(dim=1) for batch in pictures]).byte().numpy()

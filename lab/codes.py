"""Encodes and decodes whole splits in batches, and checks codes and pictures for shape and range."""

import numpy as np
import torch

from lab.contract import SubmissionError, as_pictures, blame, call, describe, run_forward, watch_decode

ACTIVE = 0.1  # nats of KL above which a dimension counts as active: the KL of an unused one is about 0


@torch.no_grad()
def encode_pictures(model, module, images, labels, batch_size=1000):
    """Return the codes float16 [N, latent_dim] of pictures uint8 [N, 28, 28]: what forward passes to decode.

    labels: uint8 [N], or None in the VAE task. In eval mode reparameterize returns mu, so the codes are deterministic.
    """
    model.eval()
    device = device_of(model)
    codes = []
    with watch_decode(model) as captured:
        for start in range(0, len(images), batch_size):
            x = torch.as_tensor(images[start : start + batch_size], device=device).float() / 255
            captured.clear()
            run_forward(model, module, x, labels_tensor(labels, start, batch_size, device))
            if len(captured) != 1 or not isinstance(captured[0], torch.Tensor):
                raise SubmissionError(
                    f"{type(model).__name__}.forward must call self.decode(z, labels) once to make its picture, but it "
                    f"called it {len(captured)} times: this is where the code z is read.",
                    "bad_shape",
                )
            if captured[0].ndim != 2 or len(captured[0]) != len(x):
                raise SubmissionError(
                    f"{type(model).__name__}.forward must call self.decode with codes [{len(x)}, latent_dim], "
                    f"got {describe(captured[0])}.",
                    "bad_shape",
                )
            codes.append(captured[0].half().cpu().numpy())
    codes = np.concatenate(codes)
    if not np.isfinite(codes).all():
        raise SubmissionError(
            f"{type(model).__name__}.encode returns codes that are not finite as float16 (at most 65504): "
            "keep mu close to the scale of N(0, I).",
            "bad_values",
        )
    return codes


@torch.no_grad()
def decode_codes(model, module, codes, labels, batch_size=1000):
    """Return the pictures uint8 [N, 28, 28] that decode makes from codes [N, latent_dim].

    labels: uint8 [N], or None in the VAE task. Raises SubmissionError for wrong shapes and for values that are not in
    [0, 1] (up to 1e-3) or not finite.
    """
    model.eval()
    device = device_of(model)
    what = f"{type(model).__name__}.decode"
    pictures = []
    for start in range(0, len(codes), batch_size):
        z = torch.as_tensor(codes[start : start + batch_size], device=device).float()
        with blame(what, module):
            recon = call(model.decode, z, labels_tensor(labels, start, batch_size, device))
        recon = as_pictures(recon, len(z), what).float()
        low, high = recon.min().item(), recon.max().item()
        if not (low >= -1e-3 and high <= 1 + 1e-3):  # NaN fails both
            raise SubmissionError(
                f"{what} must return values in [0, 1], got {low:.3g} to {high:.3g}: end the decoder with a sigmoid.",
                "bad_values",
            )
        pictures.append((recon.clamp(0, 1) * 255).round().byte().cpu().numpy())
    return np.concatenate(pictures)


def labels_tensor(labels, start, batch_size, device):
    """Return a batch of labels as int64, or None if there are none."""
    return None if labels is None else torch.as_tensor(labels[start : start + batch_size], device=device).long()


def device_of(model):
    """Return the device of a model's first parameter, the CPU if it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def interpolate(codes, labels, conditional, steps=10):
    """Return codes [lines * steps, latent_dim] on straight lines, and their labels (None in the VAE task).

    Ten lines connect the codes of consecutive digits. In a conditional task, each is decoded with the label of its
    first digit, and ten lines between two pictures of the same digit come first. Digits without a picture are skipped.
    """
    of_digit = {digit: np.flatnonzero(labels == digit) for digit in range(10) if (labels == digit).any()}
    digits = list(of_digit)
    starts = [of_digit[digit][0] for digit in digits]
    ends = starts[1:] + starts[:1]
    if conditional:
        starts, ends, digits = starts * 2, [of_digit[digit][-1] for digit in digits] + ends, digits * 2
    share = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
    lines = [codes[a].astype(np.float32) * (1 - share) + codes[b] * share for a, b in zip(starts, ends, strict=True)]
    return np.concatenate(lines), np.repeat(np.array(digits, np.uint8), steps) if conditional else None


@torch.no_grad()
def measure_codes(model, module, images, labels, batch_size):
    """Return, for each dimension of the code, KL(q(z|x) || N(0, 1)), averaged over the pictures, and the standard
    deviation of z over the pictures: two float64 [latent_dim].

    z is drawn from q(z|x) for each x, so its variance is that of mu plus the mean of sigma²: its standard deviation is
    that of the aggregated posterior, which should be close to that of the prior, 1.
    """
    model.eval()
    device = device_of(model)
    sums = 0.0  # of the KL, of z and of z²
    for start in range(0, len(images), batch_size):
        x = torch.as_tensor(images[start : start + batch_size], device=device).float() / 255
        _, mu, log_var = run_forward(model, module, x, labels_tensor(labels, start, batch_size, device))
        mu, log_var = mu.cpu().double(), log_var.cpu().double()
        kl = (mu.square() + log_var.exp() - 1 - log_var) / 2
        sums += torch.stack([kl, mu, mu.square() + log_var.exp()]).sum(dim=1)
    kl, mean, square = sums / len(images)
    return kl.numpy(), (square - mean.square()).clamp(min=0).sqrt().numpy()


def describe_codes(kl, spread):
    """Return the result of `measure_codes` in one line."""
    active = kl > ACTIVE
    text = f"{active.sum()} of {len(kl)} dimensions active (KL above {ACTIVE})"
    if active.any():
        spreads = " to ".join(dict.fromkeys(f"{edge(spread[active]):.2f}" for edge in (np.min, np.max)))
        text += f"; their z ~ q(z|x) has a standard deviation of {spreads} (N(0, I): 1)"
    return text

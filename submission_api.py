"""What the commands do with a submission: its loss, its checkpoints, codes and pictures of whole splits.

lab/contract.py loads a submission and calls its functions; its names can be imported from here as well.
"""

import inspect
import zipfile
from pathlib import Path

import numpy as np
import torch

from lab.contract import (
    TASKS,
    SubmissionError,
    as_pictures,
    blame,
    build_model,
    call,
    describe,
    get_function,
    load_submission,
    run_forward,
    watch_decode,
)

__all__ = [
    "TASKS",
    "SubmissionError",
    "as_pictures",
    "blame",
    "build_model",
    "call",
    "decode_codes",
    "describe",
    "device_of",
    "encode_pictures",
    "get_function",
    "has_own_loss",
    "load_checkpoint",
    "load_submission",
    "load_weights",
    "make_loss",
    "prior_loss",
    "run_forward",
    "run_own_loss",
    "watch_decode",
]


def make_loss(module, task, var):
    """Return loss(model, (x, labels)) → {"loss": scalar to minimise, any other name: scalar to log}, means over the
    batch.

    Without a loss of the model's own it is vae_loss, with its parts "rec" and "kl": kl is KL(N(mu, sigma²) || N(0, I)),
    and rec = loss - kl. A model's own `loss(x, labels, var)` returns a scalar, or such a dict, which must have the same
    names in every batch; rec and kl are then unknown and left out.
    """
    conditional = task == "Genwithlabel"
    first_names = []

    def loss(model, batch):
        x, labels = batch
        labels = labels if conditional else None
        if has_own_loss(model):
            terms = run_own_loss(model, module, x, labels, var)
            first_names[:] = first_names or terms
            if [*terms] != first_names:
                raise SubmissionError(
                    f"{type(model).__name__}.loss must return the same names in every batch, in training and in eval "
                    f"mode: expected {', '.join(first_names)}, got {', '.join(terms)}.",
                    "bad_values",
                )
            return terms
        recon, mu, log_var = run_forward(model, module, x, labels)
        with blame("vae_loss", module):
            value = get_function(module, "vae_loss")(recon, x, mu, log_var, var=var)
        value = as_scalar(value, "vae_loss")
        with torch.no_grad():
            kl = (mu.square() + log_var.expm1() - log_var).sum(dim=1).mean() / 2
        return {"loss": value, "rec": value.detach() - kl, "kl": kl}

    return loss


def has_own_loss(model):
    """Tell whether a model brings its own loss, which is then minimised in place of vae_loss."""
    return callable(getattr(model, "loss", None))


def run_own_loss(model, module, x, labels, var):
    """Return what the model's own loss(x, labels, var) gives as {"loss": scalar, any other name: scalar to log}.

    Raises SubmissionError unless it takes these arguments and returns a scalar tensor, or a dict with "loss" among its
    names, in which each value is a number or a scalar tensor.
    """
    name = f"{type(model).__name__}.loss"
    try:
        signature = inspect.signature(getattr(model.loss, "forward", model.loss))
        signature.bind(x, labels, var)
    except TypeError as error:
        got = (
            f"yours is a {type(model.loss).__name__} that was assigned to self.loss: give that another name"
            if isinstance(model.loss, torch.nn.Module)
            else f"yours is loss{signature}".replace("loss(", "loss(self, ")
        )
        raise SubmissionError(
            f"{name} is minimised in place of vae_loss and is called as loss(x, labels, var): expected "
            f"def loss(self, x, labels, var), {got}.",
            "bad_shape",
        ) from error
    with blame(name, module):
        value = model.loss(x, labels, var)
    if not isinstance(value, dict):
        return {"loss": as_scalar(value, name)}
    if "loss" not in value or not all(isinstance(key, str) for key in value):
        raise SubmissionError(
            f'{name} returned a dict: expected {{"loss": what is minimised, any other name: a number to log}}, got the '
            f"names {', '.join(map(repr, value)) or '(none)'}.",
            "bad_shape",
        )
    terms = {}
    for key, term in value.items():
        is_number = isinstance(term, int | float) and key != "loss"  # the loss needs a gradient
        term = torch.tensor(float(term), device=x.device) if is_number else term
        terms[key] = as_scalar(term, f'{name}: "{key}" of the dict it returns')
    return terms


@torch.no_grad()
def prior_loss(module, recon, x, latent_dim, var):
    """Return the submission's vae_loss, a float, of pictures recon for x, both [B, 28, 28], where q(z|x) is N(0, I)."""
    with blame("vae_loss", module):
        value = get_function(module, "vae_loss")(recon, x, *x.new_zeros(2, len(x), latent_dim), var=var)
    return as_scalar(value, "vae_loss").item()


def as_scalar(value, what):
    """Return a loss as a tensor without dimensions; raises SubmissionError if it is none."""
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        what, verb = (what, "must be") if '"' in what else (what, "must return")
        raise SubmissionError(
            f"{what} {verb} one number, the mean over the batch, as a scalar tensor, got {describe(value)}.",
            "bad_shape",
        )
    return value.reshape(())


def load_checkpoint(path):
    """Return a checkpoint's dict, read with weights_only=True onto the CPU.

    Raises SubmissionError if the file is missing, holds anything but tensors and plain Python values, or has no
    `model_state_dict`.
    """
    path = Path(path)
    if not path.is_file():
        raise SubmissionError(f"there is no checkpoint at {path}: train first, or give --checkpoint_path.", "missing")
    try:
        if zipfile.is_zipfile(path):  # torch reads the weights without looking at their checksums
            with zipfile.ZipFile(path) as archive:
                if (damaged := archive.testzip()) is not None:
                    raise ValueError(f"the checksum of {damaged} is wrong: the file is damaged")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle and zipfile raise almost anything for damaged bytes
        raise SubmissionError(
            f"{path} cannot be read as a checkpoint of tensors and plain Python values "
            f"({str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}). "
            "Save it with torch.save and turn numpy values into numbers with .item().",
            "checkpoint_error",
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("model_state_dict"), dict):
        raise SubmissionError(
            f"{path} has no model_state_dict: it is not a checkpoint of train.py.", "checkpoint_error"
        )
    return checkpoint


def load_weights(model, checkpoint, path):
    """Load a checkpoint's weights into a model; raises SubmissionError if they do not fit it."""
    try:
        model.load_state_dict(checkpoint["model_state_dict"])
    except (RuntimeError, TypeError, AttributeError, KeyError) as error:
        first = [line.strip() for line in str(error).splitlines() if line.strip()][:2]
        raise SubmissionError(
            f"the weights in {path} do not fit {type(model).__name__} as the submission defines it "
            f"({' '.join(first)}). Use the submission and the latent_dim that it was trained with.",
            "checkpoint_error",
        ) from error


@torch.no_grad()
def encode_pictures(model, module, images, labels, batch_size=1000):
    """Return the codes float16 [N, latent_dim] of pictures uint8 [N, 28, 28]: what forward hands to decode.

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
                    f"{type(model).__name__}.forward must call self.decode(z, labels) once to make its picture, "
                    f"it called it {len(captured)} times: the code z is read there.",
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
            f"{type(model).__name__}.encode gives codes that are not finite as float16 (at most 65504): "
            "keep mu near the scale of N(0, I).",
            "bad_values",
        )
    return codes


@torch.no_grad()
def decode_codes(model, module, codes, labels, batch_size=1000):
    """Return pictures uint8 [N, 28, 28] that decode makes of codes [N, latent_dim].

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
    if labels is None:
        return None
    return torch.as_tensor(labels[start : start + batch_size], device=device).long()


def device_of(model):
    """Return the device of a model's first parameter, the CPU if it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))

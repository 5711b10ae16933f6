"""Reads checkpoints without trusting them, and loads them into a submission's model."""

import random
import zipfile
from pathlib import Path

import numpy as np
import torch

from lab.cli import LabError
from lab.contract import SubmissionError, build_model, get_function
from lab.tasks import TASKS

WIDEST_GUESS = 784  # a code wider than the picture does not compress


def load_checkpoint(path):
    """Return a checkpoint's dict, read with weights_only=True onto the CPU.

    Raises SubmissionError if the file is missing, contains anything but tensors and plain Python values, or has no
    `model_state_dict`.
    """
    path = Path(path)
    if not path.is_file():
        raise SubmissionError(f"there is no checkpoint at {path}: train first, or give --checkpoint_path.", "missing")
    try:
        if zipfile.is_zipfile(path):  # torch does not verify the checksums of the weights
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
        message = f"{path} has no model_state_dict: it is not a checkpoint of train.py."
        raise SubmissionError(message, "checkpoint_error")
    return checkpoint


def load_weights(model, checkpoint, path):
    """Load a checkpoint's weights into a model; raises SubmissionError if they do not fit it."""
    try:
        model.load_state_dict(checkpoint["model_state_dict"])
    except (RuntimeError, TypeError, AttributeError, KeyError) as error:
        first = [line.strip() for line in str(error).splitlines() if line.strip()][:2]
        raise SubmissionError(
            f"the weights in {path} do not fit {type(model).__name__} as defined in the submission "
            f"({' '.join(first)}). Use the submission and the latent_dim that it was trained with.",
            "checkpoint_error",
        ) from error


def find_latent_dim(checkpoint, path, **asked):
    """Return a checkpoint's latent_dim, or the given one if the checkpoint does not contain it.

    asked: task and latent_dim, None if not given. Raises LabError if the checkpoint contains a different one.
    """
    for name, value in asked.items():
        stored = checkpoint.get(name)
        if stored is not None and value is not None and stored != value:
            raise LabError(
                f"{path} was trained with --{name} {stored}, but you asked for {value}: "
                f"give --{name} {stored}, or a different --checkpoint_path."
            )
    latent_dim = checkpoint.get("latent_dim", asked["latent_dim"])
    if latent_dim is None:
        raise LabError(f"{path} does not contain its latent_dim: give --latent_dim.")
    if type(latent_dim) is not int or latent_dim < 1:
        raise LabError(f"{path} is damaged: expected latent_dim to be a positive whole number, got {latent_dim!r}.")
    return latent_dim


def find_model(module, task, checkpoint, path):
    """Return the task's model with a checkpoint's weights, and its latent_dim.

    Checkpoints of the original course do not contain their latent_dim: then every size in the shape of one of their
    tensors is tried, the smallest first. Raises SubmissionError if none fits.
    """
    class_name = TASKS[task].class_name
    get_function(module, class_name)
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def build(latent_dim):
        random.setstate(state[0]), np.random.set_state(state[1]), torch.set_rng_state(state[2])
        model = build_model(module, task, latent_dim)
        load_weights(model, checkpoint, path)
        return model, latent_dim

    if type(checkpoint.get("latent_dim")) is int:
        return build(checkpoint["latent_dim"])
    tensors = [value for value in checkpoint["model_state_dict"].values() if isinstance(value, torch.Tensor)]
    failures = {}  # kind → the first error of that kind
    for width in sorted({size for tensor in tensors for size in tensor.shape if size <= WIDEST_GUESS}):
        try:
            return build(width)
        except SubmissionError as error:
            if error.kind == "not_filled_in":
                raise
            failures.setdefault(error.kind, error)
    if failures and "checkpoint_error" not in failures:  # the model cannot be built with any width
        raise next(iter(failures.values()))
    raise SubmissionError(
        f"{path} does not contain its latent_dim, and {class_name} fits its weights with no width: save it with "
        "train.py.",
        "checkpoint_error",
    )

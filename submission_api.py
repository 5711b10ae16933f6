"""The one place that loads a submission and knows its contract: what is called, with which shapes, and what comes back.

Every fault of a submission becomes a SubmissionError whose text names the function to mend. Other modules never call
a submission's functions themselves.
"""

import contextlib
import inspect
import pickle
import sys
import traceback
import types
from pathlib import Path

import numpy as np
import torch

from lab.cli import LabError

TASKS = {"VAEwolabel": "VAE", "Genwithlabel": "GenModel"}  # task → class in the submission


class SubmissionError(LabError):
    """A fault in a submission. `kind` is one of import_error, not_filled_in, checkpoint_error, bad_shape, bad_values,
    crash."""

    def __init__(self, message, kind="crash"):
        super().__init__(message)
        self.kind = kind


@contextlib.contextmanager
def blame(what, module):
    """Turn whatever the submission raises in this block into a SubmissionError that names `what` and the line."""
    try:
        yield
    except (SubmissionError, KeyboardInterrupt):
        raise
    except NotImplementedError as error:
        raise SubmissionError(str(error) or f"{what} is not filled in yet.", "not_filled_in") from error
    except BaseException as error:  # a submission may well raise SystemExit
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == module.__file__]
        where = f" ({Path(module.__file__).name}, line {frames[-1].lineno}, in {frames[-1].name})" if frames else ""
        raise SubmissionError(f"{what} failed{where}: {type(error).__name__}: {error}".removesuffix(": ")) from error


def load_submission(path):
    """Run the file at `path` as a module of its own and return the module. sys.path plays no part.

    Raises SubmissionError if the file is missing, has a syntax error, or fails while it is imported.
    """
    path = Path(path)
    if not path.is_file():
        raise SubmissionError(f"there is no submission at {path}: give its file with --submission PATH.", "missing")
    module = types.ModuleType(f"submission_at_{path.resolve()}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and pickle look a class's module up there
    try:
        exec(compile(path.read_bytes(), module.__file__, "exec"), module.__dict__)
    except (SyntaxError, ValueError) as error:
        raise SubmissionError(f"{path} is not valid Python: {error}", "import_error") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f", line {lines[-1]}" if lines else ""
        raise SubmissionError(
            f"{path} cannot be imported{where}: {type(error).__name__}: {error}".removesuffix(": "), "import_error"
        ) from error
    return module


def get_function(module, name):
    """Return the submission's class or function `name`; raises SubmissionError if it has none."""
    found = getattr(module, name, None)
    if not callable(found):
        raise SubmissionError(
            f"{module.__file__} does not define {name}: expected classes VAE and GenModel and a function vae_loss.",
            "import_error",
        )
    return found


def build_model(module, task, latent_dim):
    """Return the task's model, an nn.Module in training mode on the CPU, built with `latent_dim`.

    Raises SubmissionError if the class is missing, is not filled in, or its constructor does not fit the contract.
    """
    name = TASKS[task]
    model_class = get_function(module, name)
    with blame(f"{name}(latent_dim={latent_dim})", module):
        model = model_class(latent_dim=latent_dim)
    if not isinstance(model, torch.nn.Module):
        raise SubmissionError(f"{name} must be an nn.Module whose __init__ calls super().__init__().", "import_error")
    return model


def as_pictures(recon, batch_size, what):
    """Return recon as [B, 28, 28]; it may come as [B, 28, 28], [B, 1, 28, 28] or [B, 784].

    Raises SubmissionError for anything else, naming `what` returned it.
    """
    if not isinstance(recon, torch.Tensor):
        raise SubmissionError(f"{what} must return a picture tensor, got {describe(recon)}.", "bad_shape")
    if tuple(recon.shape) not in ((batch_size, 28, 28), (batch_size, 1, 28, 28), (batch_size, 784)):
        raise SubmissionError(
            f"{what} must return pictures [{batch_size}, 28, 28] for a batch of {batch_size}, got {describe(recon)}.",
            "bad_shape",
        )
    return recon.reshape(batch_size, 28, 28)


def describe(value):
    """Return a short text that says what a value is: a tensor's shape, or a type."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}: ({', '.join(describe(item) for item in value)})"
    return type(value).__name__


def call(method, tensor, labels):
    """Call encode, decode or forward; labels go along unless the method was written without that argument."""
    try:
        inspect.signature(getattr(method, "forward", method)).bind(tensor, labels)
    except TypeError:
        return method(tensor)
    return method(tensor, labels)


def run_forward(model, module, x, labels):
    """Return recon [B, 28, 28], mu and log_var [B, latent_dim] of the model's forward, checked for shape.

    x: float32 [B, 28, 28]; labels: int64 [B], or None in the VAE task.
    """
    name = type(model).__name__
    with blame(f"{name}.forward", module):
        result = call(model, x, labels)
    if not isinstance(result, tuple | list) or len(result) != 3:
        raise SubmissionError(f"{name}.forward must return recon, mu, log_var, got {describe(result)}.", "bad_shape")
    recon, mu, log_var = result
    recon = as_pictures(recon, len(x), f"{name}.forward")
    for what, value in (("mu", mu), ("log_var", log_var)):
        if not isinstance(value, torch.Tensor) or value.ndim != 2 or len(value) != len(x):
            raise SubmissionError(
                f"{name}.forward must return {what} as [{len(x)}, latent_dim], got {describe(value)}.", "bad_shape"
            )
    return recon, mu, log_var


def make_loss(module, task, var):
    """Return loss(model, (x, labels)) → {"loss", "rec", "kl"}: scalars, means over the batch.

    The loss is the model's own `loss(x, labels, var)` if it has one (rec and kl are then unknown and left out), else
    vae_loss. kl is KL(N(mu, sigma²) || N(0, I)), and rec = loss - kl.
    """
    conditional = task == "Genwithlabel"

    def loss(model, batch):
        x, labels = batch
        labels = labels if conditional else None
        own = getattr(model, "loss", None)
        if callable(own):
            what = f"{type(model).__name__}.loss"
            with blame(what, module):
                value = own(x, labels, var)
            return {"loss": as_scalar(value, what)}
        recon, mu, log_var = run_forward(model, module, x, labels)
        with blame("vae_loss", module):
            value = get_function(module, "vae_loss")(recon, x, mu, log_var, var=var)
        value = as_scalar(value, "vae_loss")
        with torch.no_grad():
            kl = (mu.square() + log_var.expm1() - log_var).sum(dim=1).mean() / 2
        return {"loss": value, "rec": value.detach() - kl, "kl": kl}

    return loss


def as_scalar(value, what):
    """Return a loss as a tensor without dimensions; raises SubmissionError if it is none."""
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        raise SubmissionError(
            f"{what} must return one number, the mean over the batch, as a scalar tensor, got {describe(value)}.",
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
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError, AttributeError) as error:
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


@contextlib.contextmanager
def watch_decode(model):
    """While the block runs, whatever a model's methods hand to self.decode as z is appended to the yielded list."""
    captured = []
    decode = getattr(model, "decode", None)
    if not callable(decode):
        raise SubmissionError(f"{type(model).__name__} has no method decode(z, labels).", "bad_shape")
    own = {name: value for name, value in vars(model).items() if name == "decode"}

    def capture(z, *args, **kwargs):
        captured.append(z)
        return decode(z, *args, **kwargs)

    vars(model)["decode"] = capture  # past nn.Module's own __setattr__, which refuses it where decode is a layer
    try:
        yield captured
    finally:
        del vars(model)["decode"]
        vars(model).update(own)


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

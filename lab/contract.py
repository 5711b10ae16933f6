"""Loads a submission and calls it: which functions are called, with which shapes, and what they return.

Every fault of a submission becomes a SubmissionError whose text names the function to fix. Together with lab/losses.py
and lab/codes.py, which use it to train, encode and decode, this is the only code that calls a submission's functions.
"""

import contextlib
import functools
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path

import torch

from lab.cli import LabError
from lab.tasks import TASKS

# supervise(what) is a context manager around every call of a submission's code; check.py replaces it (checks/guard.py).
supervise = contextlib.nullcontext


class SubmissionError(LabError):
    """A fault in a submission. `kind` is one of import_error, not_filled_in, checkpoint_error, bad_shape, bad_values,
    crash."""

    def __init__(self, message, kind="crash"):
        super().__init__(message)
        self.kind = kind


@contextlib.contextmanager
def blame(what, module):
    """Turn any exception that the submission raises in this block into a SubmissionError with `what` and the line."""
    try:
        with supervise(what):
            yield
    except (SubmissionError, KeyboardInterrupt):
        raise
    except NotImplementedError as error:
        raise SubmissionError(str(error) or f"{what} is not filled in yet.", "not_filled_in") from error
    except BaseException as error:  # a submission may even raise SystemExit
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == module.__file__]
        where = f" ({Path(module.__file__).name}, line {frames[-1].lineno}, in {frames[-1].name})" if frames else ""
        raise SubmissionError(f"{what} failed{where}: {type(error).__name__}: {error}".removesuffix(": ")) from error


def load_submission(path):
    """Run the file at `path` as a separate module and return the module, independently of sys.path.

    Raises SubmissionError if the file is missing, has a syntax error, or fails while it is imported.
    """
    path = Path(path)
    if not path.is_file():
        message = f"there is no submission at {path.absolute()}: give its file with --submission PATH."
        raise SubmissionError(message, "missing")
    name = f"submission_at_{path.resolve()}"
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader=None, origin=str(path)))
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up there
    try:
        with supervise(f"the import of {path}"):
            # Not with a loader, which would run bytecode from __pycache__ in place of the file, whatever it does.
            exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
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
    """Return the submission's class or function `name`; raises SubmissionError if there is none."""
    found = getattr(module, name, None)
    if not callable(found):
        message = f"{module.__file__} does not define {name}: expected a class or a function of this name."
        raise SubmissionError(message, "import_error")
    return found


def build_model(module, task, latent_dim):
    """Return the task's model, an nn.Module in training mode on the CPU, built with `latent_dim`.

    Raises SubmissionError if the class is missing, is not filled in, or its constructor does not fit the contract.
    """
    name = TASKS[task].class_name
    model_class = get_function(module, name)
    with blame(f"{name}(latent_dim={latent_dim})", module):
        model = model_class(latent_dim=latent_dim)
    if not isinstance(model, torch.nn.Module):
        raise SubmissionError(f"{name} must be an nn.Module whose __init__ calls super().__init__().", "import_error")
    return model


def as_pictures(recon, batch_size, what):
    """Return recon, which may be [B, 28, 28], [B, 1, 28, 28] or [B, 784], as [B, 28, 28].

    Raises SubmissionError for anything else, naming `what`, the function that returned it.
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
    """Return a short description of a value: a tensor's dtype and shape, or a type."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}: ({', '.join(describe(item) for item in value)})"
    return type(value).__name__


def call(method, tensor, labels):
    """Call encode, decode or forward; labels are passed unless the method was written without that argument."""
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


@contextlib.contextmanager
def intercept(model, **wrappers):
    """While the block runs, self.NAME(...) calls wrappers[NAME](method, ...); methods that the model lacks are skipped.

    Only calls through self are intercepted, as forward makes them, not those that a subclass makes with super().
    """
    own = {name: value for name, value in vars(model).items() if name in wrappers}
    for name, wrapper in wrappers.items():
        method = getattr(model, name, None)
        if callable(method):  # vars() bypasses nn.Module's __setattr__, which refuses this if the method is a layer
            vars(model)[name] = functools.partial(wrapper, method)
            vars(model)[name].__wrapped__ = getattr(method, "forward", method)  # its signature
    try:
        yield
    finally:
        for name in wrappers:
            vars(model).pop(name, None)
        vars(model).update(own)


@contextlib.contextmanager
def watch_decode(model):
    """While the block runs, every z that the model's methods pass to self.decode is appended to the yielded list."""
    if not callable(getattr(model, "decode", None)):
        raise SubmissionError(f"{type(model).__name__} has no method decode(z, labels).", "bad_shape")
    captured = []

    def capture(decode, *args, **kwargs):
        captured.append(first_argument(args, kwargs))
        return decode(*args, **kwargs)

    with intercept(model, decode=capture):
        yield captured


def first_argument(args, kwargs):
    """Return a call's first argument, whatever its name; None without one."""
    return args[0] if args else next(iter(kwargs.values()), None)

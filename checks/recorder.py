"""Records the results of probes as plain arrays: numbers and text, no objects."""

import contextlib
import traceback

import numpy as np
import torch

from lab.contract import SubmissionError, blame
from lab.tasks import TASKS

LARGEST = 2**22  # elements of an array that is recorded
METHODS = ("__init__", "encode", "reparameterize", "decode", "forward", "loss")


class Recorder:
    """Collects arrays by name; an error in a step is recorded as text, and the next step runs."""

    def __init__(self, prefix, arrays):
        self.prefix = prefix
        self.arrays = arrays

    def has(self, name):
        return f"{self.prefix}.{name}" in self.arrays

    def put(self, **values):
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                value = value.detach().cpu()
                value = (value.float() if value.is_floating_point() else value).numpy()
            value = np.array(value)
            if value.size <= LARGEST and value.dtype.kind in "fiuU":
                self.arrays[f"{self.prefix}.{name}"] = value

    @contextlib.contextmanager
    def step(self, name, module, what=None, batch=0):
        """Run a block, called `what` in messages, on a batch of this size.

        An error of the submission becomes NAME.error (its text), NAME.kind, NAME.where (the method that failed) and
        NAME.batch.
        """
        try:
            with blame(what or name, module):
                yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            kind = error.kind if isinstance(error, SubmissionError) else "crash"
            self.put(**{f"{name}.error": str(error)[:600], f"{name}.kind": kind, f"{name}.where": blamed_method(error)})
            self.put(**{f"{name}.batch": batch})


def blamed_method(error):
    """Return the innermost method of the model, or vae_loss, through which an error passed, or ""."""
    while error.__cause__ is not None:
        error = error.__cause__
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_name
        owner = type(frame.f_locals.get("self")).__name__
        if name == "vae_loss" or (name in METHODS and owner in [task.class_name for task in TASKS.values()]):
            found = name
    return found

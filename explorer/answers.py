"""Explorer: answers the page's requests; requests and answers are dicts of plain values."""

import base64
import binascii
import threading
from pathlib import Path

import numpy as np
import torch

from checks.sections import GOOD, LOSS, check_submission
from data_utils import load_split
from explorer.drawing import normalise_drawing
from explorer.plane import principal_directions
from explorer.snapshot import Snapshot
from lab.classifier import read_digits
from lab.cli import LabError
from lab.contract import SubmissionError
from lab.run import Run
from lab.tasks import TASKS

SHOWN = 5000  # pictures on the map
MOST_CODES = 64  # decoded in one request, so that requests of the pointer never wait long
MOST_SNAPSHOTS = 8  # kept in memory
DRAWS = 6  # from q(z|x), decoded
MOST_PIXELS = 512  # on a side of a drawing


class BadRequestError(Exception):
    """A request that the page does not make: of an unexpected form, or with values out of range."""


class Explorer:
    """One model under exploration. args: checkpoint_path, submission, task, data, device.

    Only one thread at a time uses the model.
    """

    def __init__(self, args):
        self.args, self.path = args, Path(args.checkpoint_path)
        self.run = Run(self.path.parent)
        images, labels = load_split(args.data)
        self.images, self.labels, self.others = images[:SHOWN], labels[:SHOWN], (images, labels)
        self.snapshots = {}  # name → (state of the files, Snapshot), the last used last
        self.lock, self.threads = threading.Lock(), torch.get_num_threads()

    def answer(self, name, request):
        """Return the answer to a request by its name; for an error of the student's model it is {"error": text}.

        Raises BadRequestError.
        """
        answers = {"open": self.open, "map": self.map, "decode": self.decode, "encode": self.encode}
        if name not in answers:
            raise BadRequestError(f"there is no request {name!r}")
        if not isinstance(request, dict):
            raise BadRequestError("expected a JSON object")
        with self.lock:
            # A few pictures are decoded fastest by one thread: several would wait for each other, and for the browser.
            torch.set_num_threads(self.threads if name == "open" else 1)
            try:
                return answers[name](request)
            except LabError as error:
                text = self.explain(error) if name == "open" else str(error)
                return {"error": text, "submission": str(self.args.submission)}

    # ---- snapshots

    def checkpoints(self):
        """Return the names of the checkpoints that can be shown: the requested one, then the epochs that are kept."""
        epochs = [self.run.epoch_path(epoch).stem for epoch in self.run.epochs()]
        return list(dict.fromkeys([self.path.stem, *epochs]))

    def snapshot(self, request, look=False):
        """Return the Snapshot for a request; look: load it again if one of its files has changed."""
        name = request.get("checkpoint", self.path.stem)
        known = self.snapshots.pop(name, None) if isinstance(name, str) else None
        if known is None and name not in self.checkpoints():
            raise LabError(f"{name} no longer exists: only the newest epochs are kept. Reload the page.")
        if known is None or look:
            path = self.path.with_name(f"{name}.pth") if name != self.path.stem else self.path
            state = [(file, file.stat().st_mtime_ns, file.stat().st_size) for file in (path, self.args.submission)
                     if file.is_file()]  # fmt: skip
            if known is None or known[0] != state:
                known = (state, Snapshot(path, self.args, self.images, self.labels))
        self.snapshots[name] = known
        for oldest in list(self.snapshots)[:-MOST_SNAPSHOTS]:
            del self.snapshots[oldest]
        return known[1]

    def explain(self, error):
        """Return check.py's message for a submission that failed here, or the error itself if its checks pass."""
        own = [section.number for section in TASKS[self.args.task].sections if section.checks != LOSS]
        checkable = isinstance(error, SubmissionError) and error.kind not in ("missing", "checkpoint_error")
        results = check_submission(self.args.submission, own, seed=0) if checkable else []
        return next((result.message for result in results if result.status not in GOOD), str(error))

    # ---- the requests

    def open(self, request):
        """Everything about a checkpoint that does not depend on the plane; newest: for the epoch saved last."""
        if request.get("newest"):
            request = {"checkpoint": self.checkpoints()[-1]}
        snapshot = self.snapshot(request, look=True)
        return {
            "model": TASKS[self.args.task].class_name,
            "checkpoint": snapshot.path.stem,
            "checkpoint_path": str(snapshot.path),
            "submission": str(self.args.submission),
            "latent_dim": snapshot.latent_dim,
            "conditional": snapshot.conditional,
            "epoch": snapshot.epoch,
            "valid_loss": snapshot.valid_loss,
            "checkpoints": self.checkpoints(),
            "pictures": len(self.others[0]),
            "digits": self.labels.tolist(),
            "directions": principal_directions(snapshot.encoded[2]).tolist(),
            "dimensions": snapshot.dimensions,
        }

    def map(self, request):
        """The codes' coordinates along two directions u and v."""
        snapshot = self.snapshot(request)
        x, y = self.directions(request, snapshot).astype(np.float32) @ snapshot.encoded[2].T
        return {"x": x.round(3).tolist(), "y": y.round(3).tolist()}

    def decode(self, request):
        """The pictures of codes z; one code with several labels is decoded with each."""
        snapshot = self.snapshot(request)
        z = numbers(request, "z", (None, snapshot.latent_dim))
        labels = whole_numbers(request, "labels", 0, 9)
        z = np.repeat(z, len(labels), axis=0) if len(z) == 1 else z
        if len(z) != len(labels) or not 1 <= len(z) <= MOST_CODES:
            raise BadRequestError(f"expected 1 to {MOST_CODES} codes and a label for each")
        return {"pictures": pack(snapshot.decode(z, labels))}

    def encode(self, request):
        """A drawing, or a picture of the validation split: its code, q(z|x) on the plane, reconstruction and draws.

        A model without labels ignores the label; if it is missing (null) the classifier predicts it.
        """
        snapshot = self.snapshot(request)
        plane = self.directions(request, snapshot)
        (seed,) = whole_numbers({"seed": [request.get("seed", 0)]}, "seed", 0, 2**32)
        if "drawing" in request:
            picture, label = normalise_drawing(read_drawing(request)), None
            if picture is None:
                return {"error": "Nothing is drawn yet: draw a digit with the mouse, a finger, or the arrow keys."}
        else:
            (index,) = whole_numbers({"index": [request.get("index")]}, "index", 0, len(self.others[0]) - 1)
            picture, label = self.others[0][index], int(self.others[1][index])
        if request.get("label") is not None:
            (label,) = whole_numbers({"label": [request["label"]]}, "label", 0, 9)
        elif label is None:
            label = int(read_digits(picture[None])[0])
        code, steps = snapshot.steps(picture, label)
        draws = snapshot.draw(picture, label, DRAWS, seed)
        return {
            "label": label,
            "picture": pack(picture),
            "code": code.tolist(),
            "covariance": ((steps @ plane.T).T @ (steps @ plane.T)).tolist(),
            "draws": draws.tolist(),
            "pictures": pack(snapshot.decode(np.concatenate([code[None], draws]), [label] * (1 + DRAWS))),
        }

    def directions(self, request, snapshot):
        """Return a request's u and v as float64 [2, latent_dim]."""
        return np.concatenate([numbers({name: [request.get(name)]}, name, (1, snapshot.latent_dim)) for name in "uv"])


def numbers(request, name, shape):
    """Return a list of lists of finite numbers as float64; raises BadRequestError unless it has this shape."""
    try:
        array = np.asarray(request.get(name), np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadRequestError(f"{name}: expected rows of numbers") from error
    fits = array.ndim == 2 and all(b is None or a == b for a, b in zip(array.shape, shape, strict=True))
    if not fits or not np.isfinite(array).all() or np.abs(array).max(initial=0) > 1e6:
        raise BadRequestError(f"{name}: expected finite numbers of shape {shape}")
    return array


def whole_numbers(request, name, low, high):
    """Return a list of whole numbers from low to high; raises BadRequestError if it is something else."""
    values = request.get(name)
    if not isinstance(values, list) or not all(type(value) is int and low <= value <= high for value in values):
        raise BadRequestError(f"{name}: expected whole numbers from {low} to {high}")
    return values


def read_drawing(request):
    """Return a drawing uint8 [H, W], sent as base64 of square grey pixels; raises BadRequestError."""
    try:
        content = base64.b64decode(request["drawing"], validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise BadRequestError("drawing: expected base64") from error
    side = int(len(content) ** 0.5)
    if side**2 != len(content) or not 28 <= side <= MOST_PIXELS:
        raise BadRequestError(f"drawing: expected a square of 28 to {MOST_PIXELS} pixels on a side")
    return np.frombuffer(content, np.uint8).reshape(side, side)


def pack(pictures):
    """Return pictures uint8 as base64."""
    return base64.b64encode(np.ascontiguousarray(pictures).tobytes()).decode()

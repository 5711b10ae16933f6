"""Run: the folder of one training run. Only this module knows the names of its files."""

import csv
import math
import os
import sys
import time
from functools import cached_property
from pathlib import Path

import torch

from lab.cli import LabError, command
from lab.files import read_json, sha256, write_json, write_whole

RUNS = Path("runs")
RESULT = "grade_result.json"
LAST_RESULT = RUNS / RESULT  # of the last call of grade.py without --out
KEEP_EPOCHS = 5  # number of epoch_N.pth that are kept
ONLY_TO_RESUME = ("best_loss", "seconds", "history", "optimizer_state_dict", "rng_state")  # not in best.pth
SETTINGS = ("latent_dim", "var", "lr", "batch_size", "seed")  # shown in lists of runs


def best_of(path):
    """Return the checkpoint that a path names: best.pth where it is a run's folder, else the path itself."""
    return Run(path).best if path.is_dir() else path


def submission_beside(checkpoint):
    """Return the copy of the submission in a checkpoint's folder, or else the submission.py of this folder."""
    copy = Run(checkpoint.parent).submission
    return copy if copy.is_file() else Path(copy.name)


class Run:
    """One training run's folder:

    config.json          all arguments, device, versions, the number of parameters, and SHA-256 sums of the data and of
                         submission.py
    submission.py        a copy of the trained file
    history.csv          one row per validation
    epoch_N.pth          everything needed to resume after epoch N; the newest five
    best.pth             of the epoch with the smallest validation loss: weights, task, latent_dim, var, epoch and
                         validation loss, and nothing else
    loss_curve.png, samples/epoch_NNN.png, tensorboard/
    output/              what inference.py writes, unless --save_dir says otherwise
    grade_result.json    the result of grade.py for best.pth

    Older runs also have the optimizer's state and the history in best.pth, and no sums in config.json.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.submission = self.folder / "submission.py"
        self.config_path = self.folder / "config.json"
        self.history_path = self.folder / "history.csv"
        self.best = self.folder / "best.pth"
        self.loss_curve = self.folder / "loss_curve.png"
        self.tensorboard = self.folder / "tensorboard"
        self.output = self.folder / "output"
        self.result_path = self.folder / RESULT

    def __str__(self):
        return str(self.folder)

    def __eq__(self, other):
        return isinstance(other, Run) and self.folder.resolve() == other.folder.resolve()

    def __hash__(self):
        return hash(self.folder.resolve())

    # ---- a new run, and its settings

    @classmethod
    def create(cls, args, content):
        """Create the folder of a new run, with a copy of the submission's bytes, and return the Run: runs/TASK/NAME (or
        NAME_2, ...) with its settings in NAME, or --save_dir. It counts as a run after write_config has been called.

        Raises LabError rather than overwrite a run or a different submission.py.
        """
        task, folder, count = args.task, args.save_dir, 1
        name = f"latent{args.latent_dim}_var{args.var:g}_lr{args.lr:g}"
        name += f"_batch{args.batch_size}_epochs{args.epochs}_seed{args.seed}"
        while folder is None:
            folder, count = make_folder(RUNS / task / (name if count == 1 else f"{name}_{count}")), count + 1
        run = cls(folder)
        if run.config_path.exists() or any(run.folder.glob("*.pth")):
            raise LabError(
                f"{run} already contains a run: give a different --save_dir, or resume it:\n"
                f"next: {command('train.py', '--task', task, '--load_from_checkpoint', '--save_dir', run)}"
            )
        if run.folder.exists() and not run.folder.is_dir():
            raise LabError(f"--save_dir {run} is a file: expected a folder for the run.")
        if run.submission.exists() and (
            run.submission.read_bytes() != content or os.path.samefile(run.submission, args.submission)
        ):
            raise LabError(f"{run.submission} would be overwritten by the run's copy: give a different --save_dir.")
        run.folder.mkdir(parents=True, exist_ok=True)
        with write_whole(run.submission) as temporary:
            temporary.write_bytes(content)
        return run

    @classmethod
    def open(cls, folder):
        """Return the Run in a folder; raises LabError if there is none, or its config.json is damaged."""
        run = cls(folder)
        if not run.config_path.is_file():
            raise LabError(
                f"{run.folder.absolute()} contains no run ({run.config_path.name} is missing): start one without "
                "--load_from_checkpoint, or give its folder with --save_dir."
            )
        if run.task is None or "latent_dim" not in run.arguments:
            raise LabError(f"{run.config_path} is damaged (no task or latent_dim): start a new run.")
        return run

    @cached_property
    def config(self):
        """The content of config.json, {} if there is none; raises LabError if it is damaged."""
        return read_json(self.config_path) if self.config_path.exists() else {}

    def write_config(self, config):
        """Write config.json: from now on the folder contains a run."""
        write_json(self.config_path, config)
        self.config = config

    @property
    def arguments(self):
        """The arguments of train.py, {name: plain value}; {} if unknown."""
        arguments = self.config.get("arguments")
        return arguments if isinstance(arguments, dict) else {}

    @property
    def task(self):
        """The task's name; without a config.json, the name of the parent folder."""
        return self.arguments.get("task") if self.config_path.exists() else self.folder.absolute().parent.name

    # ---- checkpoints and history

    def epoch_path(self, epoch):
        return self.folder / f"epoch_{epoch}.pth"

    def epochs(self):
        """Return the epochs whose epoch_N.pth exists, in order."""
        numbers = (path.stem.removeprefix("epoch_") for path in self.folder.glob("epoch_*.pth"))
        return sorted(int(number) for number in numbers if number.isdecimal())

    def sample_path(self, epoch):
        """Return samples/epoch_NNN.png, whose folder is created."""
        (self.folder / "samples").mkdir(exist_ok=True)
        return self.folder / "samples" / f"epoch_{epoch:03d}.png"

    def save(self, checkpoint, is_best):
        """Write best.pth, if this epoch is the best, then epoch_N.pth and history.csv, and delete the oldest epoch.

        checkpoint: a dict with epoch, valid_loss, history, model_state_dict and everything needed to resume.
        """
        if is_best:
            self.write_best(checkpoint)
        # epoch_N.pth last: a run that is killed in between repeats this epoch and writes the same best.pth again.
        with write_whole(self.epoch_path(checkpoint["epoch"])) as temporary:
            torch.save(checkpoint, temporary)
        self.epoch_path(checkpoint["epoch"] - KEEP_EPOCHS).unlink(missing_ok=True)
        self.write_history(checkpoint["history"])

    def write_best(self, checkpoint):
        with write_whole(self.best) as temporary:
            torch.save(self.describe_weights(checkpoint), temporary)

    def describe_weights(self, checkpoint):
        """Return what best.pth contains of a checkpoint, also for an older one, which has more and lacks var."""
        loss = checkpoint.get("valid_loss", checkpoint.get("best_loss"))
        var = {"var": self.arguments["var"]} if "var" in self.arguments else {}
        return var | {"valid_loss": loss} | {k: v for k, v in checkpoint.items() if k not in ONLY_TO_RESUME}

    def drop_after(self, epoch):
        """Delete the checkpoints and pictures of later epochs, newest first, so that a kill leaves a complete run."""
        for later in reversed(self.epochs()):
            if later > epoch:
                self.epoch_path(later).unlink()
                self.sample_path(later).unlink(missing_ok=True)

    def write_history(self, rows):
        with write_whole(self.history_path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)

    def read_history(self):
        """Return history.csv as a list of {column: float}; [] if it is missing or damaged."""
        try:
            with open(self.history_path, newline="", encoding="utf-8") as file:
                rows = map(rename_columns, csv.DictReader(file))
                return [{name: float(value) for name, value in row.items()} for row in rows]
        except (OSError, ValueError, TypeError, csv.Error):
            return []

    def best_epoch(self):
        """Return (epoch, validation loss) of the best epoch in the history, None if there is none."""
        ends = {row.get("epoch", math.nan): row.get("valid_loss", math.nan) for row in self.read_history()}
        finite = {epoch: loss for epoch, loss in ends.items() if math.isfinite(epoch) and math.isfinite(loss)}
        best = min(finite, key=finite.get, default=None)
        return None if best is None else (int(best), finite[best])

    # ---- results

    def write_result(self, result):
        write_json(self.result_path, result)
        self.__dict__.pop("result", None)

    @cached_property
    def result(self):
        """The last result of grade.py for this run, {metric: value}, where `current` says whether best.pth is still the
        same. None if it was never graded."""
        for path in (self.result_path, self.folder.parent / RESULT, LAST_RESULT):
            try:
                found = dict(read_json(path)["tasks"][self.task])
                is_mine = path == self.result_path or Path(found["output_dir"]).resolve() == self.output.resolve()
                if not (is_mine and all(math.isfinite(found[name]) for name in ("score", "raw"))):
                    continue
                if "checkpoint_sha256" in found:
                    current = found["checkpoint_sha256"] == sha256(self.best.read_bytes())
                else:  # written by an older version
                    current = path.stat().st_mtime >= self.best.stat().st_mtime
            except (LabError, OSError, KeyError, TypeError, ValueError):
                continue
            return found | {"current": current}
        return None

    # ---- for people

    def changed(self):
        """Return when the run was last trained, in seconds since 1970."""
        paths = (self.config_path, self.best, *self.folder.glob("epoch_*.pth"))
        return max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)

    def describe(self):
        """Return the run's settings, best epoch and age in one line."""
        parts = [f"{name} {self.arguments[name]}" for name in SETTINGS if name in self.arguments]
        if best := self.best_epoch():
            parts.append(f"best epoch {best[0]} of {self.arguments.get('epochs', '?')}, validation loss {best[1]:.2f}")
        return ", ".join([*parts, f"trained {show_age(self.changed())}"])


def rename_columns(row):
    """Return a row of a history with today's names: the reconstruction term used to be called rec."""
    old = {"train_rec": "train_recon_loss", "valid_rec": "valid_recon_loss"}
    return {old.get(name, name): value for name, value in row.items()}


def make_folder(path):
    """Create a folder and return it, None if it exists already."""
    try:
        path.mkdir(parents=True)
        return path
    except FileExistsError:
        return None


def find_runs(everywhere=False):
    """Return the Runs under runs/, the last trained first: runs/NAME and runs/TASK/NAME.

    everywhere: also deeper ones (sweeps, demos), and those in other folders that runs/grade_result.json lists.
    A run whose config.json is damaged is skipped with a note.
    """
    folders = [*RUNS.glob("*"), *RUNS.glob("*/*")]
    if everywhere:
        folders = [*(Path(folder) for folder, _, _ in os.walk(RUNS)), *graded_folders()]
    runs = []
    for run in map(Run, folders):
        try:
            is_run = run.config_path.is_file() or run.best.is_file() or run.output.is_dir()
            if is_run and (everywhere or run.folder.parent == RUNS or run.folder.parent.name == run.task):
                runs.append(run)
        except LabError as error:
            print(f"note: {error}", file=sys.stderr)
    return sorted(dict.fromkeys(runs), key=Run.changed, reverse=True)


def graded_folders():
    """Return the folders of the runs listed in runs/grade_result.json."""
    try:
        tasks = read_json(LAST_RESULT)["tasks"].values()
        return [Path(metrics["run"]) for metrics in tasks if metrics.get("run") is not None]
    except (LabError, KeyError, TypeError, AttributeError):
        return []


def show_age(moment):
    """Return how long ago a moment was, in words: "5 minutes ago"."""
    seconds = max(0, time.time() - moment)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' * (count > 1)} ago"
    return "just now"

"""One point of a sweep: its settings, the folder with its run, its state, and the work on it.

    python -m sweep.point STARTED OUT/NAME      # do a point, unless it has failed since STARTED

This process holds the point's lock until it ends, in whatever way.
The folder contains point.json, which defines the point; the run; log.txt; and at the end result.json or failed.json.
A folder keeps its settings: a point with the same name but other files or settings gets a different folder.
"""

import os

if __name__ == "__main__":  # before torch and tqdm read these variables; the log is a file
    os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", "1"))
    os.environ["TQDM_DISABLE"] = "1"

import contextlib
import errno
import gc
import importlib
import platform
import shlex
import shutil
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from data_utils import load_split
from lab.checkpoints import load_checkpoint
from lab.cli import LabError, keep_freed_memory
from lab.files import read_json, sha256, write_json
from lab.run import Run

OWN = ("task", "latent_dim", "var", "epochs", "seed")  # settings in which the points of one call differ
FILES = ("submission", "data", "train_data", "valid_data")  # settings that are checksums


@dataclass(frozen=True)
class Point:
    """settings: everything on which a result depends: arguments of train.py, and checksums of FILES; files: their paths
    arguments: the user's for train.py; keep: "all" checkpoints or only "best"; replaces: folders to delete at the end
    """

    folder: Path
    settings: dict
    files: dict
    arguments: list
    keep: str
    replaces: list

    def read(self, name):
        """Return the content of a JSON file in the folder, {} if it is missing or damaged."""
        with contextlib.suppress(LabError):
            return read_json(self.folder / name)
        return {}

    def is_done(self):
        return self.read("result.json").get("settings") == self.settings

    def state(self):
        """Return "done", "running", "failed" or "missing"."""
        if self.is_done():
            return "done"
        try:
            FileLock(self.folder / ".lock", timeout=0).acquire().lock.release()
        except OSError as error:  # other than Timeout: the folder is read-only
            if isinstance(error, Timeout):
                return "running"
        return "failed" if self.read("failed.json") else "missing"

    def fail(self, reason):
        write_json(self.folder / "failed.json", {"time": time.time(), "reason": reason})

    def epoch(self):
        """Return the last finished epoch of the run, 0 without one."""
        return max(Run(self.folder).epochs(), default=0)

    def work(self):
        """Train, infer and grade, in this process; an unfinished run is resumed."""
        run = Run(self.folder)
        hidden = [*self.folder.glob(".*"), *self.folder.glob("*/.*")]  # temporary files of killed processes
        new = [] if self.epoch() else [run.config_path, run.best, run.submission]
        for path in {self.folder / "failed.json", *new, *hidden} - {self.folder / ".lock"}:
            path.unlink(missing_ok=True)
        files, task, data = self.files, self.settings["task"], f"--data={self.files['data']}"
        train = ["--load_from_checkpoint" if self.epoch() else f"--submission={files['submission']}", *self.arguments]
        train += [f"--train_data={files['train_data']}", f"--valid_data={files['valid_data']}", f"--save_dir={run}"]
        train += [f"--{name}={self.settings[name]}" for name in OWN]
        infer = [f"--task={task}", f"--checkpoint_path={run.best}", data]
        grade = [f"--task={task}", f"--{task}_output_dir={run.output}", data, f"--out={run.result_path}"]
        for command, arguments in (("train", train), ("inference", infer), ("grade", grade)):
            sys.argv = [f"{command}.py", *arguments]
            print(f"\n$ python {shlex.join(sys.argv)}")
            importlib.import_module(command).main()
        now = run.arguments | {name: sha256(Path(path).read_bytes()) for name, path in self.files.items()}
        if changed := [name for name, value in self.settings.items() if now.get(name) != value]:
            raise LabError(f"{' and '.join(changed)} changed during the run: the same command uses the new version.")
        last, metrics = run.read_history()[-1], read_json(run.result_path)["tasks"][self.settings["task"]]
        metrics |= {name: last[f"valid_{name}"] for name in ("recon_loss", "kl") if f"valid_{name}" in last}
        checkpoint = load_checkpoint(run.epoch_path(self.epoch()))
        metrics |= {"seconds": checkpoint["seconds"], "parameters": run.config["parameters"]}
        metrics["mean_picture_mse"] = float((load_split(self.files["data"])[0] / 255).var(axis=0).mean())
        for name in self.replaces:
            shutil.rmtree(self.folder.parent / name, ignore_errors=True)
        write_json(self.folder / "result.json", {"settings": self.settings, "metrics": metrics})
        for epoch in run.epochs() if self.keep == "best" else ():
            run.epoch_path(epoch).unlink()


def find_points(folder, name="*"):
    """Return the points in a sweep's folder, in the order of their names."""
    return [Point(**read_json(path), folder=path.parent) for path in sorted(folder.glob(f"{name}/point.json"))]


def main():
    started, folder, reason = float(sys.argv[1]), Path(sys.argv[2]), None
    with FileLock(folder / ".lock"), open(folder / "log.txt", "ab") as log:
        (point,) = find_points(folder.parent, folder.name)
        if point.is_done() or point.read("failed.json").get("time", 0) > started:
            return
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout.reconfigure(line_buffering=True)  # so that a kill loses no line
        keep_freed_memory()
        print(f"\n==== {time.ctime()} on {platform.node()} ====")
        try:
            point.work()
        except BaseException as error:
            reason = str(error)
            if not isinstance(error, LabError):  # a LabError's message needs no details
                frame = traceback.extract_tb(error.__traceback__)[-1]
                reason = f"{type(error).__name__}: {reason} ({Path(frame.filename).name}, line {frame.lineno})"
            is_full = getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT) or "inline_container.cc" in reason
            reason = " ".join(f"{'the disk is full: ' * is_full}{reason}".split())[:400]
            with contextlib.suppress(OSError):  # no room for it
                traceback.print_exc()
        if reason:
            gc.collect()  # closes the file that the error has kept open: on a full disk its space is needed
            point.fail(reason)


if __name__ == "__main__":
    main()

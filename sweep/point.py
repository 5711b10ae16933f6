"""One point of a sweep: a setting, the folder that holds its run, the state that it is in, and the work on it.

    python -m sweep.point STARTED OUT/NAME      # do a point, unless it has failed since STARTED

This process holds the point's lock until it ends, however it ends.
The folder holds point.json, which says what the point is; the run; log.txt; and in the end result.json or failed.json.
It keeps its setting: other files or settings of the same name get a folder of their own.
"""

import os

if __name__ == "__main__":  # before torch and tqdm look; the log is a file
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
    """settings: all that a result depends on: arguments of train.py, and checksums of FILES; files: their paths
    arguments: the user's for train.py; keep: "all" checkpoints in the end, or "best"; replaces: folders that then go
    """

    folder: Path
    settings: dict
    files: dict
    arguments: list
    keep: str
    replaces: list

    def read(self, name):
        """Return what a JSON file in the folder holds, {} if there is no whole one."""
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
        except OSError as error:  # other than Timeout: a folder to look at only
            if isinstance(error, Timeout):
                return "running"
        return "failed" if self.read("failed.json") else "missing"

    def fail(self, reason):
        write_json(self.folder / "failed.json", {"time": time.time(), "reason": reason})

    def epoch(self):
        """Return the last epoch that the run has finished, 0 if there is none."""
        return max(Run(self.folder).epochs(), default=0)

    def work(self):
        """Train, infer and grade, in this process; a run that was begun is resumed."""
        run = Run(self.folder)
        hidden = [*self.folder.glob(".*"), *self.folder.glob("*/.*")]  # what killed processes were writing
        new = [] if self.epoch() else [run.config_path, run.best, run.submission]
        for path in {self.folder / "failed.json", *new, *hidden} - {self.folder / ".lock"}:
            path.unlink(missing_ok=True)
        files, task = self.files, self.settings["task"]
        train = ["--load_from_checkpoint" if self.epoch() else f"--submission={files['submission']}", *self.arguments]
        train += [f"--train_data={files['train_data']}", f"--valid_data={files['valid_data']}", f"--save_dir={run}"]
        train += [f"--{name}={self.settings[name]}" for name in OWN]
        infer = [f"--task={task}", f"--checkpoint_path={run.best}", f"--data={files['data']}"]
        grade = [f"--task={task}", f"--{task}_output_dir={run.output}", f"--data={files['data']}"]
        grade += [f"--out={run.result_path}"]
        for command, arguments in (("train", train), ("inference", infer), ("grade", grade)):
            sys.argv = [f"{command}.py", *arguments]
            print(f"\n$ python {shlex.join(sys.argv)}")
            importlib.import_module(command).main()
        now = run.arguments | {name: sha256(Path(path).read_bytes()) for name, path in self.files.items()}
        if changed := [name for name, value in self.settings.items() if now.get(name) != value]:
            raise LabError(f"{' and '.join(changed)} changed meanwhile: the same command takes them as they are now.")
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
            if not isinstance(error, LabError):  # which says what people need to know
                frame = traceback.extract_tb(error.__traceback__)[-1]
                reason = f"{type(error).__name__}: {reason} ({Path(frame.filename).name}, line {frame.lineno})"
            is_full = getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT) or "inline_container.cc" in reason
            reason = " ".join(f"{'the disk is full: ' * is_full}{reason}".split())[:400]
            with contextlib.suppress(OSError):  # no room for it
                traceback.print_exc()
        if reason:
            gc.collect()  # closes the file that the error has kept open: on a full disk its room is needed
            point.fail(reason)


if __name__ == "__main__":
    main()

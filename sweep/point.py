"""One point of a sweep: a setting, the folder that holds its run, the state that it is in, and the work on it.

    python -m sweep.point STARTED OUT/NAME      # do a point; STARTED: it is not tried again if it has failed since then

The folder holds point.json, which says what the point is; the run; log.txt; and in the end result.json, or failed.json
with the reason. A folder keeps its setting: other files or settings of the same name get a folder of their own.
"""

import os

if __name__ == "__main__":  # before torch and tqdm look; the log is a file
    os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", "1"))
    os.environ["TQDM_DISABLE"] = "1"

import contextlib
import csv
import errno
import gc
import importlib
import platform
import shlex
import shutil
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from data_utils import load_split
from lab.cli import LabError, keep_freed_memory
from lab.files import read_json, sha256, write_json
from submission_api import load_checkpoint

LAB = Path(__file__).resolve().parent.parent
OWN = ("task", "latent_dim", "var", "epochs", "seed")  # settings in which the points of one call differ
FILES = ("submission", "data", "train_data", "valid_data")  # settings that are checksums


@dataclass(frozen=True)
class Point:
    """folder: the point's own; settings: all that its result depends on, arguments of train.py and checksums of FILES
    files: the absolute path of each of FILES; arguments: the user's for train.py; keep: "all" checkpoints in the end,
    or only the "best"; replaces: names of folders that go when this point is done
    """

    folder: Path
    settings: dict
    files: dict
    arguments: list
    keep: str
    replaces: list

    def save(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "point.json", {k: v for k, v in asdict(self).items() if k != "folder"})

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
            with FileLock(self.folder / ".lock", timeout=0):
                pass
        except Timeout:
            return "running"
        except OSError:
            pass  # a folder to look at only
        return "failed" if self.read("failed.json") else "missing"

    def fail(self, reason):
        write_json(self.folder / "failed.json", {"time": time.time(), "reason": reason})

    def epoch(self):
        """Return the last epoch that the run has finished, 0 if there is none."""
        return max((int(path.stem[6:]) for path in self.folder.glob("epoch_*.pth")), default=0)

    def commands(self):
        """Return the lab's commands for the point, each as a list of words."""
        files, folder, task = self.files, self.folder, f"--task={self.settings['task']}"
        train = ["--load_from_checkpoint" if self.epoch() else f"--submission={files['submission']}", *self.arguments]
        train += [f"--{name}={self.settings[name]}" for name in OWN]
        train += [f"--train_data={files['train_data']}", f"--valid_data={files['valid_data']}", f"--save_dir={folder}"]
        infer = [task, f"--checkpoint_path={folder / 'best.pth'}", f"--data_path={files['data']}"]
        grade = [task, f"--{task[7:]}_output_dir={folder / 'output'}", f"--test_data_path={files['data']}"]
        return ["train", *train], ["inference", *infer], ["grade", *grade, f"--out={folder / 'grade_result.json'}"]

    def work(self):
        """Train, infer and grade, in this process; a run that was begun is resumed."""
        leftovers = ["failed.json", ".*", "*/.*"]  # the hidden ones are what killed processes were writing
        for pattern in leftovers if self.epoch() else [*leftovers, "config.json", "*.pth"]:
            for path in self.folder.glob(pattern):
                if path.name != ".lock":
                    path.unlink()
        for command, *arguments in self.commands():
            sys.argv = [f"{command}.py", *arguments]
            print(f"\n$ python {shlex.join(sys.argv)}")
            importlib.import_module(command).main()
        config = read_json(self.folder / "config.json")
        for name, value in self.settings.items():
            if name in FILES and sha256(Path(self.files[name]).read_bytes()) != value:
                raise LabError(f"{self.files[name]} has changed meanwhile: the same command takes it as it is now.")
            if name not in FILES and (actual := config["arguments"].get(name, value)) != value:
                raise LabError(f"the run was trained with {name} {actual}, asked for was {value}.")
        metrics = read_json(self.folder / "grade_result.json")["tasks"][self.settings["task"]]
        with open(self.folder / "history.csv", newline="", encoding="utf-8") as file:
            *_, last = csv.DictReader(file)
        metrics |= {name: float(last[f"valid_{name}"]) for name in ("rec", "kl") if f"valid_{name}" in last}
        metrics["seconds"] = load_checkpoint(self.folder / f"epoch_{self.epoch()}.pth")["seconds"]
        metrics["parameters"] = config.get("parameters") or self.read("hyperparams.json").get("parameters")
        metrics["mean_picture_mse"] = float((load_split(self.files["data"])[0] / 255).var(axis=0).mean())
        write_json(self.folder / "result.json", {"settings": self.settings, "metrics": metrics})


def find_points(folder, name="*"):
    """Return the points in a sweep's folder, in the order of their names."""
    return [Point(**read_json(path), folder=path.parent) for path in sorted(folder.glob(f"{name}/point.json"))]


def describe(error):
    """Return an error's type, message and line in one line of text; a full disk is called one."""
    text = str(error)
    if not isinstance(error, LabError):  # which says what people need to know
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {text} ({Path(frame.filename).name}, line {frame.lineno})"
    is_full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "inline_container.cc" in text
    return " ".join(f"{'the disk is full: ' * is_full}{text}".split())[:400]


def main():
    started, folder = float(sys.argv[1]), Path(sys.argv[2])
    # The lock is held until this process ends, however it ends.
    with FileLock(folder / ".lock"), open(folder / "log.txt", "ab") as log:
        (point,) = find_points(folder.parent, folder.name)
        if point.read("failed.json").get("time", 0) > started:
            sys.exit(1)
        for output in (1, 2):
            os.dup2(log.fileno(), output)
        sys.stdout.reconfigure(line_buffering=True)  # so that a kill loses no line
        keep_freed_memory()
        try:
            if not point.is_done():
                print(f"\n==== {time.ctime()} on {platform.node()} ====")
                point.work()
            for path in folder.glob("epoch_*.pth") if point.keep == "best" else ():
                path.unlink()
            for name in point.replaces:
                shutil.rmtree(folder.parent / name, ignore_errors=True)
        except BaseException as error:
            reason = describe(error)
            with contextlib.suppress(OSError):  # no room for it
                traceback.print_exc()
        else:
            return
        gc.collect()  # closes the file that the error has kept open: on a full disk its room is needed
        point.fail(reason)
        sys.exit(1)


if __name__ == "__main__":
    main()

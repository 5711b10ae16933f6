"""What the three commands share: flags, training that can be stopped and resumed, and results in JSON."""

import json
from pathlib import Path

import torch

from data_utils import load_split
from lab.cli import LabError, default_device, device, lab_path, number, versions
from lab.files import read_json, sha256, write_json
from lab.run import Run


def add_arguments(parser, out):
    """Add the flags that every experiment has."""
    parser.add_argument("--out", type=Path, default=Path(out), help="folder; the same command resumes what is there")
    parser.add_argument("--seed", type=number(int, 0), default=0, help="of everything random")
    parser.add_argument("--train_num", type=number(int, 1), help="train on the first N pictures (default: all)")
    parser.add_argument("--test_num", type=number(int, 1), help="test on the first N pictures (default: all)")
    parser.add_argument("--device", type=device, default=default_device(), help="cpu, cuda, cuda:1, mps")


def add_submission_argument(parser, name):
    """Add --submission, the file that the lab of this name is about."""
    own = lab_path(f"experiments/{name}/submission.py")
    parser.add_argument("--submission", type=Path, default=own, help="the file that you filled in")


def add_mnist_arguments(parser):
    """Add the flags that say where MNIST is; a student's package has no test split, and tests on the validation one."""
    for split in ("train", "valid", "test"):
        own = lab_path(f"dataset/{split}.npz")
        own = own if own.exists() or split != "test" else lab_path("dataset/valid.npz")
        parser.add_argument(f"--{split}_data", type=Path, default=own, help=f"the {split} split")


def load_mnist(args):
    """Return (images, labels) of the training, validation and test split, as many as the flags ask for."""
    counts = {"train": args.train_num, "valid": None, "test": args.test_num}
    splits = {name: load_split(getattr(args, f"{name}_data")) for name in counts}
    return [tuple(array[: counts[name]] for array in splits[name]) for name in counts]


def describe_data(splits):
    """Return how many pictures are trained and tested on, and the checksum of each split's pictures and labels.

    splits: (images, labels) of the training, validation and test split, as many as are used.
    """
    names = ("train_data", "valid_data", "test_data")
    checksums = {name: sha256(*split)[:16] for name, split in zip(names, splits, strict=True)}
    return {"train_num": len(splits[0][0]), "test_num": len(splits[2][0])} | checksums


def without_test(settings):
    """Return the settings that a training depends on: all but those of the test split."""
    return {name: value for name, value in settings.items() if name not in ("test_num", "test_data")}


def check_settings(run_dir, settings):
    """Raise LabError if run_dir cannot hold a run with these settings, because there is one with others."""
    if run_dir.exists() and not run_dir.is_dir():
        raise LabError(f"{run_dir} is a file: expected a folder, choose another --out.")
    if not (run_dir / "settings.json").exists():
        return
    stored = read_json(run_dir / "settings.json")
    for name, wanted in json.loads(json.dumps(settings)).items():  # tuples become lists, as in the file
        if name not in stored:
            raise LabError(f"{run_dir} was made by an older version of this experiment: choose another --out.")
        if stored[name] != wanted:
            raise LabError(
                f"{run_dir} was started with {name} {stored[name]}, you asked for {wanted}: choose another --out, or "
                "repeat the command it was started with."
            )


def train(trainer, run_dir, settings):
    """Train a Trainer in run_dir, or resume after its newest epoch_N.pth; the model then has the last epoch's weights.

    settings: plain values that the run depends on. Raises LabError if run_dir was started with others.
    """
    check_settings(run_dir, settings)
    run_dir.mkdir(parents=True, exist_ok=True)
    if not (run_dir / "settings.json").exists():
        write_json(run_dir / "settings.json", settings)
    run = Run(run_dir)
    if run.epochs():
        trainer.load(torch.load(run.epoch_path(run.epochs()[-1]), map_location="cpu", weights_only=True))
        print(f"{run_dir}: resumes after epoch {trainer.epoch} of {trainer.epochs}")
    else:
        print(f"{run_dir}: {trainer.epochs} epochs of {trainer.steps_per_epoch} steps")
    trainer.train(run_dir)


def once(path, settings, measure):
    """Return measure()'s metrics, a dict of plain values; `path` keeps them for the next call with these settings."""
    settings = json.loads(json.dumps(settings))
    if path.exists() and (stored := read_json(path)).get("settings") == settings:
        return stored["metrics"]
    content = {"settings": settings, "metrics": measure()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
    return read_json(path)["metrics"]


def report(path, title, results, settings, args, hidden=()):
    """Write the results of runs as JSON, with their settings and the machine, and print them as a table.

    results: {name: metrics with a `status`, and a `reason` where it is "diverged"}; title: of the names, "run"; hidden:
    metrics that the table does not show.
    """
    write_json(path, {"settings": settings, f"{title}s": results, "machine": describe_machine(args)})
    hidden = ("reason", *hidden)
    columns = dict.fromkeys(key for metrics in results.values() for key in metrics if key not in hidden)
    print_table([{title: name} | {key: metrics.get(key) for key in columns} for name, metrics in results.items()])
    for name, metrics in results.items():
        if metrics["status"] == "diverged":
            print(f"{name} diverged: {metrics['reason']}")


def describe_machine(args):
    """Return the device and the versions that metrics were measured with."""
    return {"device": args.device, "threads": torch.get_num_threads()} | versions()


def count_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def print_table(rows):
    """Print dicts with the same keys as a table; None is a dash."""
    cells = [list(rows[0])] + [[format_cell(value) for value in row.values()] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def format_cell(value):
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1 else f"{value:.2f}"
    return "-" if value is None else str(value)

"""What the labs' programs share: flags, training that can be stopped and resumed, and results in JSON."""

import json
from pathlib import Path

import torch

from data_utils import load_split
from lab.cli import LabError, default_device, device, lab_path, number, versions
from lab.files import read_json, sha256, write_json
from lab.run import Run
from trainer import Diverged

CHECKSUMS = ("submission", "train_data", "valid_data", "test_data")  # settings whose values mean nothing to a reader


def add_arguments(parser, name):
    """Add the flags that the program of every lab has; name: of the lab."""
    text, own = "the file that you filled in", lab_path(f"experiments/{name}/submission.py")
    parser.add_argument("--submission", type=Path, default=own, help=text)
    text = "folder; the same command resumes what is there"
    parser.add_argument("--out", type=Path, default=Path(f"runs/{name}"), help=text)
    parser.add_argument("--seed", type=number(int, 0), default=0, help="of everything random")
    parser.add_argument("--train_num", type=number(int, 1), help="train on the first N pictures (default: all)")
    parser.add_argument("--test_num", type=number(int, 1), help="test on the first N pictures (default: all)")
    parser.add_argument("--device", type=device, default=default_device(), help="cpu, cuda, cuda:1, mps")


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


def settings_of(args, names):
    """Return what a run depends on beside the data: the checksum of the submission, and the arguments `names`."""
    return {"submission": sha256(args.submission.read_bytes())[:16]} | {name: getattr(args, name) for name in names}


def describe_data(splits):
    """Return the numbers of training and test pictures, and the checksum of each split: (images, labels)."""
    counts = {"train_num": len(splits[0][0]), "test_num": len(splits[2][0])}
    return counts | {name: sha256(*split)[:16] for name, split in zip(CHECKSUMS[1:], splits, strict=True)}


def check_settings(run_dir, settings):
    """Raise LabError if run_dir cannot hold a run with these settings, because there is one with others."""
    if file := next((path for path in (run_dir, *run_dir.parents) if path.is_file()), None):
        raise LabError(f"{file} is a file: expected a folder, choose another --out.")
    if not (run_dir / "settings.json").exists():
        return
    stored = read_json(run_dir / "settings.json")
    for name, wanted in json.loads(json.dumps(settings)).items():  # tuples become lists, as in the file
        if (was := stored.get(name, "unknown")) != wanted:
            what = f"another {name}" if name in CHECKSUMS else f"{name} {was}, you asked for {wanted}"
            raise LabError(f"{run_dir} was started with {what}: choose another --out, or give the same settings again.")


def train(trainer, run_dir, settings):
    """Train a Trainer in run_dir, or resume after its newest epoch_N.pth; the model then has the last epoch's weights.

    settings: plain values that the run depends on; those of the test split may change. Raises LabError if run_dir was
    started with others.
    """
    settings = {name: value for name, value in settings.items() if name not in ("test_num", "test_data")}
    check_settings(run_dir, settings)
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(run_dir / "settings.json", settings)
    run = Run(run_dir)
    if run.epochs():
        trainer.load(torch.load(run.epoch_path(run.epochs()[-1]), map_location="cpu", weights_only=True))
        print(f"{run_dir}: resumes after epoch {trainer.epoch} of {trainer.epochs}")
    else:
        print(f"{run_dir}: {trainer.epochs} epochs of {trainer.steps_per_epoch} steps")
    trainer.train(run_dir)
    trainer.model.eval()


def once(path, settings, measure):
    """Return measure()'s metrics, a dict of plain values; `path` keeps them for the next call with these settings."""
    settings = json.loads(json.dumps(settings))
    if path.exists() and (stored := read_json(path)).get("settings") == settings:
        return stored["metrics"]
    content = {"settings": settings, "metrics": measure()}
    write_json(path, content)
    return read_json(path)["metrics"]


def train_once(trainer, run_dir, settings, measure, gen_num):
    """Train, and return measure()'s metrics with a status, "ok" or "diverged", and a reason; or those that were kept.

    A loss that becomes NaN or infinite is a result too. gen_num: a setting that only the metrics depend on.
    """

    def result():
        try:
            train(trainer, run_dir, settings)
            metrics = {"status": "ok", "reason": None} | measure()
        except Diverged as error:
            return {"status": "diverged", "reason": str(error)}
        parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
        return metrics | {"parameters": parameters, "seconds": trainer.seconds}

    return once(run_dir / "metrics.json", settings | {"gen_num": gen_num}, result)


def require_finite(tensor, what):
    """Raise Diverged unless all is finite: given NaN, a binary cross-entropy raises an error that explains nothing."""
    if not tensor.isfinite().all():
        raise Diverged(f"{what} became NaN or infinite: try a lower --lr, and look for log or exp of large values")


def report(path, title, results, settings, args, hidden=()):
    """Write the results of runs as JSON, with their settings and the machine, and print them as a table.

    results: {name: metrics}, with a `reason` where they diverged; title: of the names, "run"; hidden: metrics that the
    table does not show.
    """
    machine = {"device": args.device, "threads": torch.get_num_threads()} | versions()
    write_json(path, {"settings": settings, f"{title}s": results, "machine": machine})
    columns = dict.fromkeys(key for metrics in results.values() for key in metrics if key not in {"reason", *hidden})
    rows = [[name, *(format_cell(metrics.get(key)) for key in columns)] for name, metrics in results.items()]
    rows = [[title, *columns], *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    for name, metrics in results.items():
        if metrics.get("reason"):
            print(f"{name} diverged: {metrics['reason']}")


def format_cell(value):
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1 else f"{value:.2f}"
    return "-" if value is None else str(value)

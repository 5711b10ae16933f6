"""Resuming a run: which one, which arguments may change, and its checkpoint.

A run keeps its settings, so that its losses are comparable from start to end.
"""

import argparse
import shutil
from pathlib import Path

from lab.checkpoints import load_checkpoint, load_weights
from lab.cli import LabError, command, versions
from lab.run import RUNS, Run, find_runs

OF_THIS_CALL = ("save_dir", "load_from_checkpoint", "checkpoint", "show_loss_plot", "save_loss_plot", "device", "run")
MAY_CHANGE = ("epochs", "tensorboard")  # arguments that may change when a run is resumed
DATA = ("train_data", "valid_data")  # compared by content: a copy of a file is the same data


def parse_args(make_parser):
    """Return train.py's arguments. `run` is the Run to resume, whose settings are the defaults then; it is None for a
    new run.

    Raises LabError for an argument that contradicts the run's settings.
    """
    args = make_parser().parse_args()
    args.run = None
    if not (args.load_from_checkpoint or args.checkpoint is not None):
        return args

    run = find_run(args)
    stored = read_arguments(run, make_parser(), args.task)
    parser = make_parser()
    parser.set_defaults(**vars(stored) | {"submission": None})
    asked = parser.parse_args()
    asked.load_from_checkpoint, asked.checkpoint, asked.run = True, args.checkpoint, run
    refuse_other_settings(make_parser(), stored, asked)
    asked.submission = run.submission
    return asked


def find_run(args):
    """Return the Run to resume; a --checkpoint inside --save_dir gets its full path."""
    if args.checkpoint is not None:
        if args.save_dir is not None and not args.checkpoint.exists():
            args.checkpoint = args.save_dir / args.checkpoint
        run = Run.open(args.checkpoint.parent)
        if args.save_dir is not None and Run(args.save_dir) != run:
            raise LabError(f"--checkpoint {args.checkpoint} is not in --save_dir {args.save_dir}: leave out one.")
        return run
    if args.save_dir is not None:
        return Run.open(args.save_dir)
    runs = [run for run in find_runs() if run.task == args.task and run.arguments]
    if not runs:
        raise LabError(
            f"there is no run of {args.task} in {RUNS.absolute()} to resume: leave out --load_from_checkpoint to start "
            "one, or give its folder with --save_dir."
        )
    return Run.open(runs[0].folder)


def read_arguments(run, parser, task):
    """Return the arguments with which a run was started, checked as if they were typed."""

    def refuse(message):
        raise LabError(f"{run.config_path} is damaged ({message}): start a new run.")

    known = vars(parser.parse_args(["--task", task])).keys() - set(OF_THIS_CALL)
    parser.error = refuse
    words = [f"--{name}={value}" for name, value in run.arguments.items() if name in known and value is not None]
    stored = parser.parse_args(words)
    for name in DATA:
        path, own = getattr(stored, name), parser.get_default(name)
        # Started in a different folder: try the lab's own split if the run's sums can show whether it is the same.
        if not path.exists() and ("sha256" in run.config or path == Path("dataset") / own.name):
            setattr(stored, name, own)
    return stored


def refuse_other_settings(parser, stored, asked):
    """Raise LabError for an argument that contradicts the run's settings."""
    run = asked.run
    names = vars(stored).keys() - {*OF_THIS_CALL, *MAY_CHANGE, *DATA, "submission"}
    other = sorted(name for name in names if getattr(asked, name) != getattr(stored, name))
    typed, asked.submission = asked.submission, asked.submission or stored.submission
    if other:
        was, wanted = (", ".join(f"--{name} {getattr(args, name)}" for name in other) for args in (stored, asked))
        raise LabError(f"{run} was started with {was}, but you asked for {wanted}: {choose(parser, asked)}")
    differs = asked.submission.is_file() and asked.submission.read_bytes() != run.submission.read_bytes()
    if differs and typed is not None:
        raise LabError(f"--submission {typed} is not the file with which {run} was started: {choose(parser, asked)}")
    if differs:
        print(
            f"note: {asked.submission} has changed since this run began. The run is resumed with its own copy, "
            f"{run.submission}. To train the new version:\nnext: {new_run_command(parser, asked)}"
        )


def check_sums(parser, args, sums):
    """Raise LabError if a run's submission.py was edited, or the pictures differ from those with which it was started.

    sums: the present SHA-256 sums of "submission", "train_data" and "valid_data"
    """
    stored = args.run.config.get("sha256")  # older runs have none
    changed = [name for name, total in sums.items() if isinstance(stored, dict) and stored.get(name, total) != total]
    undo = f"undo that, or start a new run:\nnext: {new_run_command(parser, args)}"
    if "submission" in changed:
        raise LabError(f"{args.run.submission} was changed after the run began: {undo}")
    for name in changed:
        path, was = getattr(args, name), args.run.arguments.get(name)
        what = f"--{name} {path} has different pictures from those with which {args.run} was started"
        if str(path) == was:
            raise LabError(f"{what}: {undo}")
        raise LabError(f"{what} (then {was}): {choose(parser, args)}")


def load_newest(trainer, parser, args):
    """Load the run's newest checkpoint, or the one given by --checkpoint, into the trainer.

    If the run is resumed from an older checkpoint, everything newer in its folder is deleted.
    """
    run = args.run
    path = args.checkpoint or (run.epoch_path(run.epochs()[-1]) if run.epochs() else None)
    if path is None:
        if run.best.exists() and (best := load_checkpoint(run.best).get("epoch")) != 1:
            raise LabError(
                f"{run} has no epoch_N.pth to resume from, and its best.pth (epoch {best}) would be overwritten: "
                f"start a new run:\nnext: {new_run_command(parser, args)}"
            )
        print(f"{run} has no checkpoint yet: it starts again at epoch 1")
        return
    checkpoint = load_checkpoint(path)
    load_weights(trainer.model, checkpoint, path)
    try:
        trainer.load(checkpoint)
    except LabError as error:
        raise LabError(f"{path} cannot be resumed: {error}") from error
    if trainer.epoch > args.epochs:
        raise LabError(f"{path} is already at epoch {trainer.epoch}: give --epochs {2 * trainer.epoch} to train on.")
    later = [epoch for epoch in run.epochs() if epoch > trainer.epoch]
    print(f"resuming after epoch {trainer.epoch} of {path}")
    if later and trainer.epoch == args.epochs:
        return  # there is nothing to train, so nothing is deleted
    if not run.epoch_path(trainer.epoch).exists():
        shutil.copyfile(path, run.epoch_path(trainer.epoch))
    if later:
        print(f"deleting the checkpoints of later epochs, {later[0]} to {later[-1]}")
        run.drop_after(trainer.epoch)
    fit_best(run, trainer)


def fit_best(run, trainer):
    """Replace a best.pth that is missing, or from a deleted epoch, by the best remaining checkpoint."""
    try:
        if load_checkpoint(run.best)["epoch"] <= trainer.epoch:
            return
    except (LabError, KeyError, TypeError):
        pass
    losses = {row["epoch"]: row["valid_loss"] for row in trainer.history}  # the last row of each epoch
    best = min((epoch for epoch in run.epochs() if epoch in losses), key=losses.get)
    run.write_best(load_checkpoint(run.epoch_path(best)) | {"valid_loss": losses[best]})
    trainer.best_loss = losses[best]


def choose(parser, args):
    """Return what to do if arguments contradict a run's settings: the two commands to choose from."""
    task, epochs = args.run.task, ["--epochs", args.epochs] * (args.epochs != args.run.arguments.get("epochs"))
    return (
        "a run keeps its settings. To resume it as it is, or to start a new run:\n"
        f"next: {command('train.py', '--task', task, '--load_from_checkpoint', '--save_dir', args.run, *epochs)}\n"
        f"next: {new_run_command(parser, args)}"
    )


def new_run_command(parser, args):
    """Return the command that starts a new run with these arguments."""
    words = []
    if args.run is not None and args.submission == args.run.submission:  # the run's own copy
        submission = Path(args.run.arguments.get("submission", "submission.py"))
        args = argparse.Namespace(**vars(args) | {"submission": submission})
    for name, value in vars(args).items():
        if name not in OF_THIS_CALL and value not in (None, parser.get_default(name)):
            words += [f"--{name}"] if value is True else [f"--{name}", value]
    return command("train.py", *words)


def write_config(run, args, facts):
    """Write config.json: the arguments of a new run, or those of a resumed run that may change, and any of `facts`
    (plain values) that it does not have yet."""
    arguments = dict(run.arguments)
    for name, value in vars(args).items():
        if name in MAY_CHANGE or (name not in OF_THIS_CALL and name not in arguments):
            arguments[name] = str(value) if isinstance(value, Path) else value
    now = {"arguments": arguments, "device": args.device, "versions": versions()}
    run.write_config(now | facts | run.config | now)

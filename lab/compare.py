"""Compares runs: their settings, validation losses and scores."""

from lab.cli import LabError, command
from lab.run import RUNS, SETTINGS, find_runs, show_age
from lab.tasks import TASKS

HEADER = ("score", *SETTINGS, "epochs", "best", "valid loss", "trained", "run")


def score_of(run):
    """Return the score that grade.py measured for a run's best.pth; None without one, or if best.pth has changed."""
    result = run.result
    return result["score"] if result is not None and result["current"] else None


def best_first(runs):
    """Return runs sorted by score (at the cap, by raw score), then those without a score, the last trained first."""

    def place(run):
        result = run.result
        if result is None or not result["current"]:
            return (1, 0, 0, -run.changed())
        return (0, -result["score"], -result["raw"], -run.changed())

    return sorted(runs, key=place)


def newest_trained(task=None, everywhere=(False,)):
    """Return the Run of a task (of any, if it is None) that was trained last; raises LabError if there is none.

    everywhere: where to look, as in find_runs; the second place is searched if nothing is found in the first.
    """
    for place in everywhere:
        for run in find_runs(place):
            if run.best.is_file() and run.task in TASKS and task in (None, run.task):
                return run
    wanted = f"trained run of {task}" if task else "trained run"
    raise LabError(
        f"there is no {wanted} in {RUNS.absolute()}: give --checkpoint_path, or train one:\n"
        f"next: {command('train.py', '--task', task or next(iter(TASKS)))}"
    )


def table(runs):
    """Return the lines of a table with one row per run. A score in brackets belongs to an earlier best.pth."""
    rows = [HEADER, *map(cells, runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return [
        "  ".join([*(cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=False)), row[-1]])
        for row in rows
    ]


def cells(run):
    """Return a run's row of the table."""
    result, best, history = run.result, run.best_epoch(), run.read_history()
    score = "-" if result is None else f"{result['score']:.4f}" if result["current"] else f"({result['score']:.4f})"
    settings = [str(run.arguments.get(name, "-")) for name in SETTINGS]
    done = history[-1].get("epoch", 0) if history else 0
    epochs = f"{done:g}/{run.arguments.get('epochs', '-')}"
    losses = [str(best[0]), f"{best[1]:.2f}"] if best else ["-", "-"]
    return (score, *settings, epochs, *losses, show_age(run.changed()), str(run))


def print_runs(task):
    """Print the runs of a Task, the best score first."""
    runs = [run for run in find_runs(everywhere=True) if run.task == task.name]
    lines = table(best_first(runs)) if runs else [f"no runs in {RUNS.absolute()}"]
    print("\n".join([f"{task.name}, maximum score {task.cap:g}", *lines, ""]))
    if any("(" in line.split()[0] for line in lines):
        print("A score in brackets is outdated: best.pth has changed since. Run inference.py and grade.py again.\n")

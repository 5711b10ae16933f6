"""What run_sweep.sh leaves to Python: the plan of a sweep, the state of its points, and locks.

    python sweep/points.py plan [ARGUMENTS FOR train.py]  # check the knobs, given in the environment; print the points
    python sweep/points.py states FOLDER NAME ...         # print "done", "running", "failed" or "missing" and the name
    python sweep/points.py lock [--wait] FILE COMMAND ... # run COMMAND with FILE locked; exit code 75: another has it

A point is the folder TASK_latentL_varV_epochsE_seedS. It is asked for its state every second, so nothing heavy is
imported here.
"""

import difflib
import fcntl
import itertools
import json
import math
import os
import re
import sys
import time
from pathlib import Path

TASKS = ("VAEwolabel", "Genwithlabel")
KNOBS = ("SUBMISSION", "LATENT_DIMS", "TASKS", "SEEDS", "VARS", "EPOCHS", "JOBS", "DATA", "SBATCH_ARGS", "PYTHON")
LIKE_A_KNOB = 0.85  # difflib's ratio: one letter too few in VARS gives 0.857
POINT = re.compile(
    r"(?P<task>[A-Za-z]+)_latent(?P<latent_dim>\d+)_var(?P<var>[^_]+)_epochs(?P<epochs>\d+)_seed(?P<seed>\d+)"
)
BUSY = 75  # EX_TEMPFAIL of sysexits.h
SETTLE = 1.0  # seconds in which a lock may be held by someone who only looks whether it is held

# Options of train.py that the sweep gives itself, or that make no sense in it.
NOT_FOR_TRAIN = (
    "task", "submission", "latent_dim", "var", "epochs", "seed", "save_dir", "load_from_checkpoint", "checkpoint",
    "show_loss_plot", "help",
)  # fmt: skip


def die(message):
    """End with a usage error."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def whole_number(low):
    def parse(text):
        return int(text) if re.fullmatch(r"[0-9]{1,9}", text) and int(text) >= low else None

    parse.expected = f"whole numbers from {low} to 999999999"
    return parse


def variance(text):
    """Return a positive finite number in its shortest form as text, None for anything else."""
    if not re.fullmatch(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", text):
        return None
    value = float(text)
    if not 0 < value < math.inf:
        return None
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


variance.expected = "numbers above 0"


def task(text):
    return text if text in TASKS else None


task.expected = " and ".join(TASKS)


def read_list(knob, parse):
    """Return the values of a knob without repetition, in the order given."""
    values = {}
    for word in os.environ[knob].split():
        value = parse(word)
        if value is None:
            die(f"{knob}: expected {parse.expected}, separated by spaces, got {word!r}.")
        values[value] = None
    if not values:
        die(f'{knob} is empty: expected {parse.expected}, such as {knob}="..."; leave it out for the default.')
    return list(values)


def read_one(knob, parse):
    values = os.environ[knob].split()
    if len(values) != 1 or parse(values[0]) is None:
        die(f"{knob}: expected one of {parse.expected}, got {os.environ[knob]!r}.")
    return parse(values[0])


def check_environment():
    """Refuse variables that look like a misspelt knob: the sweep would silently take the default instead."""
    for name in sorted(os.environ.keys() - set(KNOBS)):
        (like,) = difflib.get_close_matches(name.upper(), KNOBS[:-1], n=1, cutoff=LIKE_A_KNOB) or (None,)
        if like is not None:
            die(f"the environment has {name}, which is no knob: did you mean {like}? (If not: unset {name}.)")


def check_train_arguments(arguments):
    """Refuse what train.py would refuse, and what the sweep sets itself, before anything is trained."""
    for argument in arguments:
        name = argument.split("=")[0].lstrip("-")
        taken = [option for option in NOT_FOR_TRAIN if name and option.startswith(name)]  # argparse takes prefixes
        if "\n" in argument or (argument.startswith("-") and taken):
            hint = "the sweep sets it: use its knobs, bash run_sweep.sh --help" if taken else "it holds a line break"
            die(f"{argument!r} cannot be given after --: {hint}.")
    if not arguments:
        return
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import train  # a second or two, for torch

    if os.environ.get("SWEEP_ON_SLURM"):
        train.device = str  # the device is the compute node's, not this machine's
    sys.argv = ["train.py", "--task", TASKS[0], *arguments]
    parsed = train.parse_args()
    for name in ("train_data", "valid_data"):
        if not getattr(parsed, name).is_file():
            die(f"--{name} {getattr(parsed, name)} does not exist.")


def plan(arguments):
    """Print the names of the points that the knobs ask for."""
    check_environment()
    lists = [read_list("SEEDS", whole_number(0)), read_list("VARS", variance)]
    lists += [read_list("LATENT_DIMS", whole_number(1)), read_list("TASKS", task)]
    epochs = read_one("EPOCHS", whole_number(1))
    read_one("JOBS", whole_number(1))
    for knob in ("SUBMISSION", "DATA"):
        if not Path(os.environ[knob]).is_file() or "\n" in os.environ[knob]:
            die(f"{knob}: there is no file {os.environ[knob]!r}: name one with {knob}=PATH.")
    check_train_arguments(arguments)
    for seed, var, latent_dim, name in itertools.product(*lists):
        print(f"{name}_latent{latent_dim}_var{var}_epochs{epochs}_seed{seed}")


def read_settings(folder):
    """Return what belongs to all points of a sweep: SUBMISSION, DATA and the list of train.py's further arguments."""
    submission, data, *arguments = (Path(folder) / "settings.txt").read_text().splitlines()
    return submission.removeprefix("SUBMISSION="), data.removeprefix("DATA="), arguments


def read_result(folder, name, data):
    """Return the figures in a point's grade_result.json, None unless it is whole and of this point and these data."""
    try:
        settings = POINT.fullmatch(name).groupdict()
        result = json.loads((Path(folder) / name / "grade_result.json").read_text())
        figures = result["tasks"][settings["task"]]
        numbers = [figures[key] for key in ("mse", "ssim", "bonus", "raw", "score")]
        fits = figures["latent_dim"] == int(settings["latent_dim"]) and result["test_data"] == data
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return figures if fits and all(isinstance(value, int | float) for value in numbers) else None


def is_locked(path):
    try:
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def states(folder, names):
    """Print the state of each point and its name."""
    data = read_settings(folder)[1]
    for name in names:
        if read_result(folder, name, data) is not None:
            state = "done"
        elif is_locked(Path(folder) / name / ".lock"):
            state = "running"
        else:
            state = "failed" if (Path(folder) / name / "failed").is_file() else "missing"
        print(state, name)


def lock(path, command, wait):
    """Become `command`, with a lock that it and its children hold until the last of them has ended, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + SETTLE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                sys.exit(BUSY)
            time.sleep(0.05)
    os.set_inheritable(descriptor, True)
    os.execvp(command[0], command)


def main():
    match sys.argv[1:]:
        case ["plan", *arguments]:
            plan(arguments)
        case ["states", folder, *names]:
            states(folder, names)
        case ["lock", "--wait", path, *command]:
            lock(path, command, wait=True)
        case ["lock", path, *command]:
            lock(path, command, wait=False)
        case _:
            die("run_sweep.sh calls this: bash run_sweep.sh --help")


if __name__ == "__main__":
    main()

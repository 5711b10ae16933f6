"""From the knobs to the points of a sweep; what is wrong is told before anything is written or queued."""

import contextlib
import difflib
import io
import itertools
import math
import os
import re
import shutil
import sys
from pathlib import Path

import torch
from filelock import FileLock

import train
from data_utils import MNISTDataset, load_split
from grade import CAPS
from lab.cli import LabError
from lab.files import sha256, write_json, write_whole
from submission_api import SubmissionError, build_model, load_submission, make_loss
from sweep.point import FILES, LAB, OWN, Point, find_points

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
KNOBS = {  # name → default, what it is
    "SUBMISSION": (str(LAB / "submission.py"), "the file to train"),
    "DATA": (str(LAB / "dataset" / "valid.npz"), "the split that is reconstructed and graded"),
    "LATENT_DIMS": ("2 5 10 20 40 100", "widths of the code"),
    "TASKS": (" ".join(CAPS), "one of them or both"),
    "SEEDS": ("0", "one point each; 0-4 are five"),
    "VARS": ("0.1", "variances of p(x|z): small is sharp"),
    "EPOCHS": ("10", "of each training"),
    "JOBS": (str(min(2, CORES)), "points at a time; each gets its share of the cores"),
    "KEEP": ("all", "checkpoints of a point that is done: all, or best (best.pth alone)"),
    "SBATCH_ARGS": ("", 'further arguments for sbatch: "--partition=gpu --time=1:00:00 --gres=gpu:1"'),
    "PYTHON": (sys.executable, "the Python that run_sweep.sh starts"),
}
CHOICES = {"TASKS": [*CAPS], "KEEP": ["all", "best"]}
LIKE_A_KNOB = 0.85  # difflib's ratio: one letter too few in VARS gives 0.857
# Arguments of train.py that make no sense in a sweep, and those on which no result depends.
SENSELESS = ("submission", "save_dir", "load_from_checkpoint", "checkpoint", "show_loss_plot", "help")
WITHOUT_EFFECT = ("device", "tensorboard", "save_loss_plot")


def read_knobs(arguments):
    """Return {knob: text} from KNOB=VALUE arguments, the environment and the defaults."""
    given = {name: os.environ[name] for name in KNOBS if name in os.environ}
    given |= dict(argument.partition("=")[::2] for argument in arguments)
    for name in given.keys() - KNOBS.keys():
        raise LabError(f'unknown knob {name}: the knobs are {", ".join(KNOBS)}. Lists are quoted: LATENT_DIMS="2 5".')
    for name in sorted(os.environ.keys() - KNOBS.keys()):
        for like in difflib.get_close_matches(name.upper(), KNOBS.keys() - given.keys(), n=1, cutoff=LIKE_A_KNOB):
            print(f"note: the environment has {name}, which is no knob: did you mean {like}?", file=sys.stderr)
    for name, text in given.items():
        if not text.strip() and name != "SBATCH_ARGS":
            raise LabError(f"{name} is empty: leave it out for the default, {KNOBS[name][0]!r}.")
    return {name: default for name, (default, _) in KNOBS.items()} | given


def read_list(knobs, name):
    """Return a knob's values without repetition, in the order given."""
    low, values = 0 if name == "SEEDS" else 1, {}
    expected = "numbers above 0" if name == "VARS" else f"whole numbers from {low} on, or ranges such as {low}-4"
    for word in re.split(r"[\s,]+", knobs[name].strip(" ,\t\n")):
        found = []
        if name in CHOICES:
            expected, found = " or ".join(CHOICES[name]), [word] * (word in CHOICES[name])
        elif name == "VARS" and re.fullmatch(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", word):
            found = [float(word)] * (0 < float(word) < math.inf)
        elif name != "VARS" and (ends := re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", word)):
            found = range(int(ends[1]), int(ends[2] or ends[1]) + 1)
            found = found if int(ends[1]) >= low and len(found) <= 1000 else []
        if not found:
            raise LabError(f"{name}: expected {expected}, separated by spaces or commas, got {word!r}.")
        values |= dict.fromkeys(found)
    if name in ("EPOCHS", "JOBS", "KEEP") and len(values) > 1:
        raise LabError(f"{name}: expected one value, got {knobs[name]!r}.")
    return list(values)


def read_settings(knobs, arguments, on_slurm):
    """Return the settings of each point, and the path of each of FILES."""
    for argument in arguments:
        name = argument.split("=")[0].lstrip("-")
        if argument.startswith("-") and name and any(own.startswith(name) for own in (*OWN, *SENSELESS)):
            raise LabError(f"{argument!r} cannot be given after --: the sweep sets it, see run_sweep.sh --help.")
    if on_slurm:
        train.device = str  # it is the compute node's, not this machine's
    own_data = [f"--{name}_data={LAB / 'dataset' / name}.npz" for name in ("train", "valid")]
    sys.argv, said = ["train.py", f"--task={CHOICES['TASKS'][0]}", *own_data, *arguments], io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = vars(train.parse_args())
    except SystemExit as error:
        message = said.getvalue().strip().rpartition("error: ")[2]
        raise LabError(f"train.py does not take what follows --: {message}") from error
    files = {"submission": knobs["SUBMISSION"], "data": knobs["DATA"]}
    files |= {name: str(parsed[name]) for name in ("train_data", "valid_data")}
    for name, path in files.items():
        if not Path(path).is_file():
            raise LabError(f"{name if '_' in name else name.upper()}: there is no file {path!r}.")
    left_out = {*OWN, *FILES, *SENSELESS, *WITHOUT_EFFECT}
    shared = {k: v for k, v in parsed.items() if k not in left_out and isinstance(v, str | int | float)}
    shared |= {name: sha256(Path(path).read_bytes()) for name, path in files.items()}
    lists = [read_list(knobs, name) for name in ("SEEDS", "VARS", "LATENT_DIMS", "TASKS", "EPOCHS")]
    order = ("seed", "var", "latent_dim", "task", "epochs")
    return [dict(zip(order, own, strict=True)) | shared for own in itertools.product(*lists)], files


def try_submission(files, wanted):
    """Try the models on one batch; raises LabError if none of a task's models works, or the data cannot be read."""
    module, errors = load_submission(files["submission"]), {}
    images, labels = [load_split(files[name]) for name in FILES[1:]][-1]
    batch = MNISTDataset(images[:16], labels[:16]).__getitems__(range(len(images[:16])))
    for task, width in {(settings["task"], settings["latent_dim"]): None for settings in wanted}:
        try:
            with torch.no_grad():
                make_loss(module, task, 0.1)(build_model(module, task, width), batch)
            errors[task] = None
        except SubmissionError as error:
            errors.setdefault(task, error)
    for task, error in errors.items():
        if error:
            raise LabError(f"{error}\nNothing was started: no model for {task} works.")


def make_points(knobs, args):
    """Return the points that are to be done, each with a folder, and the older ones: points of the same name with a
    result of other files or settings, in place of which nothing is done except with args.redo."""
    wanted, files = read_settings(knobs, args.arguments, args.slurm)
    (keep,), out, points, older = read_list(knobs, "KEEP"), args.out, [], []
    try_submission(files, wanted)
    if (out / "settings.txt").exists():
        raise LabError(f"{out} holds a sweep of an older version of the lab: give another --out.")
    snapshot = out.resolve() / "submissions" / wanted[0]["submission"][:16] / "submission.py"
    snapshot.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out / ".lock"):
        with write_whole(snapshot) as temporary:  # the copy is trained, and the file itself may be edited meanwhile
            temporary.write_bytes(Path(files["submission"]).read_bytes())
        files = {name: os.path.realpath(path) for name, path in files.items()} | {"submission": str(snapshot)}
        known = find_points(out)
        for settings in wanted:
            name = "{task}_latent{latent_dim}_var{var:.15g}_epochs{epochs}_seed{seed}".format(**settings)
            twins = [twin for twin in known if all(twin.settings[own] == settings[own] for own in OWN)]
            same = [twin.folder for twin in twins if twin.settings == settings]
            stale = [twin for twin in twins if twin.folder not in same and twin.is_done()]
            for twin in twins:
                if twin.folder not in same and twin.state() in ("missing", "failed"):
                    shutil.rmtree(twin.folder)  # begun with what is no longer asked for, and never finished
            if stale and not same and not args.redo:
                older += stale
                continue
            folders = (out / f"{name}{f'_{number}' * (number > 1)}" for number in itertools.count(1))
            folder = same[0] if same else next(folder for folder in folders if not folder.exists())
            replaces = [twin.folder.name for twin in stale if args.redo]
            points.append(Point(folder, settings, files, args.arguments, keep, replaces))
            points[-1].save()
        write_json(out / "sweep.json", {"settings": {k: v for k, v in wanted[0].items() if k not in OWN}})
    return points, older

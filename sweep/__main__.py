"""Sweep latent_dim: train, infer and grade a submission with many settings, here or on a Slurm cluster.

    sh run_sweep.sh                                    # the lab's submission.py over the defaults below
    sh run_sweep.sh LATENT_DIMS="2 5 10 20" SEEDS=0-2 EPOCHS=10 --out runs/sweep1 -- --lr 2e-3 --batch_size 256
    python -m sweep TASKS=VAEwolabel LATENT_DIMS=20 VARS="0.02 0.1 0.5"       # the same sweep without a shell

Arguments after -- are passed to train.py. The same command resumes a sweep and retries failed points. A result counts
only for the submission, the data and the settings with which it was made; --redo replaces the others.
Exit code: 0 all points are done, 1 some are not (they are listed), 2 wrong use, 130 stopped by Ctrl-C.
"""

import argparse
import contextlib
import difflib
import itertools
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from filelock import FileLock
from tqdm import tqdm

if not __package__:  # started as `python PATH/sweep`, from any directory
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import train
from data_utils import MNISTDataset, load_split
from lab.cli import ROOT, LabError, Parser, run_command
from lab.contract import SubmissionError, build_model, load_submission
from lab.files import sha256, write_json, write_whole
from lab.losses import make_loss
from lab.slurm import POLL, Cluster
from lab.tasks import TASKS
from sweep.point import FILES, OWN, Point, find_points
from sweep.summary import name_unfinished, print_status, read_rows, summarise

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
KNOBS = {  # name → default, what it is
    "SUBMISSION": (str(ROOT / "submission.py"), "the file to train"),
    "DATA": (str(ROOT / "dataset" / "valid.npz"), "the split to reconstruct and grade"),
    "LATENT_DIMS": ("2 5 10 20 40 100", "widths of the code"),
    "TASKS": (" ".join(TASKS), "one or both"),
    "SEEDS": ("0", "one point each; 0-4 are five"),
    "VARS": ("0.1", "variances of p(x|z): small means sharp"),
    "EPOCHS": ("10", "of each training"),
    "JOBS": (str(min(2, CORES)), "points at the same time; each gets its share of the cores"),
    "KEEP": ("all", "checkpoints of finished points: all, or best (only best.pth)"),
    "SBATCH_ARGS": ("", 'further arguments for sbatch: "--partition=gpu --time=1:00:00 --gres=gpu:1"'),
    "PYTHON": (sys.executable, "the Python that run_sweep.sh starts"),
}
CHOICES = {"TASKS": [*TASKS], "KEEP": ["all", "best"]}
SENSELESS = ("submission", "save_dir", "load_from_checkpoint", "checkpoint", "show_loss_plot", "help")  # in a sweep
WITHOUT_EFFECT = ("device", "tensorboard", "save_loss_plot")  # arguments of train.py on which no result depends


def parse_arguments():
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    knobs = [f"\n  {name:<12} {text} ({default.removeprefix(f'{ROOT}/')})" for name, (default, text) in KNOBS.items()]
    epilog = f"knobs, also in the environment (defaults in brackets):{''.join(knobs)}"
    usage = "%(prog)s [options] [KNOB=VALUE ...] [-- arguments of train.py]"
    parser = Parser(prog="run_sweep.sh", usage=usage, description=__doc__, epilog=epilog, allow_abbrev=False)
    parser.add_argument("knobs", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--out", metavar="DIR", default="runs/sweep", help="the sweep's folder")
    parser.add_argument("--redo", action="store_true", help="replace results of older files or settings")
    parser.add_argument("--slurm", action="store_true", help="run the points as a Slurm job array, and wait for them")
    parser.add_argument("--detach", action="store_true", help="with --slurm: do not wait; collect later, without it")
    parser.add_argument("--status", metavar="DIR", nargs="?", const=True, help="show the progress of a sweep")
    parser.add_argument("--summary", metavar="DIR", help="rewrite the summary from the existing results")
    args = parser.parse_intermixed_args(words[:end])
    for name in ("out", "status", "summary"):
        if getattr(args, name) == "":
            parser.error(f"--{name} is empty: expected a folder")
    if args.detach and not args.slurm:
        parser.error("--detach needs --slurm")
    args.out, args.arguments = Path(args.out), words[end + 1 :]
    return args


def read_knobs(arguments):
    """Return {knob: text} from KNOB=VALUE arguments, the environment and the defaults."""
    given = {name: os.environ[name] for name in KNOBS if name in os.environ}
    given |= dict(argument.partition("=")[::2] for argument in arguments)
    for name in given.keys() - KNOBS.keys():
        raise LabError(f'unknown knob {name}: the knobs are {", ".join(KNOBS)}. Lists are quoted: LATENT_DIMS="2 5".')
    for name in sorted(os.environ.keys() - KNOBS.keys()):  # below, 0.857 is VARS with a letter missing
        for like in difflib.get_close_matches(name.upper(), KNOBS.keys() - given.keys(), n=1, cutoff=0.85):
            print(f"note: the environment has {name}, which is not a knob: did you mean {like}?", file=sys.stderr)
    for name, text in given.items():
        if not text.strip() and name != "SBATCH_ARGS":
            raise LabError(f"{name} is empty: leave it out for the default, {KNOBS[name][0]!r}.")
    return {name: default for name, (default, _) in KNOBS.items()} | given


def read_list(knobs, name):
    """Return a knob's values without repetition, in the order given."""
    low, values = {"SEEDS": 0, "VARS": math.ulp(0)}.get(name, 1), {}  # the smallest valid value
    expected = "numbers above 0" if name == "VARS" else f"whole numbers from {low} on, or ranges such as {low}-4"
    for word in re.split(r"[\s,]+", knobs[name].strip(" ,\t\n")):
        if name in CHOICES:
            expected, found = " or ".join(CHOICES[name]), [word] * (word in CHOICES[name])
        elif name == "VARS":
            found = [float(word)] if re.fullmatch(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", word) else []
        else:
            ends = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", word)
            found = range(int(ends[1]), int(ends[2] or ends[1]) + 1) if ends else []
        if not found or (name not in CHOICES and not low <= found[0] < math.inf) or len(found) > 1000:
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

    def refuse(message):
        raise LabError(f"train.py does not accept the arguments after --: {message}")

    parser = train.make_parser()
    parser.error = refuse
    parsed = vars(parser.parse_args([f"--task={CHOICES['TASKS'][0]}", *arguments]))
    files = {"submission": knobs["SUBMISSION"], "data": knobs["DATA"]} | {name: str(parsed[name]) for name in FILES[2:]}
    for name, path in files.items():
        if not Path(path).is_file():
            raise LabError(f"{name if '_' in name else name.upper()}: there is no file {path!r}.")
    left_out = {*OWN, *FILES, *SENSELESS, *WITHOUT_EFFECT}
    shared = {k: v for k, v in parsed.items() if k not in left_out and isinstance(v, str | int | float)}
    shared |= {name: sha256(Path(path).read_bytes()) for name, path in files.items()}
    order = {"seed": "SEEDS", "var": "VARS", "latent_dim": "LATENT_DIMS", "task": "TASKS", "epochs": "EPOCHS"}
    all_own = itertools.product(*(read_list(knobs, name) for name in order.values()))
    return [dict(zip(order, own, strict=True)) | shared for own in all_own], files


def try_submission(files, wanted):
    """Try the models on one batch; raises LabError if none of a task's models works, or the data cannot be read."""
    module, works, errors = load_submission(files["submission"]), set(), {}
    images, labels = [load_split(files[name]) for name in FILES[1:]][-1]
    batch = MNISTDataset(images[:16], labels[:16]).__getitems__(range(len(images[:16])))
    for task, width in {(settings["task"], settings["latent_dim"]): None for settings in wanted}:
        try:
            with torch.no_grad():
                make_loss(module, task, 0.1)(build_model(module, task, width), batch)
            works.add(task)
        except SubmissionError as error:
            errors.setdefault(task, error)
    for task in errors.keys() - works:
        raise LabError(f"{errors[task]}\nNothing was started: no model for {task} works.")


def make_points(knobs, args):
    """Return the points to do, each with a folder, and the older ones: points with the same name and a result of other
    files or settings, which are only replaced with args.redo."""
    wanted, files = read_settings(knobs, args.arguments, args.slurm)
    (keep,), out, points, older = read_list(knobs, "KEEP"), args.out, [], []
    try_submission(files, wanted)
    if (out / "settings.txt").exists():
        raise LabError(f"{out} contains a sweep of an older version of the lab: give a different --out.")
    snapshot = out.resolve() / "submissions" / wanted[0]["submission"][:16] / "submission.py"
    snapshot.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out / ".lock"):
        with write_whole(snapshot) as temporary:  # the copy is trained, so the file itself may be edited
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
                    shutil.rmtree(twin.folder)  # started with other settings, and never finished
            if stale and not same and not args.redo:
                older += stale
                continue
            folders = (out / f"{name}{f'_{number}' * (number > 1)}" for number in itertools.count(1))
            folder = same[0] if same else next(folder for folder in folders if not folder.exists())
            folder.mkdir(exist_ok=True)
            content = {"settings": settings, "files": files, "arguments": args.arguments, "keep": keep}
            content["replaces"] = [twin.folder.name for twin in stale if args.redo]
            write_json(folder / "point.json", content)
            points.append(Point(folder, **content))
        write_json(out / "sweep.json", {"settings": {k: v for k, v in wanted[0].items() if k not in OWN}})
    return points, older


def run_here(points, jobs):
    """Run one process per point, `jobs` at a time. An exception, for instance from a signal, kills them."""

    def kill(process):  # and everything that it has started, except on Windows
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()

    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP, and nohup ignores it
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is signal.SIG_DFL:
            signal.signal(getattr(signal, name), lambda number, frame: sys.exit(128 + number))
    waiting, running = [point for point in points if not point.is_done()], {}
    bar = tqdm(total=len(points), initial=len(points) - len(waiting), unit="point", smoothing=0, disable=None)
    environment = {"OMP_NUM_THREADS": str(max(1, CORES // jobs))} | os.environ
    how = {"cwd": ROOT, "env": environment, "start_new_session": True, "stdin": subprocess.DEVNULL}
    command = [sys.executable, "-m", "sweep.point", str(time.time())]
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                point = waiting.pop(0)
                with open(point.folder / "log.txt", "ab") as log:
                    process = subprocess.Popen([*command, point.folder.resolve()], stdout=log, stderr=log, **how)
                running[process] = point
            time.sleep(0.3)
            bar.refresh()
            for process in [process for process in running if process.poll() is not None]:
                point, code = running.pop(process), process.returncode
                if code:  # otherwise it has recorded the reason itself
                    kill(process)
                    how_it_ended = "was killed by signal" if code < 0 else "ended with exit code"
                    point.fail(f"its process {how_it_ended} {abs(code)}{' (kill -9, or out of memory)' * (code == -9)}")
                bar.write(f"{point.folder.name}: {point.state()}")
                bar.total -= not point.is_done()  # so that the remaining time is right if points fail
                bar.update(point.is_done())
    finally:
        bar.close()
        for process in running:
            kill(process)
            process.wait()
        if waiting or running:
            print("\nstopped; the same command resumes the sweep", file=sys.stderr)


def run_on_slurm(points, jobs, args, sbatch_args):
    """Run points as jobs on a cluster; submit those that are neither done nor running nor queued."""
    command = [sys.executable, "-m", "sweep.point", str(time.time()), f"{args.out.resolve()}/"]
    cluster = Cluster(args.out / "slurm", "points", command, jobs, sbatch_args)
    with cluster.submitting() as queued:
        left = {point.folder.name: point.state() for point in points if not point.is_done()}
        cluster.submit([name for name, state in left.items() if state != "running" and name not in queued])
    if args.detach:
        print("--status shows their progress; the same command without --detach collects the results")
        sys.exit()
    cluster.wait(left)
    for point in points:
        while point.state() == "running":  # started by a call without --slurm
            time.sleep(POLL)
        if point.state() == "missing":
            point.fail("its Slurm job ended without a result (cancelled, killed, out of time or memory?)")


def main():
    args = parse_arguments()
    if args.summary:
        return summarise(Path(args.summary))
    if args.status:
        sys.exit(print_status(args.out if args.status is True else Path(args.status)))
    knobs = read_knobs(args.knobs)
    (jobs,) = read_list(knobs, "JOBS")
    points, older = make_points(knobs, args)
    run_on_slurm(points, jobs, args, knobs["SBATCH_ARGS"]) if args.slurm else run_here(points, jobs)
    asked = [point.folder for point in points + older]
    unfinished = name_unfinished([row for row in read_rows(args.out) if row["point"].folder in asked])
    summarise(args.out)
    sys.exit(min(1, unfinished))


if __name__ == "__main__":
    run_command(main)

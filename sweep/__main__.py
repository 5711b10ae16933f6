"""Sweep latent_dim: train, infer and grade a submission at many settings, here or on a Slurm cluster, and compare them.

    sh run_sweep.sh                                    # the lab's submission.py over the defaults below
    sh run_sweep.sh LATENT_DIMS="2 5 10 20" SEEDS=0-2 EPOCHS=10 --out runs/sweep1 -- --lr 2e-3 --batch_size 256
    python -m sweep TASKS=VAEwolabel LATENT_DIMS=20 VARS="0.02 0.1 0.5"       # the same sweep without a shell

What follows -- goes to train.py. The same command again goes on where it stopped and tries again what failed. A result
counts only for the submission, the data and the settings that it was made with; --redo replaces the others.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tqdm import tqdm

if not __package__:  # started as `python PATH/sweep`, from any directory
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from lab.cli import run_command
from lab.slurm import POLL, Cluster
from sweep.plan import CORES, KNOBS, make_points, read_knobs, read_list
from sweep.point import LAB
from sweep.summary import name_unfinished, print_status, read_rows, summarise

CODES = "exit code: 0 all points are done, 1 some are not (each is named), 2 wrong use, 130 stopped by Ctrl-C"


def parse_arguments():
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    knobs = [f"  {name:<12} {text} ({default.removeprefix(f'{LAB}/')})" for name, (default, text) in KNOBS.items()]
    parser = argparse.ArgumentParser(
        prog="run_sweep.sh",
        usage="%(prog)s [options] [KNOB=VALUE ...] [-- arguments of train.py]",
        description=__doc__,
        epilog="\n".join(["knobs, also in the environment (defaults in brackets):", *knobs, "", CODES]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("knobs", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--out", metavar="DIR", default="runs/sweep", help="the sweep's folder (runs/sweep)")
    parser.add_argument("--redo", action="store_true", help="replace results of older files or settings")
    parser.add_argument("--slurm", action="store_true", help="run the points as a Slurm job array, and wait for them")
    parser.add_argument("--detach", action="store_true", help="with --slurm: do not wait; later the same command does")
    parser.add_argument("--status", metavar="DIR", nargs="?", const=True, help="say how far the sweep is")
    parser.add_argument("--summary", metavar="DIR", help="write the summary of what is there again")
    args = parser.parse_intermixed_args(words[:end])
    for name in ("out", "status", "summary"):
        if getattr(args, name) == "":
            parser.error(f"--{name} is empty: expected a folder")
    if args.detach and not args.slurm:
        parser.error("--detach goes with --slurm")
    args.out, args.arguments = Path(args.out), words[end + 1 :]
    return args


def run_here(points, jobs):
    """Run a process for each point, `jobs` at a time. An exception, such as that of a signal, kills them."""
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP, and nohup ignores it
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is signal.SIG_DFL:
            signal.signal(getattr(signal, name), lambda number, frame: sys.exit(128 + number))
    waiting, running = [point for point in points if point.replaces or not point.is_done()], {}
    command = [sys.executable, "-m", "sweep.point", str(time.time())]
    environment = {"OMP_NUM_THREADS": str(max(1, CORES // jobs))} | os.environ
    how = {"cwd": LAB, "env": environment, "stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    bar = tqdm(total=len(points), initial=len(points) - len(waiting), unit="point", smoothing=0, disable=None)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                point = waiting.pop(0)
                with open(point.folder / "log.txt", "ab") as log:
                    process = subprocess.Popen(
                        [*command, point.folder.resolve()], stdout=log, start_new_session=True, **how
                    )
                running[process] = point
            time.sleep(0.3)
            bar.refresh()
            for process in [process for process in running if process.poll() is not None]:
                point, code = running.pop(process), process.returncode
                if code not in (0, 1):  # 1: it has left the reason itself
                    kill(process)
                    killed = f"its process was killed by signal {-code} (9: kill -9, or out of memory)"
                    point.fail(killed if code < 0 else f"its process ended with exit code {code}")
                bar.write(f"{point.folder.name}: {point.state()}")
                bar.total -= not point.is_done()  # so that the time left is that of points that finish
                bar.update(point.is_done())
    finally:
        bar.close()
        for process in running:
            kill(process)
            process.wait()
        if waiting or running:
            print("\nstopped; the same command goes on where it was", file=sys.stderr)


def kill(process):
    """Kill a process and, except on Windows, all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()


def run_on_slurm(points, jobs, args, sbatch_args):
    """Run points as jobs of a cluster; submitted are those that are neither done nor running nor queued."""
    command = [sys.executable, "-m", "sweep.point", str(time.time()), f"{args.out.resolve()}/"]
    cluster = Cluster(args.out / "slurm", "points", command, jobs, sbatch_args)
    with cluster.submitting() as queued:
        left = {point.folder.name: point.state() for point in points if point.replaces or not point.is_done()}
        cluster.submit([name for name, state in left.items() if state != "running" and name not in queued])
    if args.detach:
        print("--status says how far they are; the same command without --detach collects them")
        sys.exit()
    cluster.wait(left)
    for point in points:
        while point.state() == "running":  # by a call that is no job
            time.sleep(POLL)
        if point.state() == "missing":
            point.fail("its Slurm job ended without a result (cancelled, killed, out of time or of memory?)")


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
    folders = [point.folder for point in points + older]
    unfinished = name_unfinished([row for row in read_rows(args.out) if row["point"].folder in folders])
    summarise(args.out)
    sys.exit(min(1, unfinished))


if __name__ == "__main__":
    run_command(main)

"""Job arrays on a Slurm cluster, one job per id: submitted, found again in the queue, waited for.

It needs no accounting database: what is queued is known from the names of the jobs, and what became of a job from the
files that it leaves. No other module talks to Slurm.
"""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import time
import uuid
import zlib
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from lab.cli import ROOT, LabError

POLL = 2  # seconds between two looks at the queue
PATIENCE = 30  # seconds within which Slurm must answer


class Cluster:
    """folder: for lists and output, within reach of the nodes; what: the ids' name in messages, such as "students"
    command: what a job runs, in the lab's folder; its id is appended to the last argument ("--only=" or "out/")
    jobs: how many jobs run at a time; sbatch_args: the user's, in one string; memory: MiB per job unless they say it
    """

    def __init__(self, folder, what, command, jobs, sbatch_args="", memory=None):
        for program in ("sbatch", "squeue", "scontrol"):
            if shutil.which(program) is None:
                raise LabError(f"--slurm needs {program}: run this where jobs are submitted, or leave --slurm out.")
        try:
            self.sbatch_args = [f"--mem={memory}M"] * bool(memory) + shlex.split(sbatch_args)
        except ValueError as error:
            raise LabError(f"expected arguments for sbatch as in a shell, got {sbatch_args!r} ({error}).") from error
        self.folder, self.what, self.command, self.jobs = Path(folder).resolve(), what, command, jobs
        self.folder.mkdir(parents=True, exist_ok=True)
        # A job's name is this, a dot, and the suffix of the list that its index in the array counts in.
        self.name = f"{what}-{zlib.crc32(str(self.folder).encode()):08x}"

    @contextlib.contextmanager
    def submitting(self):
        """Yield the ids that are queued or running already; meanwhile no other call may submit."""
        with FileLock(self.folder / ".lock"):
            yield self.queued()

    def queued(self):
        """Return the set of ids that are queued or running; raises LabError if the controller does not answer."""
        found = set()
        for line in call("squeue", "-h", "-r", "-u", str(os.getuid()), "-o", "%K %j").splitlines():
            index, _, name = line.strip().partition(" ")
            prefix, _, suffix = name.rpartition(".")
            path = self.folder / f"{self.what}.{suffix}"
            if prefix == self.name and path.is_file():  # without its list a job fails by itself
                found.add(path.read_text(encoding="utf-8").splitlines()[int(index) - 1])
        return found

    def submit(self, ids):
        """Submit ids in arrays as large as the cluster takes; one follows the other, so that `jobs` bounds them all."""
        largest = re.search(r"MaxArraySize\s*=\s*(\d+)", call("scontrol", "show", "config"))
        if not largest or int(largest[1]) < 2:
            raise LabError("--slurm: this cluster takes no job arrays (MaxArraySize): leave --slurm out.")
        after, most = [], int(largest[1]) - 1
        for chunk in (ids[start : start + most] for start in range(0, len(ids), most)):
            # The list is there before the job, so that a kill at any moment leaves no job that nobody can name.
            path = self.folder / f"{self.what}.{uuid.uuid4().hex[:8]}"
            path.write_text("".join(f"{one}\n" for one in chunk), encoding="utf-8")
            script = f"#!/bin/sh\ncd {shlex.quote(str(ROOT))} || exit\n"
            script += f'id=$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {shlex.quote(str(path))})\n'
            script += f'exec {shlex.join(map(str, self.command))}"$id"\n'
            job = call(
                *("sbatch", "--parsable", *self.sbatch_args, *after, f"--array=1-{len(chunk)}%{self.jobs}"),
                f"--output={str(self.folder).replace('%', '%%')}/%A_%a.out",
                f"--job-name={self.name}{path.suffix}",
                script=script,
            ).strip()
            if not re.fullmatch(r"\d+(;.*)?", job):
                raise LabError(f"sbatch submitted nothing, it said {job!r}: leave that out of its arguments.")
            after = [f"--dependency=afterany:{job.partition(';')[0]}"]
            print(f"submitted {len(chunk)} {self.what} as job {job}", flush=True)

    def wait(self, ids):
        """Wait until none of the ids is queued or running."""
        print(f"waiting for {len(ids)} {self.what}; Ctrl-C leaves their jobs to the same command", flush=True)
        quiet = 0
        with tqdm(total=len(ids), bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}]", disable=None) as bar:
            # A second look: on a shared file system a result may come to sight after its job has left the queue.
            while quiet < 2:
                try:
                    left = self.queued() & set(ids)
                    quiet = 0 if left else quiet + 1
                    bar.update(len(ids) - len(left) - bar.n)
                except LabError as error:  # the controller does not answer just now: the jobs go on without it
                    bar.write(str(error))
                time.sleep(POLL)


def call(*command, script=None):
    """Return what a command of Slurm's prints; raises LabError with its own words if it fails or does not answer."""
    try:
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{command[0]} failed: no answer within {PATIENCE} s.") from error
    if done.returncode != 0:
        raise LabError(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout

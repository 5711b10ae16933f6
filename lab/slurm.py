"""Job arrays on a Slurm cluster, one job per id: submits them, finds them in the queue, and waits for them.

No accounting database is needed: the names of the jobs show what is queued, and the files that a job leaves show how it
ended. No other module talks to Slurm.
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
PATIENCE = 30  # seconds to wait for an answer from Slurm


class Cluster:
    """folder: for lists and output, on a file system that the nodes share; what: the ids' name in messages, such as
    "students"; command: what a job runs, in the lab's folder, with its id appended to the last argument ("--only=" or
    "out/"); jobs: how many jobs run at the same time; sbatch_args: the user's, in one string; memory: MiB per job,
    unless sbatch_args sets it.
    """

    def __init__(self, folder, what, command, jobs, sbatch_args="", memory=None):
        for program in ("sbatch", "squeue", "scontrol"):
            if shutil.which(program) is None:
                raise LabError(f"--slurm needs {program}: run this where jobs are submitted, or leave out --slurm.")
        try:
            self.sbatch_args = [f"--mem={memory}M"] * bool(memory) + shlex.split(sbatch_args)
        except ValueError as error:
            raise LabError(f"expected arguments for sbatch as in a shell, got {sbatch_args!r} ({error}).") from error
        self.folder, self.what, self.command, self.jobs = Path(folder).resolve(), what, command, jobs
        self.folder.mkdir(parents=True, exist_ok=True)
        # A job's name is this, a dot, and the suffix of the list; its index in the array is its line in the list.
        self.name = f"{what}-{zlib.crc32(str(self.folder).encode()):08x}"

    @contextlib.contextmanager
    def submitting(self):
        """Yield the ids that are already queued or running; meanwhile no other call may submit."""
        with FileLock(self.folder / ".lock"):
            yield self.queued()

    def queued(self):
        """Return the set of ids that are queued or running; raises LabError if the controller does not answer."""
        found = set()
        for line in call("squeue", "-h", "-r", "-u", str(os.getuid()), "-o", "%K %j").splitlines():
            index, _, name = line.strip().partition(" ")
            prefix, _, suffix = name.rpartition(".")
            path = self.folder / f"{self.what}.{suffix}"
            if prefix == self.name and path.is_file():  # a job without its list fails by itself
                found.add(path.read_text(encoding="utf-8").splitlines()[int(index) - 1])
        return found

    def submit(self, ids):
        """Submit ids in arrays as large as the cluster accepts, one after the other, so that `jobs` limits them all."""
        largest = re.search(r"MaxArraySize\s*=\s*(\d+)", call("scontrol", "show", "config"))
        if not largest or int(largest[1]) < 2:
            raise LabError("--slurm: this cluster accepts no job arrays (MaxArraySize): leave out --slurm.")
        after, limit = [], int(largest[1]) - 1
        for chunk in (ids[start : start + limit] for start in range(0, len(ids), limit)):
            # The list is written before the job is submitted, so that a kill at any moment leaves no unknown job.
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
                raise LabError(f"sbatch submitted nothing but printed {job!r}: check the arguments for sbatch.")
            after = [f"--dependency=afterany:{job.partition(';')[0]}"]
            print(f"submitted {len(chunk)} {self.what} as job {job}", flush=True)

    def wait(self, ids):
        """Wait until none of the ids is queued or running."""
        print(f"waiting for {len(ids)} {self.what}; after Ctrl-C, the same command continues to wait", flush=True)
        quiet = 0
        with tqdm(total=len(ids), bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}]", disable=None) as bar:
            # Look twice: on a shared file system a result may become visible after its job has left the queue.
            while quiet < 2:
                try:
                    left = self.queued() & set(ids)
                    quiet = 0 if left else quiet + 1
                    bar.update(len(ids) - len(left) - bar.n)
                except LabError as error:  # the controller does not answer at the moment; the jobs continue without it
                    bar.write(str(error))
                time.sleep(POLL)


def call(*command, script=None):
    """Return the output of a Slurm command; raises LabError with its message if it fails or does not answer."""
    try:
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{command[0]} failed: no answer within {PATIENCE} s.") from error
    if done.returncode != 0:
        raise LabError(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout

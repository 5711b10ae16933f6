"""Students as Slurm job arrays: each job grades one, with the command that grades them on this machine.

It needs sbatch, squeue and scontrol, and no accounting database: what is queued is known from the jobs' names, and what
came of it from results/.
"""

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
import zlib

from tqdm import tqdm

from lab.cli import LabError
from ta.sandbox.mounts import LAB

POLL = 2  # seconds between two looks at the queue
GRADER_MEMORY = 2**31  # bytes that a job needs beside its worker: the metrics, and torch


class Cluster:
    """Submits students to Slurm and waits for them.

    folder: for lists and logs, within reach of the nodes; command: grades the student that `--only` names; jobs: most
    at a time; memory: bytes that a worker may use; sbatch_args: further arguments, which win over ours.
    """

    def __init__(self, folder, command, jobs, memory, sbatch_args):
        for program in ("sbatch", "squeue", "scontrol"):
            if shutil.which(program) is None:
                raise LabError(
                    f"--slurm needs {program}: run this where jobs are submitted, or without --slurm to grade here."
                )
        try:
            self.sbatch_args = shlex.split(sbatch_args)
        except ValueError as error:
            raise LabError(
                f"--sbatch_args: expected arguments as a shell reads them, got {sbatch_args!r} ({error})."
            ) from error
        self.folder, self.command, self.jobs = folder.resolve(), command, jobs
        self.memory = (memory + GRADER_MEMORY) >> 20
        self.folder.mkdir(parents=True, exist_ok=True)
        # A job's name is this, a dot, and the suffix of the list that its array's indices count in.
        self.name = f"grade-{zlib.crc32(str(self.folder).encode()):08x}"

    @contextlib.contextmanager
    def submitting(self):
        """Yield the ids that are queued or running already; meanwhile no other call may submit."""
        with open(self.folder / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.queued()

    def queued(self):
        """Return the set of ids that are queued or running."""
        lines = call("squeue", "-h", "-r", "-u", str(os.getuid()), "-o", "%K %j").splitlines()
        lists, found = {}, set()
        for index, _, name in (line.partition(" ") for line in lines):
            prefix, _, suffix = name.strip().rpartition(".")
            path = self.folder / f"students.{suffix}"
            if prefix == self.name and path.is_file():  # without its list a job fails by itself
                if suffix not in lists:
                    lists[suffix] = path.read_text(encoding="utf-8").splitlines()
                found.add(lists[suffix][int(index) - 1])
        return found

    def submit(self, ids):
        """Submit students in arrays as large as the cluster takes; one follows the other, so that `jobs` bounds all."""
        largest = re.search(r"MaxArraySize\s*=\s*(\d+)", call("scontrol", "show", "config"))
        if not largest or int(largest[1]) < 2:
            raise LabError("--slurm: this cluster takes no job arrays (MaxArraySize): grade without --slurm.")
        after = []
        for start in range(0, len(ids), int(largest[1]) - 1):
            chunk = ids[start : start + int(largest[1]) - 1]
            with tempfile.NamedTemporaryFile(
                "w", prefix="students.", dir=self.folder, delete=False, encoding="utf-8"
            ) as file:
                file.write("".join(f"{one}\n" for one in chunk))
            job = call(
                *("sbatch", "--parsable", f"--mem={self.memory}M", *self.sbatch_args, *after),
                *(f"--array=1-{len(chunk)}%{self.jobs}", f"--output={str(self.folder).replace('%', '%%')}/%A_%a.out"),
                f"--job-name={self.name}.{file.name.rpartition('.')[2]}",
                script=self.script(file.name),
            )
            if not re.fullmatch(r"\d+(;.*)?", job.strip()):
                raise LabError(f"--sbatch_args: sbatch submitted nothing, it said {job.strip()!r}: leave that out.")
            after = [f"--dependency=afterany:{job.partition(';')[0].strip()}"]
            print(f"submitted {len(chunk)} students as job {job.strip()}", flush=True)

    def script(self, ids):
        return (
            f"#!/bin/bash\ncd {shlex.quote(str(LAB))} || exit\n"
            f'id=$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {shlex.quote(ids)})\n'
            f'exec {shlex.join(map(str, self.command))} --only="$id"\n'
        )

    def wait(self, ids):
        """Wait until none of the students is queued or running; Ctrl-C leaves them there."""
        print(
            f"waiting for {len(ids)} students; Ctrl-C leaves their jobs in the queue, and the same command finds them",
            flush=True,
        )
        quiet = 0
        with tqdm(total=len(ids), unit="student") as bar:
            # A second look: on a shared file system a result may come to sight after its job has left the queue.
            while quiet < 2:
                try:
                    left = self.queued() & ids
                    quiet = 0 if left else quiet + 1
                    bar.update(len(ids) - len(left) - bar.n)
                except LabError as error:  # the controller does not answer just now: the jobs go on without it
                    bar.write(str(error))
                time.sleep(POLL)


def call(*command, script=None):
    """Return what a command of Slurm's prints; raises LabError with its own words if it fails."""
    done = subprocess.run(command, input=script, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout

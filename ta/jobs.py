"""Grades a class on a Slurm cluster, in two job arrays, so that the class goes through its phases together here too."""

import sys

from tqdm import tqdm

from lab.cli import LabError
from lab.slurm import Cluster
from ta.gradebook import read_result
from ta.grader import infra_error

GRADER_MEMORY = 2**31  # bytes that a job needs in addition to its worker, for torch and the metrics


def grade_on_cluster(grader, students, args):
    """Grade students as Slurm jobs, in two arrays: the second starts when the first is done with everybody."""
    command = [sys.executable, "-m", "ta", "grade", args.submissions.resolve(), "--out", args.out.resolve()]
    command += ["--data", args.data.resolve(), "--results_only"]
    command += ["--timeout", args.timeout, "--memory", f"{args.memory >> 20}M"]
    command += ["--isolation", args.isolation] if args.isolation else []
    command += ["--accuracy_gate", args.accuracy_gate] if args.accuracy_gate else []
    command += ["--force"] if grader.force else []
    command += ["--unsafe-no-sandbox"] if args.unsafe_no_sandbox else []
    memory = (args.memory + GRADER_MEMORY) >> 20
    contents = {student.id: grader.content_of(student) for student in tqdm(students, desc="looking for results")}
    before = {student.id: grader.time_of_result(student) for student in students}
    graded = {student.id for student in students if grader.is_graded(student, contents[student.id])}
    left = [student.id for student in students if student.id not in graded]
    for last in ("public", "decode"):
        words = [*command, "--phases_to", last, "--only="]
        cluster = Cluster(args.out / "slurm" / last, "students", words, args.jobs, args.sbatch_args, memory)
        try:
            cluster.queued()
        except LabError as error:
            raise LabError(
                f"--slurm: no cluster responds on this machine ({error}): run this where jobs are submitted, or "
                "leave out --slurm to grade on this machine."
            ) from error
        with cluster.submitting() as queued:
            done = [one for one in left if last == "public" and not grader.force and grader.has_public(one, contents)]
            left = [one for one in left if one not in done]
            cluster.submit([one for one in left if one not in queued])
        cluster.wait(set(left))
        left = [one for one in done + left if grader.has_public(one, contents)]
    grader.force = False  # what the jobs wrote is new
    lost = infra_error(
        "its Slurm job ended without a result (cancelled, killed, out of time or memory?): see its output in "
        f"{cluster.folder.parent}; the same command submits it again"
    )
    for student in students:
        result = read_result(grader.folder, student.id)
        is_new = result and grader.time_of_result(student) != before[student.id]
        is_right = is_new and (result["status"] == "infra_error" or grader.is_graded(student, contents[student.id]))
        known = student.id in graded or is_right
        grader.results[student.id] = result if known else grader.result(student, lost)

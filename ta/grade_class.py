"""Grade a class of untrusted submissions on a hidden test set.

    python -m ta grade SUBMISSIONS --list
    python -m ta grade SUBMISSIONS --data hidden.npz --out grades/ --jobs 2

SUBMISSIONS holds one folder or zip per student, or a download from Moodle, Canvas, Gradescope or Blackboard. --out is
the gradebook: it keeps everybody who was ever graded. Writes results/ID.json as soon as a student is done, then
grades.csv, report.html and feedback/. The same command again grades only what is missing or has changed, and several
graders may share one gradebook. With --slurm, students are graded as jobs on a cluster, --jobs at a time.
"""

import argparse
import contextlib
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import psutil

from grade import add_gate_argument
from lab.archives import CollectError
from lab.cli import LabError, add_data_argument, number
from ta.collect import KNOWN, collect
from ta.gradebook import Gradebook, did_you_mean, shorten
from ta.grader import ClassGrader
from ta.hidden import load_hidden
from ta.jobs import grade_on_cluster
from ta.report import add_export_arguments, write_all
from ta.sandbox.base import Limits
from ta.sandbox.choose import ISOLATIONS, choose_sandbox
from ta.sandbox.wire import clean
from ta.student import PHASES
from ta.submissions import assign_ids, find_students
from ta.table import count_statuses

UNITS = {"M": 2**20, "G": 2**30}
SMALLEST_MEMORY = 2**29  # torch alone needs 300 MB
JOBS = {"public": PHASES[:1], "decode": PHASES[1:]}  # the two job arrays on a cluster: last phase → all its phases


def size(text):
    """Parse an amount of memory: 4G, 1500M."""
    match = re.fullmatch(r"([0-9.]+)([MG])", text.upper())
    if not match or float(match[1]) * UNITS[match[2]] < SMALLEST_MEMORY:
        raise argparse.ArgumentTypeError(f"expected a size like 4G or 1500M, of at least 512M, got {text!r}")
    return int(float(match[1]) * UNITS[match[2]])


def add_arguments(parser):
    parser.add_argument("submissions", type=Path, help="the folder with the submissions")
    parser.add_argument("--list", action="store_true", help="only list who handed in what; grade and write nothing")
    parser.add_argument("--out", type=Path, help="the gradebook: the folder for results, grades.csv and pages")
    parser.add_argument("--jobs", type=number(int, 1, below=1e9), default=1, help="students graded at the same time")
    add_grading_arguments(parser)
    parser.add_argument("--only", action="append", metavar="ID", help="grade only this student (may be repeated)")
    parser.add_argument("--force", action="store_true", help="grade submissions again that are already graded")
    parser.add_argument("--regrade_all", action="store_true", help="grade everybody again, even on a new test set")
    parser.add_argument("--roster", type=Path, help="CSV from Canvas or Moodle, or your own; kept until replaced")
    parser.add_argument("--theory", type=Path, help="CSV with the points for the theory (0 to 40); kept likewise")
    parser.add_argument("--match", type=Path, help="CSV with two columns, submission and student, where names differ")
    parser.add_argument("--encoding", help="of these tables, if it is not detected: gbk, cp1252 ...")
    parser.add_argument("--id_column", metavar="NAME", help="the roster's identifying column, if not detected")
    add_export_arguments(parser)
    parser.add_argument("--slurm", action="store_true", help="grade on a Slurm cluster, where jobs are submitted")
    parser.add_argument("--sbatch_args", default="", help='further arguments for sbatch: "--partition=cpu --time=10"')
    parser.add_argument("--results_only", action="store_true", help="write results/ only, as jobs on a cluster do")
    parser.add_argument("--phases_to", choices=JOBS, help=argparse.SUPPRESS)  # of a cluster's jobs


def add_grading_arguments(parser):
    """Add the arguments for the test set, the limits and the sandbox."""
    add_data_argument(parser, "the hidden split, made by python -m ta hidden", "--test_data", default=None)
    add_gate_argument(parser)
    parser.add_argument("--timeout", type=number(float, 1, below=1e9), default=120, help="seconds per step")
    parser.add_argument("--memory", type=size, default=size("4G"), help="memory per step")
    parser.add_argument("--isolation", choices=ISOLATIONS, help="default: bubblewrap, else Landlock; gvisor: strongest")
    parser.add_argument("--unsafe-no-sandbox", action="store_true", help="if no sandbox holds, run without any")


def main(args):
    given = {name: getattr(args, name) for name in ("roster", "theory", "match") if getattr(args, name)}
    ours = {path.resolve() for path in (args.out, args.data, *given.values()) if path}
    students, ignored = find_students(args.submissions, ours)
    if args.list:
        with tempfile.TemporaryDirectory() as name:
            for path in [*args.out.glob("*.csv"), *args.out.glob("*.json")] if args.out else []:
                shutil.copy(path, name)
            gradebook = Gradebook(Path(name))
            register(gradebook, students, ignored, given, args)
            print_list(gradebook, students)
        return
    for flag, path in (("--out", args.out), ("--data", args.data)):
        if path is None:
            raise LabError(f"{flag} is missing: python -m ta grade SUBMISSIONS --data hidden.npz --out grades/")
    hidden = load_hidden(args.data)
    make_folder(args.out, args.submissions)
    gradebook = Gradebook(args.out)
    if args.results_only:
        assign_ids(students, {key: record["id"] for key, record in gradebook.memory["students"].items()})
    else:
        gradebook.bind(hidden.digest[:16], args.accuracy_gate, args.regrade_all)
        register(gradebook, students, ignored, given, args)
        gradebook.rows()  # reports a mistake in a table before hours of grading
        gradebook.notes.clear()
    chosen = choose_students(students, args.only)
    force = args.force or args.regrade_all
    grader = ClassGrader(hidden, args.out / "results", args.timeout, args.memory, force, args.accuracy_gate)
    try:
        if args.slurm:
            grade_on_cluster(grader, chosen, args)
        else:
            remove_leftovers()
            real = (args.data, args.submissions, args.out)
            limits = Limits(args.timeout, args.memory)
            sandbox = choose_sandbox(limits, args.isolation, args.unsafe_no_sandbox, real)
            print(f"isolation: {sandbox.title}", flush=True)
            grader.grade(chosen, args.jobs, sandbox, JOBS.get(args.phases_to, PHASES))
    except KeyboardInterrupt:
        pass
    finally:
        if not args.results_only:
            gradebook.unstored = grader.results
            write_all(gradebook, args, grader.limits)
    results, done = grader.results.values(), len(grader.results)
    if done < len(chosen) and args.phases_to != "public":
        print(f"stopped: {done} of {len(chosen)} students are done; the same command continues", flush=True)
        sys.exit(130)
    print(f"students: {len(chosen)}: {count_statuses(results)}")
    print(f"wrote {args.out / ('results' if args.results_only else 'grades.csv')}")
    if any(result["status"] == "infra_error" for result in results):
        raise LabError("infra_error is a fault of this machine, not of a submission: fix it and run this again.")


def make_folder(out, submissions):
    """Create the gradebook's folder, or say why that is impossible."""
    if out.resolve() == submissions.resolve():
        raise LabError(f"--out {out} is the folder of the submissions: give a separate one.")
    try:
        (out / "results").mkdir(parents=True, exist_ok=True)
        (out / "results" / ".lock").touch()
    except OSError as error:
        raise LabError(f"--out {out}: expected a folder that can be written, got {error}.") from error


def register(gradebook, students, ignored, given, args):
    """Add the given tables and the students to the gradebook."""
    for name, path in given.items():
        gradebook.remember(name, path, args.encoding, args.id_column if name == "roster" else None)
    for note in gradebook.notes:
        print(f"note: {note}", file=sys.stderr)
    gradebook.notes.clear()
    gradebook.register(students, args.submissions.resolve(), ignored)


def choose_students(students, only):
    """Return the students named by --only, or all of them without it."""
    ids = [student.id for student in students]
    for name in only or ():
        if name not in ids:
            near = did_you_mean(name, ids) or f"; the first are {shorten(ids)}"
            raise LabError(f"--only {name}: there is no submission with this id{near}.")
    return [student for student in students if not only or student.id in only]


def print_list(gradebook, students):
    """Print who handed in what, as a table, and below it whatever could not be matched."""
    owners = {record["id"]: row for row in gradebook.rows() for record in row.students}
    lines = [("id", "student", "files", "attempt", "late", "notes")]
    for student in sorted(students, key=lambda student: student.id):
        row, notes = owners[student.id], list(student.notes)
        try:
            collected = collect(student.parts)
            notes += collected.notes + [problem for problem in collected.files.values() if problem]
            files = [name for name in KNOWN if collected.files.get(name, "") is None]
        except CollectError as error:
            files, notes = [], [*notes, str(error)]
        who = clean(f"{row.person.label} {row.person.name}".strip()) if row.roster else ""
        who = "no row" if gradebook.roster and not row.roster else who
        late = "late" if student.late else ""
        lines.append((student.id, who, " ".join(files) or "none", student.attempt, late, "; ".join(notes)))
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        print("  ".join([*cells, shorten([line[-1]])]).rstrip())
    for line in gradebook.matching + gradebook.notes + gradebook.describe_ignored():
        print(line)


def remove_leftovers():
    """Remove the temporary folders of graders that were killed."""
    for folder in Path(tempfile.gettempdir()).glob("ta-*-*"):
        pid = re.fullmatch(r"ta-([0-9]{1,7})-\w+", folder.name)
        with contextlib.suppress(OSError):
            if pid and folder.lstat().st_uid == os.geteuid() and not psutil.pid_exists(int(pid[1])):
                shutil.rmtree(folder, ignore_errors=True)

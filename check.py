"""Check submission.py section by section: what is done, what is wrong, and why.

    python check.py                      # every section, in seconds
    python check.py -k 2.3               # one section; its name works as well: -k vae_loss
    python check.py -k kl_discrete       # a function of theory.py; -k 0 checks all of them
    python check.py --tiny               # train on 500 pictures and compare the losses with known ones
    python check.py --pack handin.zip    # run the checks, then write the file to hand in
    python check.py --lab NAME           # the same for another lab of experiments/

The exit code is 0 if all sections pass (with or without a note), 1 if one does not, 2 if the check itself could not be
done: a wrong argument, or code that does not return within 30 seconds.
"""

import contextlib
import sys
from pathlib import Path

from checks.guard import guard, only_json
from checks.lab import lab_names, load_lab
from checks.result import GOOD, print_json, print_results
from checks.sections import MAIN, check_submission, draw_seed
from checks.theory import check_theory, find_functions
from lab.cli import LabError, Parser, lab_path, run_command
from lab.contract import load_submission
from lab.tasks import TASKS


def parse_args():
    parser = Parser(description=__doc__)
    text = "the file to check (default: submission.py, or theory.py for its functions)"
    parser.add_argument("--submission", type=Path, help=text)
    if lab_names():  # the students' package of the main lab has no other
        parser.add_argument("--lab", choices=lab_names(), help="another lab than the main one (default: the main one)")
        parser.add_argument("--results", type=Path, help="with --lab and --pack: its results (default: runs/LAB)")
    text = "only sections with this number or name: 2.2, 2.3, vae_loss, elbo (default: all)"
    parser.add_argument("-k", metavar="SECTION", help=text)
    parser.add_argument("--json", action="store_true", help="print the results as JSON (default: as a table)")
    parser.add_argument("--seed", type=int, help="random seed for the inputs (default: a new one, which is printed)")
    parser.add_argument("--tiny", action="store_true", help="do the tiny run instead of the checks (default: no)")
    parser.add_argument("--pack", type=Path, metavar="ZIP", help="after the checks, write the hand-in (default: no)")
    for task in TASKS:
        parser.add_argument(f"--{task}_run", type=Path, help="with --pack: the run's folder (default: the newest)")
    text = "with --pack: the newest runs, even if others have better scores"
    parser.add_argument("--newest", action="store_true", help=text)
    args = parser.parse_args()
    name, results = getattr(args, "lab", None), getattr(args, "results", None)
    if args.tiny and (args.pack or args.json or args.k):
        parser.error("argument --tiny: use it alone, or with --submission")
    if not args.pack and (args.newest or results or any(getattr(args, f"{task}_run") for task in TASKS)):
        parser.error("--newest and --TASK_run need --pack")
    if args.pack and args.k:
        parser.error("argument --pack: the whole submission is handed in, so leave out -k")
    if name and (args.tiny or args.newest or any(getattr(args, f"{task}_run") for task in TASKS)):
        parser.error("--tiny, --newest and --TASK_run belong to the main lab: leave them out, or --lab")
    if results and not name:
        parser.error("argument --results: use it with --lab")
    if args.seed is not None and args.seed < 0:
        parser.error(f"argument --seed: expected a number of at least 0, got {args.seed}")
    args.lab, args.results = load_lab(name) if name else MAIN, results
    is_section = args.k is None or name or MAIN.find(args.k)
    args.functions = [] if is_section else find_functions(args.k)
    args.sections = [] if args.functions else choose_sections(args.lab, args.k)
    default = Path("theory.py" if args.functions else "submission.py")
    args.submission = args.submission or (lab_path(args.lab.folder / default) if name else default)
    if not args.submission.is_file():
        raise LabError(f"there is no submission at {args.submission.absolute()}: give its file with --submission PATH.")
    args.seed = draw_seed() if args.seed is None else args.seed
    return args


def choose_sections(lab, word):
    """Return the sections selected by -k, all without it; raises LabError if there are none."""
    chosen = list(lab.sections()) if word is None else lab.find(word)
    if not chosen:
        theory = "" if lab.name else ", or, for theory.py, 0, 0.1, 0.2, 1.3 or the name of a function"
        raise LabError(f"-k {word} is not a section: expected one of {lab.describe()}{theory}.")
    return chosen


def main():
    args = parse_args()
    with contextlib.ExitStack() as stack:
        # Whatever the submission itself prints must not end up in the JSON.
        stream = stack.enter_context(only_json()) if args.json else sys.stdout
        good = run(args, stream, sys.stderr if args.json else sys.stdout)
    sys.exit(not good)


def run(args, stream, prints):
    """Do what the arguments ask for, and return whether everything passed.

    stream: for the results; prints: for the submission's own output.
    """
    if args.tiny:
        from checks.tiny_run import report_tiny

        with guard(prints):
            return report_tiny(load_submission(args.submission))
    with guard(prints):
        if args.functions:
            results = check_theory(args.submission, args.seed, args.functions)
        else:
            results = check_submission(args.submission, args.sections, args.seed, args.lab)
    if args.json:
        print_json(results, args.submission, args.seed, "functions" if args.functions else "sections", stream)
    else:
        print_results(results, args.seed)
    if args.pack:
        from lab.handin import pack, pack_lab

        with guard(prints):
            if args.lab.name:
                pack_lab(args.pack, args.submission, args.lab.name, args.results, results, quiet=args.json)
            else:
                runs = {task: getattr(args, f"{task}_run") for task in TASKS}
                pack(args.pack, args.submission, runs, results, newest=args.newest, quiet=args.json)
    return all(result.status in GOOD for result in results)


if __name__ == "__main__":
    run_command(main)

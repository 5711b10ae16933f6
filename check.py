"""Check submission.py section by section: what is done, what is wrong, and why.

    python check.py                      # every section, in seconds
    python check.py -k 2.3               # one section; a name does as well: -k vae_loss
    python check.py --tiny               # train on 500 pictures and compare the losses with known ones
    python check.py --pack handin.zip    # the checks, then the file to hand in

The exit code is 0 only if all sections pass, 1 if one does not, 2 if the check itself could not be done.
"""

import argparse
import json
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path

from checks.sections import NAMES, PASSED, POINTS, check_submission
from lab.cli import LabError, run_command
from submission_api import TASKS, load_submission


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--submission", type=Path, help="default: submission.py, or theory.py for its sections")
    parser.add_argument("-k", metavar="SECTION", help="only the sections of this number or name, as 2.2, 2.3, vae_loss")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--seed", type=int, help="of the random inputs (default: others each time)")
    parser.add_argument("--tiny", action="store_true", help="the tiny run with known losses, in place of the checks")
    parser.add_argument("--pack", type=Path, metavar="ZIP", help="after the checks, pack what is handed in")
    for task in TASKS:
        parser.add_argument(f"--{task}_run", type=Path, help="with --pack: the run's folder (default: the newest)")
    args = parser.parse_args()
    if args.tiny and (args.pack or args.json or args.k):
        parser.error("argument --tiny: give it alone, or with --submission")
    if args.pack and args.k:
        parser.error("argument --pack: the whole submission is handed in, leave -k out")
    if args.seed is not None and args.seed < 0:
        parser.error(f"argument --seed: expected a number of at least 0, got {args.seed}")
    args.submission = args.submission or Path("theory.py" if is_theory(args.k) else "submission.py")
    if not args.submission.is_file():
        raise LabError(f"there is no submission at {args.submission}: give its file with --submission PATH.")
    return args


def is_theory(word):
    """Tell whether -k names sections of theory.py."""
    return word is not None and word[:1] in ("0", "1")


def choose_sections(word):
    """Return the sections that -k names: a number (2.2 stands for 2.2.1 to 2.2.4) or a part of a name."""
    if word is None:
        return list(POINTS)
    word = "3" if word == "3.1" else word  # the handout's number of the task
    chosen = [section for section in POINTS if section == word or section.startswith(f"{word}.")]
    chosen = chosen or [section for section, name in NAMES.items() if word.lower() in name.lower()]
    if not chosen:
        known = ", ".join(f"{section} ({name})" for section, name in NAMES.items())
        raise LabError(f"-k {word} names no section: expected one of {known}.")
    return chosen


def print_table(results):
    """Print one row a section, and what is wrong under it; a message that stands above already is not repeated."""
    print(f"{'section':<22}{'status':<18}points")
    seen = {}
    for result in results:
        name = f"{result.section:<6}{NAMES[result.section]}"
        print(f"{name:<22}{result.status:<18}{result.points:>2} of {result.max_points}")
        message = result.message
        if message in seen:
            message = f"the same as in {seen[message]}"
        elif message:
            seen[message] = result.section
        for part in message.replace(" Likely cause:", "\nLikely cause:").splitlines():
            print(textwrap.fill(part, 110, initial_indent=" " * 6, subsequent_indent=" " * 8))
    points, most = sum(result.points for result in results), sum(result.max_points for result in results)
    print(f"{'':<22}{'':<18}{points:>2} of {most}")


def main():
    args = parse_args()
    if args.tiny:
        from checks.tiny_run import report_tiny

        sys.exit(not report_tiny(load_submission(args.submission)))

    if is_theory(args.k):
        from checks.theory import report_theory

        sys.exit(not report_theory(args.submission, args.k, args.json))

    results = check_submission(args.submission, choose_sections(args.k), args.seed)
    if args.json:
        content = {"submission": str(args.submission), "sections": [asdict(result) for result in results]}
        content["points"] = sum(result.points for result in results)
        content["max_points"] = sum(result.max_points for result in results)
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        print_table(results)
    if args.pack:
        from checks.handin import pack

        runs = {task: getattr(args, f"{task}_run") for task in TASKS}
        pack(args.pack, args.submission, runs, results, quiet=args.json)
    sys.exit(any(result.status != PASSED for result in results))


if __name__ == "__main__":
    run_command(main)

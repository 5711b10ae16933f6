"""The TA's tools: python -m ta COMMAND ...; --help after a command explains it."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts: the same results alone and in a batch

import importlib

from lab.cli import LabError, Parser, run_command

COMMANDS = {  # command → its module, and what it does
    "release": ("release", "make the students' package"),
    "hidden": ("hidden", "derive a hidden test set that nobody can look up"),
    "grade": ("grade_class", "grade a class of untrusted submissions"),
    "report": ("report", "rebuild a gradebook's tables and pages, and export the points"),
    "diff": ("diff", "compare two gradebooks: who changed, by how much, and why"),
    "similar": ("similar", "rank pairs of submissions by shared code and weights"),
    "notebook": ("notebook", "write the students' notebook, lab.ipynb"),
    "gradescope": ("gradescope.build", "make an autograder for Gradescope"),
}


def main():
    parser = Parser(prog="python -m ta", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, summary) in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    command, rest = parser.parse_known_args()
    try:
        module = importlib.import_module(f"ta.{COMMANDS[command.command][0]}")
    except ModuleNotFoundError as error:
        raise LabError(f"{error.name} is not installed: pip install -r requirements-ta.txt") from error
    own = Parser(prog=f"python -m ta {command.command}", description=module.__doc__)
    module.add_arguments(own)
    module.main(own.parse_args(rest))


if __name__ == "__main__":
    run_command(main)

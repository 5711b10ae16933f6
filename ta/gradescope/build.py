"""Make an autograder for Gradescope: setup.sh, run_autograder, and the files that they need.

    python -m ta gradescope --data hidden.npz --out autograder.zip

Upload the zip as it is. Each submission is graded as in a class, in a sandbox. Whether Gradescope's containers allow
bubblewrap is not known, so it is detected at run time; the alternative is Landlock. If neither works, the run fails
with a message for the staff, unless --unsafe-no-sandbox was given here: then their container is the only protection.
"""

import json
from pathlib import Path

from lab.cli import ROOT, LabError
from ta.grade_class import add_grading_arguments
from ta.hidden import load_hidden
from ta.release import write_zip

INCLUDED = (
    *("*.py", "*.txt", "lab/*.py", "checks/**/*.py"),
    *("ta/*.py", "ta/sandbox/*.py", "ta/gradescope/*.py", "ta/pages/*"),
    *("dataset/classifier.pth", *(f"dataset/{split}.npz" for split in ("train", "valid", "test"))),
)

SETUP = """#!/usr/bin/env bash
# Gradescope runs this once, as root, when it builds the image.
set -euo pipefail
cd "$(dirname "$0")"
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y bubblewrap libseccomp2
for version in 3.14 3.13 3.12 3.11; do
    if apt-get install -y "python$version" "python$version-venv"; then
        "python$version" -m venv .venv
        .venv/bin/pip install -r requirements-ta.txt -c constraints.txt
        exit
    fi
done
echo "error: this image has no Python from 3.11 to 3.14: choose a newer one in the autograder's settings" >&2
exit 1
"""

RUN = """#!/usr/bin/env bash
# Gradescope runs this for each submission; what it prints is for the staff only.
cd "$(dirname "$0")/source" && exec .venv/bin/python -m ta.gradescope.autograder "$(cd .. && pwd)"
"""


def add_arguments(parser):
    parser.add_argument("--out", type=Path, default=Path("autograder.zip"), help="the zip to write")
    add_grading_arguments(parser)


def main(args):
    if args.data is None:
        raise LabError("--data is missing: python -m ta gradescope --data hidden.npz")
    load_hidden(args.data)
    names = ("timeout", "memory", "isolation", "accuracy_gate", "unsafe_no_sandbox")
    settings = {name: getattr(args, name) for name in names}
    package = {"setup.sh": SETUP.encode(), "run_autograder": RUN.encode(), "hidden.npz": args.data.read_bytes()}
    package["settings.json"] = json.dumps(settings).encode()
    for pattern in INCLUDED:
        package |= {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in sorted(ROOT.glob(pattern))}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_zip(args.out, package)
    print(f"wrote {args.out} ({args.out.stat().st_size / 2**20:.1f} MB); it contains the hidden pictures: keep it safe")

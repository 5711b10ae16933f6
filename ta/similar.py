"""Rank pairs of submissions, also with earlier years', by the code and the weights that they share.

    python -m ta similar class/ --previous class_2024/ --previous class_2025/ --out similar.html

Writes similar.html, the most similar pairs side by side with the matching parts marked, and similar.csv, all pairs
from 20 % on. Code provided by the course does not count; name further provided files with --given. A pair is a reason
to look, not a verdict. No code is executed, and checkpoints are read in the sandbox.
"""

import os
import queue
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lab.archives import CollectError
from lab.cli import ROOT, LabError, number
from lab.tables import write_table
from lab.tasks import TASKS
from ta.collect import collect
from ta.fingerprint import FEWEST, Code, decode, mark, read_code
from ta.release import REFERENCE, student_version
from ta.report import get_template, write_text
from ta.sandbox.base import Limits
from ta.sandbox.choose import ISOLATIONS, choose_sandbox
from ta.sandbox.weights import LARGEST, LEVELS, WIDTH, compare_weights
from ta.sandbox.wire import clean
from ta.steps import Steps
from ta.submissions import assign_ids, find_students

SAME_CODE = 0.6  # honest MLPs reach 0.48, copies with every loop retyped 0.70, under other names 0.83 and more
EQUAL, NEAR = 0.9999, 0.6  # of weights: other seeds stay below 0.05
LISTED = 0.2
LIMITS = Limits(120, 2**32)
COLUMNS = ("one", "other", "from", "code", *(f"{task}_weights" for task in TASKS), "findings")


@dataclass
class Work:
    """A submission. label: whose it is; place: the folder of its year, empty for this year; parts: as in Student;
    weights: {task: what sketch_weights returns}; notes: what could not be compared."""

    label: str
    place: str
    parts: list
    code: Code = field(default_factory=Code)
    own: set = field(default_factory=set)  # fingerprints, without those of the course
    weights: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)


@dataclass
class Pair:
    """Two Works. code: the share of the smaller one's fingerprints that the other has; weights: {task: similarity};
    others: {task: how many more submissions have nearly equal weights}, for instance because of the same seed."""

    one: Work
    other: Work
    code: float
    weights: dict
    others: dict = field(default_factory=dict)

    @property
    def findings(self):
        """Phrases for what is suspiciously similar."""
        findings = [f"{100 * self.code:.0f} % of the code"] if self.code >= SAME_CODE else []
        for task, alike in self.weights.items():
            if alike >= NEAR:
                how = "equal" if alike >= EQUAL else f"nearly equal ({alike:.2f})"
                others = f", as in {self.others[task]} more" if self.others[task] else ""
                findings.append(f"{how} weights of {task}{others}")
        return findings

    @property
    def rank(self):
        return max(self.code, *(alike for alike in self.weights.values() if alike >= NEAR), 0.0)


def add_arguments(parser):
    parser.add_argument("submissions", type=Path, help="the folder with the submissions, as for python -m ta grade")
    often = {"type": Path, "action": "append", "default": []}
    parser.add_argument("--previous", **often, help="an earlier year's folder of submissions (may be repeated)")
    parser.add_argument("--given", **often, help="a further .py file that the course provided (may be repeated)")
    parser.add_argument("--out", type=Path, default=Path("similar.html"), help="the page; the table is beside it")
    parser.add_argument("--top", type=number(int, 1), default=50, help="maximum number of pairs on the page")
    parser.add_argument("--jobs", type=number(int, 1, below=1e9), default=1, help="submissions read at the same time")
    parser.add_argument("--code_only", action="store_true", help="do not compare weights: faster, and needs no sandbox")
    parser.add_argument("--isolation", choices=ISOLATIONS, help="default: bubblewrap, else Landlock")


def main(args):
    if args.out.suffix.lower() != ".html":
        raise LabError(f"--out {args.out}: expected a path that ends in .html, such as similar.html.")
    places = [args.submissions, *args.previous]
    resolved = [place.resolve() for place in places]
    if len(set(resolved)) < len(resolved):
        raise LabError("the same folder was given twice: --previous is for submissions of other years.")
    given = read_given(args.given)
    out = args.out.resolve()
    ours = {*resolved, out, out.with_suffix(".csv"), out.parent, *(path.resolve() for path in args.given)}
    out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out.parent, os.W_OK):
        raise LabError(f"--out {args.out}: expected a writable folder, but {out.parent} is not.")
    works = []
    for place in places:
        students, _ = find_students(place, ours)
        assign_ids(students, {})
        year = "" if place is args.submissions else place.resolve().name
        works += [Work(student.id, year, student.parts) for student in students]
    sandbox = None if args.code_only else choose_sandbox(LIMITS, args.isolation, real=places)
    examine_all(works, sandbox, given, args.jobs)
    works.append(Work("the reference solution", "ta/reference", [], read_code(REFERENCE.read_text(encoding="utf-8"))))
    works[-1].own = works[-1].code.prints.keys() - given
    pairs = rank_pairs(works)
    write_results(args, works, pairs, given)


def read_given(paths):
    """Return the fingerprints of the code that the course provides: the blank file, the examples and `paths`."""
    texts = [student_version(REFERENCE.read_text(encoding="utf-8"))]
    for path in [ROOT / "model.py", *sorted((ROOT / "examples").glob("*.py")), *paths]:
        try:
            texts.append(decode(path.read_bytes()))
        except OSError as error:
            raise LabError(f"--given {path}: expected a readable file, got {error}.") from error
    return set().union(*(read_code(text).prints for text in texts))


def examine_all(works, sandbox, given, jobs):
    """Read the code and the weights of Works, `jobs` at a time."""
    slots = queue.SimpleQueue()
    for slot in range(jobs):
        slots.put(slot)

    def examine_one(work):
        slot = slots.get()
        try:
            with tempfile.TemporaryDirectory(prefix=f"ta-{os.getpid()}-") as name:
                examine(work, Path(name), sandbox, slot)
            work.own = work.code.prints.keys() - given
        finally:
            slots.put(slot)

    with ThreadPoolExecutor(jobs) as executor:
        try:
            list(tqdm(executor.map(examine_one, works), "reading", len(works), unit="student", leave=False))
        finally:
            if sandbox:
                sandbox.stop.set()
            executor.shutdown(cancel_futures=True)


def examine(work, folder, sandbox, slot):
    """Read a Work's code and weights from its submission, copied to an empty folder."""
    try:
        files = collect(work.parts, folder).files
    except CollectError as error:
        work.notes.append(str(error))
        return
    if files.get("submission.py", "") is None:
        work.code = read_code(decode((folder / "submission.py").read_bytes()))
    problems = [files[name] for name in files if files[name]] + [work.code.note]
    tasks = [task for task in TASKS if sandbox and files.get(f"{task}.pth", "") is None]
    if tasks:
        sandbox.hand_over(folder, slot)
        parts = [{"do": "weights", "task": task} for task in tasks]
        done, failed = Steps(folder, files, sandbox, slot).run(parts, {}, len(tasks) * LARGEST * 8 * WIDTH)
        for index, (_, arrays) in done.items():
            if is_sketch(arrays):
                work.weights[tasks[index]] = arrays
        reasons = {tasks[index]: failure.message.partition(" (")[0] for index, failure in failed.items()}
        problems += [f"weights of {task} not compared: {reason}" for task, reason in reasons.items()]
    work.notes += [clean(problem) for problem in problems if problem]


def is_sketch(arrays):
    """Return whether arrays from a sandbox have the form that sketch_weights returns."""
    count, widths = len(arrays.get("shapes", ())), {"shapes": 2, "sketches": WIDTH, "levels": LEVELS}
    expected = {name: (count, width) for name, width in widths.items()}
    found = {name: array.shape for name, array in arrays.items() if array.dtype in (np.int64, np.float32)}
    return found == expected and count <= LARGEST and all(np.isfinite(array).all() for array in arrays.values())


def rank_pairs(works):
    """Return Pairs that share something, the most similar first; at least one of a pair is of this year."""
    owners = {}
    for index, work in enumerate(works):
        for one in work.own:
            owners.setdefault(one, []).append(index)
    pairs = []
    for index, work in enumerate(tqdm(works, desc="comparing", unit="student", leave=False)):
        if work.place:
            continue
        shared = Counter()
        for one in work.own:
            shared.update(owners[one])
        for later, other in enumerate(works[index + 1 :], start=index + 1):
            if {path for _, _, path in work.parts} & {path for _, _, path in other.parts}:
                continue  # handed in together
            code = shared[later] / max(FEWEST, min(len(work.own), len(other.own)))
            both = work.weights.keys() & other.weights.keys()
            weights = {task: compare_weights(work.weights[task], other.weights[task]) for task in sorted(both)}
            pairs.append(Pair(work, other, code, weights))
    near = [(task, pair) for pair in pairs for task in pair.weights if pair.weights[task] >= NEAR]
    count = Counter((task, id(work)) for task, pair in near for work in (pair.one, pair.other))
    for task, pair in near:
        pair.others[task] = max(count[task, id(pair.one)], count[task, id(pair.other)]) - 1
    listed = [pair for pair in pairs if pair.rank >= LISTED]
    return sorted(listed, key=lambda pair: (-pair.rank, -pair.code, pair.one.label, pair.other.label))


def write_results(args, works, pairs, given):
    """Write the table and the page, and print the suspicious pairs."""
    suspicious = [pair for pair in pairs if pair.findings]
    for pair in suspicious[: args.top]:
        print(f"{describe(pair.one)}, {describe(pair.other)}: {'; '.join(pair.findings)}")
    rows = [
        {"one": pair.one.label, "other": pair.other.label, "from": pair.other.place, "code": pair.code}
        | {f"{task}_weights": alike for task, alike in pair.weights.items()}
        | {"findings": "; ".join(pair.findings)}
        for pair in pairs
    ]
    write_table(args.out.with_suffix(".csv"), COLUMNS, rows)
    shown = []
    for pair in pairs[: args.top]:
        both = pair.one.own & pair.other.own
        files = [(describe(work), mark(work.code, both, given)) for work in (pair.one, pair.other)]
        shown.append({"files": files, "code": pair.code, "weights": pair.weights, "findings": pair.findings})
    notes = [(describe(work), note) for work in works for note in work.notes]
    found = f"{len(suspicious)} pair{'s' * (len(suspicious) != 1)}"
    summary = f"{len(works) - 1} submissions, {found} with suspiciously similar code or weights."
    page = get_template("similar.html").render(
        pairs=shown, notes=notes, summary=summary, tasks=[*TASKS], more=len(pairs) - len(shown), same=SAME_CODE
    )
    write_text(args.out, page)
    print(f"{summary}\nwrote {args.out} and {args.out.with_suffix('.csv')}")


def describe(work):
    return f"{work.label} ({work.place})" if work.place else work.label

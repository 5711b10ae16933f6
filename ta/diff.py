"""Compare two gradebooks after a regrade: who changed, by how many points, in which term or check, and why.

    python -m ta diff grades_before/ grades/
    python -m ta diff grades_before/ grades/ --out diff.csv

OLD and NEW are gradebooks (the folder --out of python -m ta grade): copy the gradebook before you grade again. Neither
is changed. The exit code is 1 if a score fell, became unknown or is missing, 2 for an error, otherwise 0.
"""

import sys
from pathlib import Path

from grade import score_terms
from lab.cli import LabError, number
from lab.tables import write_table
from lab.tasks import TASKS
from ta.gradebook import Gradebook, shorten
from ta.roster import match
from ta.sandbox.wire import clean
from ta.submissions import is_gradebook
from ta.table import CHECKS, PARTS

NO_CHANGE = 0.005  # points: grades.csv shows two decimals, and other processors differ in the last digits
COLUMNS = ("id", "name", "number", "kind", "change", "part", "old", "new", "points", "why")
MOST_PARTS = 4  # per person in the table; the CSV has all
SAME = "no recorded reason: a different machine or libraries, or a submission that draws random numbers"


def add_arguments(parser):
    parser.add_argument("old", type=Path, help="the gradebook before the change")
    parser.add_argument("new", type=Path, help="the gradebook after the change")
    parser.add_argument("--out", type=Path, help="write every difference to this CSV")
    parser.add_argument("--top", type=number(int, 1), default=20, help="maximum number of people in the table")


def main(args):
    books = [open_gradebook(path) for path in (args.old, args.new)]
    if books[0].folder.resolve() == books[1].folder.resolve():
        raise LabError(f"{args.old} and {args.new} are the same gradebook: copy it before you grade again.")
    if args.out and args.out.resolve().parent in {book.folder.resolve() for book in books}:
        raise LabError(f"--out {args.out} is inside a gradebook, and neither may be changed: give a path outside both.")
    changes, doubts = compare(*(book.rows() for book in books))
    for line in dict.fromkeys(note for book in books for note in book.notes):
        print(f"note: {line}", file=sys.stderr)
    if doubts:
        print(f"note: several people of the new gradebook fit, so not matched: {shorten(doubts)}", file=sys.stderr)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        rows = [row for change in changes for row in csv_rows(change)]
        write_table(args.out, COLUMNS, rows, fine=("old", "new", "points"))
    print_changes(changes, args.top)
    if args.out:
        print(f"wrote {args.out}")
    if any(change["fell"] for change in changes):
        sys.exit(1)


def open_gradebook(folder):
    """Return the Gradebook of a folder, or of the parent of a folder results/."""
    folder = folder.resolve().parent if folder.resolve().name == "results" else folder
    if not is_gradebook(folder) and not any((folder / "results").glob("*.json")):
        raise LabError(f"{folder} is not a gradebook: expected the folder --out of python -m ta grade.")
    return Gradebook(folder)


def compare(old_rows, new_rows):
    """Return the changes, the largest first, and the ids of old rows that several of the new ones fit."""
    keys = [[{record["key"] for record in row.students} for row in rows] for rows in (old_rows, new_rows)]
    owner = {key: index for index, some in enumerate(keys[1]) for key in some}
    settled = {index: {owner[key] for key in some if key in owner} for index, some in enumerate(keys[0])}
    wanted = [other for some in settled.values() for other in some]
    settled = {index: [*some] for index, some in settled.items() if len(some) == 1 and wanted.count(*some) == 1}
    found, doubts = match([row.person for row in old_rows], [row.person for row in new_rows], settled)
    pairs = [(row, new_rows[found[index][0]] if index in found else None) for index, row in enumerate(old_rows)]
    known = {other for some in found.values() for other in some}
    pairs += [(None, row) for index, row in enumerate(new_rows) if index not in known]
    changes = [describe(*pair) for pair in pairs]
    changes.sort(key=lambda change: (-change["size"], change["id"]))
    return changes, [old_rows[index].id for index in doubts]


def describe(old, new):
    """Return a person's change: id, name, number; kind (new, gone, changed, same); change: in points, None unless known
    on both sides; size: the sort key, all the points of somebody who is on one side only; parts: [(name, old, new,
    points), ...], whose sum is the change; why; fell."""
    row = new or old
    who = {name: row.own[name] for name in ("id", "name", "number")}
    if old is None or new is None:
        points = row.own["lab"] if row.own["total"] is None else row.own["total"]
        cells = (None, points) if old is None else (points, None)
        why = ["was not in the old gradebook" if old is None else "is not in the new gradebook"]
        kind, fell = ("new", False) if old is None else ("gone", points is not None)
        parts = [("all points", *cells, None)]
        return who | {"kind": kind, "change": None, "size": points or 0, "parts": parts, "why": why, "fell": fell}
    column = "total" if None not in (old.own["total"], new.own["total"]) else "lab"
    parts = [part for part in find_parts(old.own, new.own, old, new, column) if is_change(*part[1:3])]
    pair = old.own[column], new.own[column]
    change = difference(*pair)
    if all(points is not None and abs(points) <= NO_CHANGE for points in [change, *(part[3] for part in parts)]):
        parts = []
    size = max((abs(value) for value in pair if value is not None), default=0.0) if change is None else abs(change)
    kind = "changed" if parts else "same"
    watched = [*PARTS, *CHECKS, "lab", "theory", *(["total"] if column == "total" else [])]
    fell = any(falls(old.own[name], new.own[name]) for name in watched)
    why = reasons(old, new) or [SAME] * bool(parts)
    return who | {"kind": kind, "change": change, "size": size, "parts": parts, "fell": fell, "why": why}


def find_parts(before, after, old, new, column):
    """Yield (name, old, new, points) for every part of the points. before, after: the cells."""
    inside = 0.0  # points of the lab that are explained
    for task in TASKS:
        score, completion = f"{task}_score", f"{task}_completion"
        parts = list(score_parts(task, old.result["tasks"][task], new.result["tasks"][task]))
        rest = (difference(before[score], after[score]) or 0.0) - sum(part[3] or 0.0 for part in parts)
        if abs(rest) > NO_CHANGE:  # an override
            parts.append((score, before[score], after[score], rest))
        ours = {f"check_{check['section']}" for row in (old, new) for check in row.result["tasks"][task]["checks"]}
        both = [name for name in sorted(ours) if None not in (before[name], after[name])]
        checks = [(name, before[name], after[name], after[name] - before[name]) for name in both]
        rest = difference(before[completion], after[completion])
        rest = None if rest is None else rest - sum(check[3] for check in checks)
        if rest is None or abs(rest) > NO_CHANGE:
            checks.append((completion, before[completion], after[completion], rest))
        yield from parts + checks
        inside += sum(part[3] or 0.0 for part in parts + checks)
    penalties = [cells["penalty"] or 0.0 for cells in (before, after)]
    yield ("penalty", *penalties, penalties[0] - penalties[1])
    inside += penalties[0] - penalties[1]
    lab, theory, total = (difference(before[name], after[name]) for name in ("lab", "theory", "total"))
    yield "theory", before["theory"], after["theory"], theory
    # A difference that nothing above explains is an override, or one that was removed.
    rest = {"lab": 0.0 if lab is None else lab - inside}
    if column == "total":
        rest["total"] = total - (lab or 0.0) - (theory or 0.0)
    yield from ((name, before[name], after[name], points) for name, points in rest.items() if abs(points) > NO_CHANGE)


def score_parts(task, old, new):
    """Yield (name, old, new, points) for the terms of a task's score: a term's change times the mean bonus, the bonus's
    change times the mean sum of terms. Together with the cap they add up to the change of the score, exactly."""
    if old["status"] != "ok" or new["status"] != "ok":
        if old["status"] != new["status"]:
            yield f"{task} status", old["status"], new["status"], difference(old["score"], new["score"])
        return
    terms = [score_terms(metrics, TASKS[task]) for metrics in (old, new)]
    sums = [sum(points for points, _ in some.values()) for some in terms]
    for name in terms[0]:
        points = (terms[1][name][0] - terms[0][name][0]) * (old["bonus"] + new["bonus"]) / 2
        yield f"{task} {name.lower()}", old[name.lower()], new[name.lower()], points
    points = (new["bonus"] - old["bonus"]) * sum(sums) / 2
    yield f"{task} bonus (latent_dim)", old["latent_dim"], new["latent_dim"], points
    beyond = [metrics["score"] - metrics["raw"] for metrics in (old, new)]
    yield f"{task} cap", *beyond, beyond[1] - beyond[0]


def difference(old, new):
    return None if old is None or new is None else new - old


def is_change(old, new):
    """Return whether two values of a part differ by more than rounding; those of a term are small numbers."""
    if isinstance(old, int | float) and isinstance(new, int | float):
        return abs(new - old) > 1e-6
    return old != new


def falls(old, new):
    return old is not None and (new is None or new < old - NO_CHANGE)


def reasons(old, new):
    """Return the differences between two results of a person that can affect points, one phrase each."""
    before, after = old.result, new.result
    if not (before.get("student") and after.get("student")):  # not graded on at least one side
        pair = [f"{result['status']}{'' if result.get('student') else ': ' + message_of(result)}"
                for result in (before, after)]  # fmt: skip
        return [clean(" → ".join(pair))] if pair[0] != pair[1] else []
    names = sorted({*before.get("files", {}), *after.get("files", {})})
    other = [name for name in names if before.get("files", {}).get(name) != after.get("files", {}).get(name)]
    found = [f"different submission: {', '.join(other)} ({before.get('content', '')[:8] or 'none'} → "
             f"{after.get('content', '')[:8] or 'none'})"] if other else []  # fmt: skip
    for name, title in (("test_set", "test set"), ("grader_version", "grader version"), ("isolation", "isolation")):
        pair = [result.get(name) or "none" for result in (before, after)]
        found += [f"different {title}: {pair[0]} → {pair[1]}"] if pair[0] != pair[1] else []
    for name, title in (("versions", "version of {}"), ("limits", "limit: {}")):
        pair = [result.get(name) or {} for result in (before, after)]
        found += [f"different {title.format(key)}: {cell(pair[0].get(key))} → {cell(pair[1].get(key))}"
                  for key in sorted(pair[0].keys() | pair[1].keys()) if pair[0].get(key) != pair[1].get(key)
                  and all(pair)]  # fmt: skip
    if [*map(tuple, old.changes)] != [*map(tuple, new.changes)]:
        found.append(f"overrides.csv: {old.own['overrides'] or 'none'} → {new.own['overrides'] or 'none'}")
    if old.theory != new.theory:
        found.append("theory.csv")
    for task, metrics in before["tasks"].items():
        pair = metrics, after["tasks"][task]
        if pair[0]["status"] != pair[1]["status"]:
            said = [f"{one['status']} ({one['message']})" if one["message"] else one["status"] for one in pair]
            found.append(f"{task}: {' → '.join(said)}")
    return [clean(reason) for reason in found]


def message_of(result):
    return next((metrics["message"] for metrics in result["tasks"].values() if metrics["message"]), "")


def csv_rows(change):
    """Return a person's rows for the CSV, one per part; none for somebody without any change."""
    shared = {name: change[name] for name in ("id", "name", "number", "kind", "change")}
    shared["why"] = "; ".join(change["why"])
    empty = [("", None, None, None)] if change["why"] else []
    for name, old, new, points in change["parts"] or empty:
        yield shared | {"part": name, "old": old, "new": new, "points": points}


def print_changes(changes, top):
    """Print the table, and how many people there are of each kind."""
    shown = [change for change in changes if change["kind"] != "same"]
    reasons = [change["why"] for change in shown if change["kind"] == "changed"]
    shared = [reason for reason in reasons[0] if all(reason in some for some in reasons)] if len(reasons) > 1 else []
    for line in shared:
        print(f"everybody who changed: {line}")
    for change in shown[:top]:
        label = change["name"] if change["name"] in ("", change["id"]) else f"{change['name']}, {change['id']}"
        points = change["kind"] if change["kind"] in ("new", "gone") else show(change["change"])
        print(f"{points:>8}  {clean(label or change['id'])}")
        parts = sorted(change["parts"], key=lambda part: -abs(part[3] or 0.0))
        for name, old, new, value in parts[:MOST_PARTS]:
            print(f"{'':8}    {show(value):>7}  {name}: {cell(old)} → {cell(new)}")
        if len(parts) > MOST_PARTS:
            print(f"{'':8}    and {len(parts) - MOST_PARTS} smaller changes")
        for line in [reason for reason in change["why"] if reason not in shared]:
            print(f"{'':8}    why: {line}")
    if len(shown) > top:
        print(f"and {len(shown) - top} more: --top {len(shown)} prints all of them, --out FILE writes them")
    kinds = [change["kind"] for change in changes]
    fell = [change["id"] for change in changes if change["fell"]]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("changed", "same", "new", "gone"))
    print(f"{len(changes)} people: {counts}; a score fell, became unknown or is gone: {shorten(fell, 10) or 'nobody'}")


def show(points):
    return "" if points is None else f"{points:+.2f}"


def cell(value):
    return "unknown" if value is None else f"{value:.4g}" if isinstance(value, float) else clean(value)

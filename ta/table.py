"""grades.csv: a row a student, a row of the most points, and the columns that learning platforms want back."""

import contextlib
import csv
import json
import math
import re

from checks.sections import POINTS
from grade import CAPS
from lab.cli import LabError
from lab.files import write_whole
from ta.sandbox.wire import clean

THEORY = 40
COMPLETION = {"VAEwolabel": 30, "Genwithlabel": 20}
LAB = sum(CAPS.values()) + sum(COMPLETION.values())
FIGURES = {
    "VAEwolabel": ("mse", "ssim", "latent_dim", "bonus", "raw"),
    "Genwithlabel": (
        *("mse", "ssim", "fid", "latent_dim", "bonus", "raw"),
        *("fid_full", "digit_accuracy", "near_copies"),
    ),
}
MAX_POINTS = "max points"  # the id of the row that says how much each column can be


def read_table(path, needed):
    """Return {id: row} of a CSV whose columns hold at least `id` and `needed`. Raises LabError if it does not."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabError(f"{path} cannot be read as a CSV in UTF-8: {error}.") from error
    for column in ("id", *needed):
        if not rows or column not in rows[0]:
            found = list(rows[0]) if rows else "no rows"
            raise LabError(f"{path}: expected a column {column!r}, separated by commas, got {found}.")
    rows = [row for row in rows if any(value and value.strip() for key, value in row.items() if key is not None)]
    ids = [(row["id"] or "").strip() for row in rows]
    if "" in ids:
        raise LabError(f"{path}: expected an id in every row, got none in row {ids.index('') + 2}.")
    twice = sorted({one for one in ids if ids.count(one) > 1})
    if twice:
        raise LabError(f"{path}: expected each id once, got {twice[0]!r} {ids.count(twice[0])} times.")
    return {
        one: {key: value or "" for key, value in row.items() if key is not None}
        for one, row in zip(ids, rows, strict=True)
    }


def read_theory(path):
    """Return {id: points} of a CSV with the columns id and theory."""
    points = {}
    for student, row in read_table(path, ["theory"]).items():
        if not row["theory"].strip():
            continue
        try:
            points[student] = float(row["theory"])
        except ValueError:
            points[student] = math.nan
        if not 0 <= points[student] <= THEORY:
            raise LabError(f"{path}: expected theory from 0 to {THEORY} for {student}, got {row['theory']!r}.")
    return points


def overall_status(tasks):
    """Return ok if every task is, else infra_error if one is, else the first other status."""
    statuses = [task["status"] for task in tasks.values()]
    return "infra_error" if "infra_error" in statuses else next((s for s in statuses if s != "ok"), "ok")


def total(*points):
    """Return a sum of points, None if one of them is unknown."""
    return None if None in points else sum(points)


def student_row(result, theory):
    """Return a student's cells as {column: value}; what is unknown stays empty."""
    tasks = result["tasks"]
    row = {"status": result["status"]}
    for task, figures in tasks.items():
        row |= {f"{task}_status": figures["status"], f"{task}_completion": figures["completion"]}
        row[f"{task}_score"] = figures["score"]
    points = total(*(figures[part] for figures in tasks.values() for part in ("completion", "score")))
    row |= {"lab": points, "theory": theory, "total": total(points, theory)}
    for task, figures in tasks.items():
        row |= {f"{task}_{name}": figures.get(name) for name in FIGURES[task]}
        row |= {f"check_{check['section']}": check["points"] for check in figures["checks"]}
        row[f"{task}_message"] = figures["message"]
    return row | {"isolation": result["isolation"]}


def max_row():
    """Return the cells of the row that says how much each column of points can be."""
    row = {f"{task}_completion": COMPLETION[task] for task in CAPS} | {f"{task}_score": CAPS[task] for task in CAPS}
    return row | {"lab": LAB, "theory": THEORY, "total": LAB + THEORY} | {f"check_{s}": p for s, p in POINTS.items()}


def without_result(status, message, points):
    """Return a result for somebody who has none of their own; points: what they get for each part."""
    task = {"status": status, "message": message, "private": False, "checks": []}
    task |= {"completion": points, "score": points}
    return {"status": status, "tasks": {name: task for name in CAPS}, "isolation": ""}


NOTHING_HANDED_IN = without_result("missing", "nothing was handed in", 0)
NOT_GRADED = without_result("not_graded", "not graded yet", None)


def own_columns():
    """Return the columns of grades.csv that are not the roster's, without the id."""
    own = list(student_row(NOTHING_HANDED_IN, None))
    return [*own[:-1], *(f"check_{section}" for section in POINTS), own[-1]]


def read_result(folder, student_id):
    """Return a student's result, None if there is none that can be read."""
    needed = {"status", "message", "private", "score", "completion", "checks"}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        result = json.loads((folder / f"{student_id}.json").read_text(encoding="utf-8"))
        whole = {"id", "status", "isolation"} <= result.keys() and result["tasks"].keys() == CAPS.keys()
        if whole and all(needed <= figures.keys() for figures in result["tasks"].values()):
            return result
    return None


def write_grades(path, results, roster=None, theory=None, handed_in=()):
    """Write grades.csv. results: {id: result}; roster: {id: row} whose other columns go into the table; theory:
    {id: points}; handed_in: ids of all submissions, graded or not."""
    roster, theory = roster or {}, theory or {}
    everyone = dict.fromkeys((*roster, *theory), NOTHING_HANDED_IN) | dict.fromkeys(handed_in, NOT_GRADED) | results
    own = own_columns()
    extra = [column for column in next(iter(roster.values()), {}) if column not in ("id", *own)]
    with write_whole(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", *extra, *own], restval="")
        writer.writeheader()
        writer.writerow({"id": MAX_POINTS} | max_row())
        for student in sorted(everyone):
            known = {column: roster.get(student, {}).get(column) for column in extra}
            cells = known | student_row(everyone[student], theory.get(student))
            writer.writerow({"id": harmless(student)} | {name: harmless(value) for name, value in cells.items()})


def harmless(value):
    """Return a cell that no spreadsheet takes for a formula, on one line; some begin a new cell after a semicolon."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    text = " ".join(clean(value).split())
    return re.sub(r"(^|;) ?(?=[=+@＝＋－＠-])", r"\1'", text)

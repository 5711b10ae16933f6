"""grades.csv and the tables beside it: the cells of each person, for people and for programs."""

import time
from collections import Counter

from lab.diagnostics import DIAGNOSTICS
from lab.files import sha256
from lab.tables import write_table
from lab.tasks import TASKS, all_sections

THEORY = 40
PARTS = {  # column → its maximum points
    f"{task.name}_{part}": max_points
    for task in TASKS.values()
    for part, max_points in (("completion", task.completion), ("score", task.cap))
}
LAB = sum(PARTS.values())
CHECKS = {f"check_{number}": section.points for number, (section, _) in all_sections().items()}
MAX_POINTS = PARTS | {"lab": LAB, "theory": THEORY, "total": LAB + THEORY} | CHECKS
IDENTITY = ("id", "name", "number")


def metrics_of(task):
    """Return the names of a task's metrics, in the order of the columns."""
    if not TASKS[task].generates:
        return ("mse", "ssim", "latent_dim", "bonus", "raw")
    return ("mse", "ssim", "fid", "latent_dim", "bonus", "raw", *DIAGNOSTICS)


def overall_status(tasks):
    """Return ok if every task is ok, infra_error if any part is unknown, else the first other status; a submission
    that lacks a checkpoint is incomplete."""
    points = [metrics[part] for metrics in tasks.values() for part in ("score", "completion")]
    statuses = [metrics["status"] for metrics in tasks.values()]
    if None in points or "infra_error" in statuses:
        return "infra_error"
    first = next((status for status in statuses if status != "ok"), "ok")
    return "incomplete" if first == "missing" else first


def total(*points):
    """Return the sum of points, or None if one of them is unknown."""
    return None if None in points else sum(points)


def flags_of(result):
    """Return [(task, flag as ta.review leaves it), ...] of a result."""
    return [(task, flag) for task, metrics in result["tasks"].items() for flag in metrics.get("review", [])]


def own_cells(row):
    """Return a Row's cells as {column: value}; unknown values are None."""
    result, tasks = row.result, row.result["tasks"]
    changed = {column: value for column, value, _ in row.changes}
    checks = dict.fromkeys(CHECKS)
    parts = {}
    for task, metrics in tasks.items():
        found = {f"check_{check['section']}": check["points"] for check in metrics["checks"]}
        checks |= found | {name: changed[name] for name in found if name in changed}
        corrected = [checks[name] - (points or 0) for name, points in found.items() if name in changed]
        parts[f"{task}_completion"] = total(metrics["completion"], *corrected)
        parts[f"{task}_score"] = metrics["score"]
    parts |= {name: changed[name] for name in parts if name in changed}
    penalty = sum(value for column, value, _ in row.changes if column == "penalty")
    lab = changed.get("lab", total(*parts.values()))
    lab = None if lab is None else max(0.0, lab - penalty)
    theory = changed.get("theory", row.theory)
    cells = {"id": row.id, "name": row.person.name, "number": row.person.label, "status": result["status"]}
    cells |= {f"{task}_status": metrics["status"] for task, metrics in tasks.items()} | parts
    cells |= {"lab": lab, "theory": theory, "penalty": penalty or None}
    cells["total"] = changed.get("total", total(lab, theory))
    for task, metrics in tasks.items():
        cells |= {f"{task}_{name}": metrics.get(name) for name in metrics_of(task)}
        cells[f"{task}_message"] = metrics["message"]
    changes = [(f"{column} {value:g}", reason) for column, value, reason in row.changes if column != "comment"]
    others = [f"also handed in as {student['id']}" for student in row.students if student["id"] != row.id]
    cells |= checks | {
        "review": " ".join(f"{task}: {flag['reason']}" for task, flag in flags_of(result)),
        "overrides": "; ".join(f"{what} ({reason})" if reason else what for what, reason in changes),
        "comment": "; ".join(value for column, value, _ in row.changes if column == "comment"),
        "notes": "; ".join(result.get("notes", []) + others),
        "late": "late" if result.get("late") else "",
    }
    cells |= {name: result.get(name, "") for name in ("attempt", "submission", "source", "isolation")}
    cells |= {name: result.get(name, "") for name in ("test_set", "accuracy_gate", "grader_version")}
    cells |= {name: result.get("limits", {}).get(name) for name in ("timeout", "memory")}
    return cells | {
        "trained_with": ", ".join(f"{name} {version}" for name, version in result.get("trained_with", {}).items()),
        "graded_with": ", ".join(f"{name} {version}" for name, version in result.get("versions", {}).items()),
        "other_versions": other_versions(result),
    }


def other_versions(result):
    """Return how the versions that a submission was trained with differ from those that graded it, "" if they do not
    or nothing is known of them."""
    trained, graded = result.get("trained_with", {}), result.get("versions", {})
    pairs = [(name, version, graded.get(name, "")) for name, version in trained.items()]
    return ", ".join(f"trained with {name} {old}, graded with {new}" for name, old, new in pairs if old != new)


def write_tables(gradebook, rows):
    """Write grades.csv, grades_full.csv in full precision, max_points.csv and ignored.csv."""
    folder, own = gradebook.folder, list(rows[0].own) if rows else list(IDENTITY)
    extra = name_extra_columns(gradebook, rows, own)
    columns = [*IDENTITY, *extra.values(), *own[len(IDENTITY) :]]
    table = [row.own | {extra[name]: row.roster.get(name, "") for name in extra} for row in rows]
    fine = {f"{task}_{name}" for task in TASKS for name in metrics_of(task)}
    with gradebook.changing() as memory:
        keep_edited(gradebook)
        write_table(folder / "grades_full.csv", columns, table, for_excel=False)
        write_table(folder / "grades.csv", columns, table, fine=fine)
        memory["written"] = sha256((folder / "grades.csv").read_bytes())
        most = [{"column": name, "max_points": points} for name, points in MAX_POINTS.items()]
        write_table(folder / "max_points.csv", ["column", "max_points"], most)
        places = memory["ignored"].items()
        ignored = [{"folder": place, "name": name, "why": why} for place, some in places for name, why in some]
        write_table(folder / "ignored.csv", ["folder", "name", "why"], ignored)


def name_extra_columns(gradebook, rows, own):
    """Return {column of the roster: its name in grades.csv}, which differs where the name is taken."""
    extra = {}
    for column in gradebook.roster.kinds if gradebook.roster else []:
        same = all(row.roster.get(column, "") in ("", row.own.get(column)) for row in rows)
        if column not in own:
            extra[column] = column
        elif column != "name" and not (column in IDENTITY and same):
            extra[column] = f"roster {column}"
            gradebook.notes.append(f"the roster's column {column!r} is called {extra[column]!r} in grades.csv")
    return extra


def keep_edited(gradebook):
    """Rename a grades.csv that somebody has edited by hand, so that it is not overwritten."""
    path = gradebook.folder / "grades.csv"
    if path.is_file() and sha256(path.read_bytes()) != gradebook.memory["written"]:
        kept = path.rename(path.with_name(f"grades.edited {time.strftime('%Y-%m-%d %H.%M.%S')}.csv"))
        gradebook.notes.append(f"grades.csv was edited by hand: kept as {kept.name}; changes belong in overrides.csv")


def count_statuses(results):
    """Return how many results have which status, in words, the most frequent first: "38 ok, 2 crash"."""
    counts = Counter(sorted(result["status"] for result in results))
    return ", ".join(f"{count} {status}" for status, count in counts.most_common())

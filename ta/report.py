"""Rebuild the tables and pages of a gradebook: grades.csv, report.html for the staff, feedback/ID.html for students.

    python -m ta report grades/
    python -m ta report grades/ --export moodle

No page loads anything from elsewhere, and whatever a student wrote appears as text, never as markup.
"""

import base64
import hashlib
import statistics
import sys
from collections import Counter
from pathlib import Path

import jinja2
import numpy as np
from tqdm import tqdm

from grade import score_terms
from lab.cli import ROOT, LabError
from lab.files import sha256, write_whole
from lab.plots import data_url, tile
from lab.tasks import TASKS, all_sections
from ta.charts import draw_charts
from ta.export import PLATFORMS, write_export
from ta.gradebook import Gradebook, shorten
from ta.table import LAB, THEORY, count_statuses, flags_of, write_tables

PAGES = ROOT / "ta" / "pages"
GREYS = 16  # of the sheets: half as many bytes as with 256, and digits look the same
SHOWN = 8  # generated pictures per digit
ROWS = {"originals": "hidden pictures"} | {f"{task}_recon": f"reconstructed by {task}" for task in TASKS}
IN_TABLE = {  # column of grades.csv → its title in the report
    **{"id": "id", "name": "name", "status": "status", "lab": "lab", "theory": "theory", "total": "total"},
    **{f"{task}_{name}": f"{task[:3]} {title}" for task in TASKS
       for name, title in (("completion", "checks"), ("score", "score"), ("latent_dim", "d"))},
    **{f"{name}_digit_accuracy": f"{name[:3]} accuracy" for name, task in TASKS.items() if task.generates},
}  # fmt: skip
NUMBERS = set(IN_TABLE) - {"id", "name", "status"}


def add_arguments(parser):
    parser.add_argument("grades", type=Path, help="the gradebook, the folder --out of python -m ta grade")
    add_export_arguments(parser)


def add_export_arguments(parser):
    parser.add_argument("--export", choices=PLATFORMS, help="also write the points in this platform's import format")
    parser.add_argument("--assignment", default="VAE Lab", help="the name of the column that the platform imports")


def main(args):
    if not any((args.grades / name).exists() for name in ("gradebook.json", "results")):
        raise LabError(
            f"{args.grades} is not a gradebook: expected the folder --out of python -m ta grade; grade a class first."
        )
    write_all(Gradebook(args.grades), args)


def write_all(gradebook, args, limits=None):
    """Write the tables, the pages and the export; print notes for the staff. limits: of this call."""
    rows = gradebook.rows()
    gradebook.notes += name_different(rows, limits)
    flagged = [row.id for row in rows if row.own["review"]]
    gradebook.notes += [f"flagged for review, see report.html: {shorten(flagged, 20)}"] if flagged else []
    write_tables(gradebook, rows)
    write_pages(gradebook, rows)
    gradebook.notes += write_export(gradebook, rows, args.export, args.assignment) if args.export else []
    for note in gradebook.notes + gradebook.matching:
        print(f"note: {note}", file=sys.stderr)
    for line in gradebook.describe_ignored():
        print(line, file=sys.stderr)


def name_different(rows, limits):
    """Return notes on rows whose points are not comparable: a different test set, gate, grader or limits."""
    notes, kinds = [], {"test_set": "on a different test set", "accuracy_gate": "with a different accuracy gate"}
    for name, what in (kinds | {"grader_version": "by a different version of the grader"}).items():
        groups = Counter(row.result[name] for row in rows if name in row.result)
        for value, _ in groups.most_common()[1:]:
            some = [row.id for row in rows if row.result.get(name) == value]
            places = {row.result["source"] for row in rows if row.result.get(name) == value}
            where = ", ".join(sorted(places))
            notes.append(f"graded {what} than most ({value or 'none'}): {shorten(some, 20)}, from {where}")
    for row in rows if limits else []:
        own = row.result.get("limits", limits)
        if own != limits:
            notes.append(f"{row.id} was graded with {own['timeout']:g} s and {own['memory'] / 2**30:.3g} GB per step")
    return notes


def get_template(name):
    """Return a page of ta/pages/; whatever is put into it is escaped."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGES), autoescape=True, trim_blocks=True)
    environment.globals |= {"tasks": TASKS, "sections": all_sections()}
    return environment.get_template(name)


def write_pages(gradebook, rows):
    """Write report.html and feedback/ into a gradebook."""
    folder = gradebook.folder

    def order(row):  # failures first, then what is flagged for review
        return row.result["status"] == "ok", not row.own["review"], row.own["lab"] or 0, row.id

    rows = sorted(rows, key=order)
    (folder / "feedback").mkdir(exist_ok=True)
    script = (PAGES / "report.js").read_text(encoding="utf-8")
    feedback, students, same = get_template("feedback.html"), [], find_identical(rows)
    for row in tqdm(rows, desc="pages", unit="student", leave=False):
        students.append(describe_student(row, folder / "results", f"student{len(students)}", same.get(row.id, [])))
        page = feedback.render(student=students[-1], summary=summarise_student(row))
        write_text(folder / "feedback" / f"{row.id}.html", page)
    for path in set((folder / "feedback").glob("*.html")) - {folder / "feedback" / f"{row.id}.html" for row in rows}:
        path.unlink()

    page = get_template("report.html").render(
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        summary=summarise_class(rows),
        isolation=" and ".join(sorted({student["isolation"] for student in students} - {""})) or "nothing: no code ran",
        statuses=sorted({row.result["status"] for row in rows}),
        charts=draw_charts(students),
        students=students,
        matching=gradebook.matching,
        ignored={place: some for place, some in gradebook.memory["ignored"].items() if some},
        columns=[{"name": title, "number": name in NUMBERS} for name, title in IN_TABLE.items()],
        rows=[[cell(row, name) for name in IN_TABLE] for row in rows],
    )
    write_text(folder / "report.html", page)
    print(f"wrote {folder / 'report.html'} (for the staff) and {folder / 'feedback'} (one page per student)")


def find_identical(rows):
    """Return {id: [sentence, ...]} of students who handed in the same file as others, except the blank one."""
    owners, sentences = {}, {}
    for row in rows:
        for name, hashed in row.result.get("files", {}).items():
            owners.setdefault((name, hashed), []).append(row.id)
    blank = sha256((ROOT / "submission.py").read_bytes())
    for (name, hashed), ids in owners.items():
        if len(ids) > 1 and len(hashed) == len(blank) and hashed != blank:  # a shorter text is an error message
            for one in ids:
                others = [other for other in ids if other != one]
                sentences.setdefault(one, []).append(f"{name} is identical to that of {shorten(others)}")
    return sentences


def write_text(path, text):
    with write_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def public_message(task, metrics):
    """Return what a student may read about a task's failure.

    A step that has seen hidden pictures could hide one in its message, so that message is withheld.
    """
    if metrics["status"] == "infra_error":
        return "This could not be graded because of a fault on our side. The staff will grade it again."
    if not metrics["private"]:
        return metrics["message"]
    return (
        "Your code's message is withheld, because the code had seen hidden pictures. To see the same on pictures that "
        f"you have: python inference.py --task {task}, then python grade.py --task {task}."
    )


def describe_student(row, folder, anchor, same):
    """Return what the templates show of a student; same: sentences on identical files, for the staff."""
    student = {"submission": "", "isolation": "", "seconds": 0.0} | row.result | {"id": row.id, "name": row.person.name}
    student |= {"anchor": anchor, "rows": [], "reconstructions": None, "generated": None, "same": same, "flags": []}
    student |= {"own": row.own, "notes": row.result.get("notes", [])}
    for task, metrics in student["tasks"].items():
        metrics["public"] = public_message(task, metrics)
        if metrics["status"] == "ok":
            metrics["terms"] = [
                {"name": name, "points": points, "max_points": max_points, "origin": origin(name, metrics, max_points)}
                for name, (points, max_points) in score_terms(metrics, TASKS[task]).items()
            ]
    messages = [metrics["message"] for metrics in student["tasks"].values() if metrics["message"]]
    student["messages"] = list(dict.fromkeys(messages))
    scored = {task: metrics["score"] for task, metrics in student["tasks"].items() if metrics["status"] == "ok"}
    student["headline"] = ", ".join(f"{task} {score:.2f}" for task, score in scored.items())
    try:
        with np.load(folder / f"{row.id}.npz", allow_pickle=False) as arrays:
            names = [name for name in ROWS if name in arrays.files]
            if names:
                student["reconstructions"] = sheet([arrays[name] for name in names])
                student["rows"] = [ROWS[name] for name in names]
            if "generated" in arrays.files:
                student["generated"] = sheet(arrays["generated"][:, :SHOWN])
            student["flags"] = [
                {"task": task, **flag, "sheet": sheet(arrays[flag["pictures"]])} for task, flag in flags_of(row.result)
            ]
    except Exception:  # a damaged file can raise anything; the result counts without pictures too
        student["reconstructions"] = student["generated"] = None
    return student


def origin(term, metrics, max_points):
    value = metrics[term.lower()]
    formulas = {
        "SSIM": f"{max_points:g} · SSIM",
        "MSE": f"{10 * max_points:g} · max(0.1 - MSE, 0)",
        "FID": f"max({max_points:g} - FID, 0)",
    }
    if term == "FID" and (gate := metrics.get("accuracy_gate")):
        formulas["FID"] += f" · min(accuracy / {gate:g}, 1) with accuracy {metrics['digit_accuracy']:.4f} and"
        return f"{formulas['FID']} FID {value:.4f}"
    return f"{formulas[term]} with {term} {value:.4f}"


def sheet(rows):
    """Return a sheet of pictures uint8 [R, C, 28, 28] as a data URL, and its display width."""
    picture = tile(np.stack(rows))
    return {"address": data_url(picture, GREYS), "width": 2 * picture.shape[1]}


def summarise_student(row):
    lab, theory, total = (row.own[name] for name in ("lab", "theory", "total"))
    parts = ["points for the lab are not known yet" if lab is None else f"{lab:.2f} of {LAB:g} points for the lab"]
    parts += [] if theory is None else [f"{theory:g} of {THEORY} for the theory"]
    parts += [] if total is None else [f"{total:.2f} of {LAB + THEORY:g} in total"]
    return ", ".join(parts) + "."


def summarise_class(rows):
    points = [row.own["lab"] for row in rows if row.own["lab"] is not None]
    text = f"{len(rows)} students: {count_statuses(row.result for row in rows)}"
    flagged = sum(bool(row.own["review"]) for row in rows)
    text += f"; {flagged} flagged for review" if flagged else ""
    if points:
        text += f". Points for the lab, of {LAB:g}: median {statistics.median(points):.1f}, mean "
        text += f"{statistics.mean(points):.1f}, lowest {min(points):.1f}, highest {max(points):.1f}."
    return text


def cell(row, name):
    value = row.own[name]
    text = "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
    return {"text": text, "number": name in NUMBERS}

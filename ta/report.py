"""Make pages of what class grading has found: report.html for the staff, feedback/ID.html for each student.

    python -m ta report grades/

Reads grades.csv, and results/ with each student's figures and pictures. No page loads anything from elsewhere, and
whatever came from a student is text in it and never markup.
"""

import base64
import csv
import hashlib
import io
import math
import statistics
from collections import Counter
from pathlib import Path

import jinja2
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from PIL import Image
from tqdm import tqdm

from checks.sections import GOOD, NAMES, POINTS
from data_utils import tile
from grade import CAPS, score_terms
from lab.cli import LabError
from lab.files import write_whole
from ta.collect import safe_id
from ta.table import COMPLETION, LAB, MAX_POINTS, THEORY, own_columns, read_result

PAGES = Path(__file__).resolve().parent / "pages"
GREYS = 16  # of the sheets: half the bytes of 256, and digits look the same
SHOWN = 8  # generated pictures of each digit
ROWS = {"originals": "hidden pictures"} | {f"{task}_recon": f"reconstructed by {task}" for task in CAPS}
BAR_COLOURS = {"not filled in": "#8c959f", "wrong": "#bf8700"}  # whatever else went wrong is red
IN_TABLE = (
    *("id", "status", "lab", "theory", "total"),
    *(f"{task}_{name}" for task in CAPS for name in ("completion", "score", "mse", "ssim", "fid", "latent_dim")),
    *("Genwithlabel_digit_accuracy", "Genwithlabel_near_copies", "VAEwolabel_message", "Genwithlabel_message"),
)


def add_arguments(parser):
    parser.add_argument("grades", type=Path, help="the folder that python -m ta grade wrote with --out")


def main(args):
    write_pages(args.grades)


def write_pages(folder):
    """Write report.html and feedback/ into a folder of class grading."""
    try:
        with open(folder / "grades.csv", newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["id"] != MAX_POINTS]
        rows.sort(key=lambda row: (row["status"] == "ok", float(row["lab"] or 0), row["id"]))  # failures first
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise LabError(
            f"{folder} holds no grades.csv as python -m ta grade writes it ({type(error).__name__}: {error}): grade a "
            "class first."
        ) from error
    (folder / "feedback").mkdir(exist_ok=True)
    script = (PAGES / "report.js").read_text(encoding="utf-8")
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGES), autoescape=True, trim_blocks=True)
    environment.globals |= {"caps": CAPS, "completion": COMPLETION, "names": NAMES}

    feedback, students, written = environment.get_template("feedback.html"), [], set()
    for row in tqdm(rows, desc="pages", unit="student", leave=False):
        result = read_result(folder / "results", row["id"])
        name = row["id"]
        if result is None or result["status"] != row["status"]:  # an old one, where the new one was lost
            result = result_of_row(row)
            name = safe_id(name)  # the roster's, which may be no name for a file
        students.append(describe_student(result, folder / "results", f"student{len(students)}"))
        page = feedback.render(student=students[-1], summary=summarise_student(row))
        write_text(folder / "feedback" / f"{name}.html", page)
        written.add(f"{name}.html")
    for path in (folder / "feedback").glob("*.html"):
        if path.name not in written:
            path.unlink()

    anchors = {student["id"]: student["anchor"] for student in students}
    page = environment.get_template("report.html").render(
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        summary=summarise_class(rows),
        isolation=" and ".join(sorted({student["isolation"] for student in students} - {""}))
        or "no sandbox: nothing ran",
        statuses=sorted({row["status"] for row in rows}),
        charts=draw_charts(students),
        students=students,
        **make_table(rows, anchors),
    )
    write_text(folder / "report.html", page)
    print(f"written to {folder / 'report.html'} (for the staff) and {folder / 'feedback'} (a page a student)")


def write_text(path, text):
    with write_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def public_message(task, figures):
    """Return what a student may read about a task's failure.

    A step that had seen hidden pictures may have put one into its message, so that is kept back.
    """
    if figures["status"] == "infra_error":
        return "This could not be graded, by no fault of yours. The staff will do it again."
    if not figures["private"]:
        return figures["message"]
    return (
        "What your code said is kept back, because it had seen hidden pictures. The same on pictures that you have: "
        f"python inference.py --task {task}, then python grade.py --task {task}."
    )


def result_of_row(row):
    """Return a stand-in for the result of somebody who has a row in grades.csv and none."""
    tasks = {}
    for task in CAPS:
        figures = {"status": row[f"{task}_status"], "message": row[f"{task}_message"], "private": False, "checks": []}
        if figures["status"] == "ok":
            figures |= {"status": "not_graded", "message": "the figures are gone: this has to be graded again"}
        points = {name: float(row[f"{task}_{name}"] or "nan") for name in ("score", "completion")}
        tasks[task] = figures | {name: None if math.isnan(value) else value for name, value in points.items()}
    return {"id": row["id"], "status": row["status"], "submission": "", "isolation": "", "seconds": 0.0, "tasks": tasks}


def describe_student(result, folder, anchor):
    """Return what the templates show of a result."""
    student = result | {"anchor": anchor, "rows": [], "reconstructions": None, "generated": None}
    for task, figures in result["tasks"].items():
        figures["public"] = public_message(task, figures)
        if figures["status"] == "ok":
            figures["terms"] = [
                {"name": name, "points": points, "most": most, "origin": origin(name, figures)}
                for name, (points, most) in score_terms(figures).items()
            ]
    scored = {task: figures["score"] for task, figures in result["tasks"].items() if figures["status"] == "ok"}
    student["headline"] = ", ".join(f"{task} {score:.2f}" for task, score in scored.items())
    try:
        with np.load(folder / f"{result['id']}.npz", allow_pickle=False) as arrays:
            names = [name for name in ROWS if name in arrays.files]
            if names:
                student["reconstructions"] = sheet([arrays[name] for name in names])
                student["rows"] = [ROWS[name] for name in names]
            if "generated" in arrays.files:
                student["generated"] = sheet(arrays["generated"][:, :SHOWN])
    except Exception:  # whatever a damaged file provokes: a result without pictures is one all the same
        student["reconstructions"] = student["generated"] = None
    return student


def origin(term, figures):
    factor = 5 if "fid" not in figures else 10
    value = figures[term.lower()]
    formulas = {"SSIM": f"{factor} · SSIM", "MSE": f"{10 * factor} · max(0.1 - MSE, 0)", "FID": "max(10 - FID, 0)"}
    return f"{formulas[term]} with {term} {value:.4f}"


def sheet(rows):
    """Return a sheet of pictures uint8 [R, C, 28, 28] as the address of a PNG with few greys, and its width to show."""
    levels = np.round(tile(np.stack(rows)) / (255 / (GREYS - 1))).astype(np.uint8)
    image = Image.fromarray(levels, "P")
    image.putpalette([round(level * 255 / (GREYS - 1)) for level in range(GREYS) for _ in range(3)])
    buffer = io.BytesIO()
    image.save(buffer, "png", bits=4)
    address = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"address": address, "width": 2 * image.width}


def summarise_student(row):
    parts = [f"{float(row['lab']):.2f} of {LAB:g} points for the lab" if row["lab"] else "points for the lab not known"]
    if row["theory"]:
        parts.append(f"{float(row['theory']):g} of {THEORY} for the theory")
    return ", ".join(parts) + "."


def summarise_class(rows):
    counts = Counter(row["status"] for row in rows)
    points = [float(row["lab"]) for row in rows if row["lab"]]
    text = f"{len(rows)} students: " + ", ".join(f"{count} {status}" for status, count in counts.most_common())
    if points:
        text += f". Points for the lab, of {LAB:g}: median {statistics.median(points):.1f}, mean "
        text += f"{statistics.mean(points):.1f}, lowest {min(points):.1f}, highest {max(points):.1f}."
    return text


def make_table(rows, anchors):
    """Return columns and rows for the report's table: the roster's columns, then the lab's most important ones."""
    roster = [name for name in (rows[0] if rows else {}) if name not in ("id", *own_columns())]
    names = ["id", *roster, *(name for name in IN_TABLE[1:] if any(row.get(name) for row in rows))]
    numbers = {name for name in names if name in IN_TABLE and not name.endswith(("id", "status", "message"))}
    columns = [{"name": name.replace("_", " "), "number": name in numbers} for name in names]

    def cell(row, name):
        text = row[name] or ""
        return {"text": f"{float(text):.4g}" if name in numbers and text else text, "number": name in numbers}

    cells = [
        {
            "cells": [cell(row, name) for name in names],
            "status": row["status"],
            "anchor": anchors.get(row["id"]),
        }
        for row in rows
    ]
    return {"columns": columns, "rows": cells}


def draw_charts(students):
    """Return the report's charts as {image: address of an SVG, caption}."""
    tasks = {
        task: [student["tasks"][task] for student in students if student["tasks"][task]["status"] == "ok"]
        for task in CAPS
    }
    histogram, axes = new_chart("points for quality, in percent of the most", "students")
    for task, figures in tasks.items():
        axes.hist([100 * one["score"] / CAPS[task] for one in figures], bins=range(0, 105, 5), alpha=0.6, label=task)
    axes.legend()

    compression, axes = new_chart("latent_dim", "raw score, in percent of the most")
    for task, figures in tasks.items():
        raw = [100 * one["raw"] / CAPS[task] for one in figures]
        axes.scatter([one["latent_dim"] for one in figures], raw, s=18, alpha=0.6, label=task)
    if not any(tasks.values()):
        axes.set_xlim(1, 784)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.legend()

    failures = Counter(
        (check["section"], check["status"])
        for student in students
        for figures in student["tasks"].values()
        for check in figures["checks"]
        if check["status"] not in GOOD
    )
    checks, axes = new_chart("students", "")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    sections = sorted(POINTS, key=lambda section: sum(n for (name, _), n in failures.items() if name == section))
    labels = [f"{section} {NAMES[section]}" for section in sections]
    left = np.zeros(len(sections))
    for status in (*BAR_COLOURS, "other failures"):
        kinds = [status] if status in BAR_COLOURS else sorted({kind for _, kind in failures} - set(BAR_COLOURS))
        widths = [sum(failures[section, kind] for kind in kinds) for section in sections]
        axes.barh(labels, widths, left=left, color=BAR_COLOURS.get(status, "#cf222e"), label=status)
        left += widths
    axes.set_xlim(0, max(1, 1.05 * left.max()))
    axes.legend(loc="lower right")
    return [
        {"image": to_svg(histogram), "caption": "Scores on the hidden test set, of the students whose code ran."},
        {"image": to_svg(compression), "caption": "Score against latent_dim, before the cap."},
        {"image": to_svg(checks), "caption": "Checks that did not pass, the most failed on top."},
    ]


def new_chart(x_title, y_title):
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_title)
    axes.set_ylabel(y_title)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def to_svg(figure):
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "vae-lab"}):  # the same results give the same page
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()

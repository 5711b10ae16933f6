"""A class's points in the import formats of Canvas and Moodle, with their own ids, and feedback pages for Moodle."""

import re

from lab.tables import write_table
from ta.release import write_zip
from ta.roster import PARTICIPANT, kind_of
from ta.submissions import fold
from ta.table import MAX_POINTS

PLATFORMS = ("canvas", "moodle")
CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
MOODLE = ("Identifier", "Full name", "Grade", "Maximum grade", "Last modified (grade)", "Feedback comments")
GRADES = ("grade", "bewertung", "成绩", "分数")  # the column of Moodle's worksheet, in several languages


def write_export(gradebook, rows, platform, assignment):
    """Write canvas.csv, or moodle.csv and moodle_feedback.zip, into the gradebook; return notes on their content."""
    column = "lab" if any(row.own["total"] is None for row in rows) else "total"
    points = {row.id: "" if row.own[column] is None else f"{row.own[column]:.2f}" for row in rows}
    make = {"canvas": for_canvas, "moodle": for_moodle}[platform]
    columns, cells = make(gradebook, rows, points, assignment, MAX_POINTS[column])
    path = gradebook.folder / f"{platform}.csv"
    write_table(path, columns, [*cells.values()], for_excel=False)
    exported = len(cells.keys() & points.keys())
    notes = [f"wrote {path}: {column}, maximum {MAX_POINTS[column]:g}, for {exported} students"]
    lost = [row.id for row in rows if row.id not in cells]
    notes += [f"left out, because their ids on {platform} are unknown: {', '.join(lost)}"] if lost else []
    if platform == "moodle":
        folders = {row.id: record["folder"] for row in rows for record in row.students if record.get("folder")}
        pages = {name: gradebook.folder / "feedback" / f"{row_id}.html" for row_id, name in folders.items()}
        path = gradebook.folder / "moodle_feedback.zip"
        write_zip(path, {f"{name}/feedback.html": page.read_bytes() for name, page in pages.items()})
        notes.append(f"wrote {path}: the feedback pages of {len(pages)} students, to upload as feedback files")
    return notes


def for_canvas(gradebook, rows, points, assignment, max_points):
    """Return the columns and {row's id: cells} of Canvas's import format for a gradebook."""
    names = list(gradebook.roster.kinds) if gradebook.roster else []
    own = names[: names.index("Section") + 1] if "Section" in names else list(CANVAS)
    known = [name for name in names if re.fullmatch(rf"{re.escape(assignment)}( \(\d+\))?", name)]
    column = known[0] if known else assignment
    cells = {"": {own[0]: "Points Possible", column: f"{max_points:.2f}"}}
    for row in rows:
        numbers = [value for record in row.students for kind, value in record.get("ids", []) if kind == "canvas"]
        if row.roster.get("ID"):
            cells[row.id] = {name: row.roster.get(name, "") for name in own} | {column: points[row.id]}
        elif numbers:
            cells[row.id] = {own[0]: row.person.name, "ID": numbers[-1], column: points[row.id]}
    return [*own, column], cells


def for_moodle(gradebook, rows, points, assignment, max_points):
    """Return the columns and {row's id: cells} of Moodle's grading worksheet (the roster itself if that is one), or,
    without participant numbers, of its import format for grades."""
    kinds = gradebook.roster.kinds if gradebook.roster else {}
    listed = [row for row in rows if row.roster]
    is_worksheet = any(all(PARTICIPANT.fullmatch(fold(row.roster.get(name, ""))) for row in listed) for name in kinds)
    grades = [name for name in kinds if fold(name) in GRADES]
    if listed and is_worksheet and grades:
        has_commas = any(re.fullmatch(r"\d+,\d+", value) for row in listed for value in row.roster.values())
        points = {row_id: text.replace(".", ",") if has_commas else text for row_id, text in points.items()}
        return list(kinds), {row.id: row.roster | {grades[0]: points[row.id]} for row in listed}
    cells = {}
    for row in rows:
        numbers = [value for record in row.students for kind, value in record.get("ids", []) if kind == "participant"]
        if numbers:
            own = (f"Participant {numbers[-1]}", row.person.name, points[row.id], f"{max_points:.2f}")
            cells[row.id] = dict(zip(MOODLE, own, strict=False))
    if cells:
        return list(MOODLE), cells
    own = [name for name in kinds if kind_of(name)]
    return [*own, assignment], {row.id: row.roster | {assignment: points[row.id]} for row in listed}

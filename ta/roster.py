"""Reads tables of students, whatever their columns are called, and finds out which submission is whose."""

import math
import re
import unicodedata
from dataclasses import dataclass, field

from lab.cli import LabError
from lab.tables import read_rows
from ta.submissions import fold

COLUMNS = {  # kind → names of its column in English, German and Chinese, without - and _
    "participant": "identifier",
    "id": "id",
    "number": "number|id number|idnumber|student number|student no|student id|sid|sis user id|matriculation number|"
    "id nummer|nummer|matrikelnummer|matrikel nr|学号|學號|编号|学生编号",
    "login": "login|username|user name|user id|login id|sis login id|netid|account|anmeldename|benutzername|kennung|"
    "用户名|账号|帐号|登录名",
    "email": "email|e mail|mail|email address|e mail address|e mail adresse|邮箱|电子邮箱|电子邮件|电子邮件地址|"
    "邮件地址|邮件|email地址|電子郵件",
    "name": "name|full name|fullname|student|student name|vollständiger name|姓名|学生姓名|全名",
    "first": "first name|firstname|given name|vorname|名|名字",
    "last": "last name|lastname|surname|family name|nachname|familienname|姓|姓氏",
    "theory": "theory|theory points|points|score|theorie|punkte|理论|理论分|理论成绩|分数|成绩",
}
KINDS = ("participant", "canvas", "number", "login", "email", "id")  # of identifiers
PARTICIPANT = re.compile(
    r"(?:participant|teilnehmer/in|teilnehmer|参与者|参与人)\s*(\d+)"
)  # Moodle's, in several languages
NO_STUDENT = re.compile(r"points possible|student, test$|test student$", re.IGNORECASE)  # rows of Canvas


@dataclass
class Person:
    """A person in a table or a gradebook. label: what to call them; ids: {(kind, value)}; names: the name in the forms
    that `name_forms` returns; row: {column: cell}; line: its number in the file."""

    label: str
    name: str = ""
    ids: set = field(default_factory=set)
    names: set = field(default_factory=set)
    row: dict = field(default_factory=dict)
    line: int = 0


@dataclass
class Table:
    """A table of students. kinds: {column: its kind or None}; people: one Person per student; other: rows that are not
    students, as in Canvas; note: how it was read."""

    kinds: dict
    people: list
    other: list
    note: str


def read_table(path, encoding=None, id_column=None):
    """Return the Table of a CSV. Raises LabError if it cannot be read or no column identifies people."""
    rows, note = read_rows(path, encoding)
    header = rows[0] if rows else []
    kinds = {column: kind_of(column) for column in header if column}
    if id_column is not None and id_column not in kinds:
        raise LabError(f"--id_column {id_column}: {path} has no such column, it has {', '.join(kinds)}.")
    kinds |= {id_column: "id"} if id_column is not None else {}
    if not set(kinds.values()) - {None, "theory"}:
        raise LabError(
            f"{path}: expected column names in the first row, one of which identifies people (id, ID number, 学号, "
            f"email, name ...), got {', '.join(header)[:200] or 'nothing'}: name it with --id_column."
        )
    table, lost = Table(kinds, [], [], note), []
    for line, cells in enumerate(rows[1:], start=2):
        person = read_person(dict(zip(header, cells, strict=False)), kinds, line)
        if NO_STUDENT.match(person.row.get("Student", "")):
            table.other.append(person.row)
        elif person.ids or person.names:
            table.people.append(person)
        elif any(cells):
            lost.append(str(line))
    table.note += f", {len(table.people)} students" + (f"; nobody named in row {', '.join(lost[:9])}" if lost else "")
    table.note += f"; left out: {', '.join(row['Student'] for row in table.other)}" if table.other else ""
    return table


def kind_of(column):
    """Return the kind of a column by its name, None if it is unknown."""
    plain = " ".join(re.findall(r"[^\W_]+", fold(column)))
    return next((kind for kind, names in COLUMNS.items() if plain in names.split("|")), None)


def read_person(row, kinds, line):
    """Return the Person of a row. A column `id` may hold an identifier of any kind."""
    values = {}
    for column, kind in kinds.items():
        if kind and row.get(column):
            values.setdefault(kind, row[column])
    last, comma, first = values.get("name", "").partition(",")
    name = f"{first.strip()} {last}" if comma else last or f"{values.get('first', '')} {values.get('last', '')}".strip()
    person = Person("", name, set(), name_forms(name), row, line)
    for kind in KINDS:
        value = fold(values.get(kind, ""))
        if match := PARTICIPANT.fullmatch(value):
            person.ids.add(("participant", match[1]))
        elif value:
            person.ids |= {(one, value) for one in (KINDS if kind == "id" else (kind, "id"))}
    person.label = next((values[kind] for kind in ("number", "login", "id", "email") if kind in values), name)
    return person


def name_forms(name):
    """Return a name's words without spaces, in every rotation: annaschmidt and schmidtanna."""
    words = re.findall(r"[^\W_]+", fold(name))
    return {"".join(words[start:] + words[:start]) for start in range(len(words))}


def contradict(one, other):
    """Return whether two names, both in Latin letters, have no word in common: equal numbers are then a coincidence."""
    words = [re.findall(r"[^\W\d_]{2,}", fold(name)) for name in (one, other)]
    if not all(found and unicodedata.name(found[0][0], "").startswith("LATIN") for found in words):
        return False
    return not any(a in b or b in a for a in words[0] for b in words[1])


def match(people, others, settled=None, together=lambda found: False):
    """Match people of one table to those of another by identifiers, then by names, exactly, and only if nobody else
    fits.

    settled: {index in people: [indices in others]}; together: whether several others may be one person. Returns such a
    dict, and a second one with the choices that it leaves to a human.
    """
    found, doubts = dict(settled or {}), {}
    for by_names in (False, True):
        taken = {other for some in found.values() for other in some}
        fits = {
            index: [
                other
                for other, candidate in enumerate(others)
                if other not in taken
                and (person.names & candidate.names if by_names else person.ids & candidate.ids)
                and (by_names or not contradict(person.name, candidate.name))
            ]
            for index, person in enumerate(people)
            if index not in found
        }
        wanted = [other for some in fits.values() for other in some]
        for index, some in fits.items():
            if some and (len(some) == 1 or together(some)) and all(wanted.count(other) == 1 for other in some):
                found[index] = some
            elif some:
                doubts[index] = some
    return found, {index: some for index, some in doubts.items() if index not in found}


def find(text, people):
    """Return the indices of the people with an identifier or, failing that, a name."""
    value, forms = fold(text), name_forms(text)
    by_id = [index for index, person in enumerate(people) if any(value == one for _, one in person.ids)]
    return by_id or [index for index, person in enumerate(people) if forms & person.names]


def read_points(table, max_points, path):
    """Return [points or None, ...] of a table's people, and notes on cells that are not numbers, which stay blank."""
    columns = [column for column, kind in table.kinds.items() if kind == "theory"]
    columns = columns or [column for column, kind in table.kinds.items() if kind is None]
    if len(columns) != 1:
        raise LabError(f"{path}: expected one column named theory with the points, got {', '.join(table.kinds)}.")
    points, notes = [], []
    for person in table.people:
        text = person.row.get(columns[0], "")
        value = to_number(text)
        if value is not None and not 0 <= value <= max_points:
            what = f"theory points from 0 to {max_points} for {person.label}"
            raise LabError(f"{path}, row {person.line}: expected {what}, got {text!r}.")
        if text and value is None:
            notes.append(f"{path.name}: {text!r} for {person.label} is not a number and is left blank")
        points.append(value)
    return points, notes


def to_number(text):
    """Return a number that may be written with a decimal comma, None if it is not a number."""
    try:
        value = float(unicodedata.normalize("NFKC", text).replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None

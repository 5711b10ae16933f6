"""Finds the submissions of a class in a folder downloaded from a learning platform.

Moodle, Canvas, Gradescope and Blackboard put the student into the names of files and folders; a student may have one
folder, one zip or several loose files. Any other folder or zip belongs to a student of that name.
"""

import os
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from lab.archives import open_file
from lab.cli import LabError
from lab.files import sha256
from ta.collect import NOT_OPENED

# The platform's part of a name comes first, the student's own file name last. So the first match is the right one, and
# a file that a student called x_LOGIN_attempt_2025-01-06-10-00-00_submission.py still belongs to that student.
MOODLE = re.compile(r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_(?P<kind>file|onlinetext)(?:_(?P<rest>.*))?")
CANVAS = re.compile(  # annaschmidt_LATE_12345_67890_handin.zip; where names are hidden: anon_ab1cd_67890_handin.zip
    r"(?:(?P<name>[^\W\d_]\w*?)_(?:(?P<late>LATE)_)?(?P<number>\d+)|(?:(?P<anonlate>LATE)_)?(?P<anon>anon_[^\W_]+))"
    r"_(?P<upload>\d+)_(?P<rest>.+)",
    re.IGNORECASE,
)
BLACKBOARD = re.compile(r"(?P<title>.*?)_(?P<login>[^_]+)_attempt_(?P<time>\d{4}(?:-\d\d){5})(?:_(?P<rest>.+)|\.txt)")
GRADESCOPE = "submission_metadata.yml"
EXPORT = re.compile(r"assignment_\d+_export.*")  # Gradescope's folder of a class ...
OF_AN_EXPORT = re.compile(r"submission_\d+")  # ... and of a student in it
OF_A_GRADEBOOK = ("results", "feedback", "slurm")  # its folders
LONGEST_ID = 150  # bytes: a file system takes names of 255, and ours are longer than the id
LARGEST_INFO = 2**26  # bytes of a file that a platform adds


@dataclass
class Student:
    """One student's submission.

    key: identifies the student, the same in every download; parts: [(attempt, name, path), ...] of files and of folders
    (with an empty name); ids: [(kind, value), ...], the student's identifiers on the platform; folder: Moodle's;
    source: the folder that holds it all; id: safe in print, in file names and in tables, unique in a gradebook.
    """

    key: str
    parts: list
    name: str = ""
    ids: list = field(default_factory=list)
    folder: str = ""
    late: bool = False
    attempt: str = ""
    notes: list = field(default_factory=list)
    source: str = ""
    id: str = ""

    @property
    def submission(self):
        """The names of the files and folders handed in."""
        return ", ".join(path.name for _, _, path in self.parts)


def find_students(folder, ours=()):
    """Return the Students of a folder, sorted by key, and [(name, why), ...] for everything ignored.

    ours: resolved paths of this call that are no submissions. Raises LabError if there are no submissions.
    """
    if folder.suffix.lower() == ".zip" and folder.is_file():
        raise LabError(f"{folder} is a zip: unpack it, and give the resulting folder of submissions.")
    if not folder.is_dir():
        raise LabError(f"{folder} is not a folder: expected one with a folder or a zip per student.")
    if is_gradebook(folder) or (is_gradebook(folder.resolve().parent) and folder.resolve().name in OF_A_GRADEBOOK):
        raise LabError(f"{folder} is, or belongs to, a gradebook of python -m ta grade: it holds no submissions.")
    students, ignored, exports = {}, [], exports_in(folder, ours)
    for place in [folder, *exports]:
        refuse_in_a_submission(place.resolve(), {*ours, *(path.resolve() for path in exports)})
        people = read_gradescope(place / GRADESCOPE) if (place / GRADESCOPE).is_file() else {}
        for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
            path = Path(entry.path)
            reason = "" if path in exports or entry.name == GRADESCOPE else reason_to_ignore(entry, path, ours)
            if reason:
                ignored.append((readable(path.relative_to(folder)), reason))
            for student in people.get(entry.name) or [read_entry(entry, path)] if reason is None else []:
                known = students.setdefault(student.key, student)
                if known is not student:
                    known.parts += student.parts
                    known.late |= student.late
                    known.name = known.name or student.name
    if not students:
        raise LabError(
            f"{folder} holds no submissions: expected a folder or a zip per student, or a download from Moodle, "
            f"Canvas, Gradescope or Blackboard; ignored: {', '.join(name for name, _ in ignored[:10]) or 'nothing'}."
        )
    for student in students.values():
        keep_newest(student)
        student.source = str(folder.resolve())
    return sorted(students.values(), key=lambda student: student.key), ignored


def refuse_in_a_submission(place, ours):
    """Raise LabError if one of `ours` lies deeper in a folder of submissions, in what would count as a submission."""
    for path in ours:
        entry = place / path.relative_to(place).parts[0] if place in path.parents else None
        if entry not in {None, *ours} and not entry.name.startswith(".") and not is_gradebook(entry):
            raise LabError(
                f"{path} lies in {entry}, which would count as a submission: choose a place outside {place}."
            )


def exports_in(folder, ours):
    """Return the subfolders that hold a whole class, as when a download was unpacked into a folder of its own.

    Students choose the content of their submissions, which may look like a class. So a folder counts as a class by its
    content only if everything beside it does too, and never under a name that a platform gives to a submission.
    """
    if (folder / GRADESCOPE).is_file():
        return []
    entries = [entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    folders = [Path(entry.path) for entry in entries if reason_to_ignore(entry, Path(entry.path), ours) is None]
    named = [path for path in folders if EXPORT.fullmatch(path.name) and (path / GRADESCOPE).is_file()]
    others = [path for path in folders if path not in named]
    return sorted(named + (others if all(map(looks_like_a_class, others)) else []))


def looks_like_a_class(path):
    """Return whether the names in a folder look like those of a whole class."""
    if MOODLE.fullmatch(path.name) or OF_AN_EXPORT.fullmatch(path.name):
        return False
    names = os.listdir(path)
    return GRADESCOPE in names or (
        bool(names) and all(MOODLE.fullmatch(name) or BLACKBOARD.fullmatch(name) for name in names)
    )


def reason_to_ignore(entry, path, ours):
    """Return why an entry of a folder is not a submission, None if it may be one."""
    if entry.name.startswith((".", "__MACOSX")) or entry.name.lower() in ("thumbs.db", "desktop.ini"):
        return "a file of the operating system"
    if path.resolve() in ours:
        return "an argument of this command, not a submission"
    moodle, blackboard, canvas = read_name(path)
    if moodle and moodle["kind"] == "onlinetext":
        return "an online text, not a file"
    if entry.is_dir() or entry.is_symlink():
        return "a gradebook of python -m ta grade" if is_gradebook(path) else None
    if path.suffix.lower() == ".zip" or moodle or blackboard or canvas:
        return None
    return f"{NOT_OPENED.get(path.suffix.lower(), 'a single file')}: a submission is a folder or a zip"


def is_gradebook(path):
    """Return whether a folder was written by `python -m ta grade`, or an earlier version of it."""
    tables = any((path / name).is_file() for name in ("gradebook.json", "grades.csv"))
    return tables and (path / "results").is_dir()


def read_entry(entry, path):
    """Return the Student to whom an entry belongs, according to its name."""
    is_folder = entry.is_dir() or entry.is_symlink()
    moodle, blackboard, canvas = read_name(path)
    if match := moodle:
        name, number = match["name"], match["number"]
        parts = [("", "" if is_folder else match["rest"] or readable(path.name), path)]
        folder = f"{name}_{number}_assignsubmission_file_"
        return Student(f"moodle {number} {name}", parts, name, [("participant", number)], folder)
    if (match := blackboard) and not is_folder:
        login, name = read_blackboard(info_of(path, match), match["login"])
        parts = [(match["time"], match["rest"], path)] if match["rest"] else []
        return Student(f"blackboard {login}", parts, name, [("login", login)])
    if (match := canvas) and not is_folder:
        number, late = match["number"] or match["anon"], match["late"] or match["anonlate"]
        parts = [(int(match["upload"]), match["rest"], path)]
        return Student(f"canvas {number}", parts, match["name"] or "", [("canvas", number)], late=bool(late))
    is_zip = not is_folder and path.suffix.lower() == ".zip"
    # A folder and a zip of the same name remain two students.
    name = readable(path.stem if is_zip and not path.with_name(path.stem).is_dir() else path.name)
    return Student(f"folder {name}", [("", readable(path.name) if is_zip else "", path)], name)


def read_name(path):
    """Return the matches of MOODLE, BLACKBOARD and CANVAS on the name of a file or folder, all None except one: that of
    the platform that wrote the first part of the name, not one that the student's part imitates."""
    moodle, blackboard, canvas = (pattern.fullmatch(readable(path.name)) for pattern in (MOODLE, BLACKBOARD, CANVAS))
    if canvas and blackboard and not info_of(path, blackboard).is_file():  # Blackboard writes one for each attempt
        blackboard = None
    if moodle and any(
        other and other.start(group) < moodle.start("number")
        for other, group in ((blackboard, "login"), (canvas, "upload"))
    ):
        moodle = None
    return moodle, None if moodle else blackboard, None if moodle or blackboard else canvas


def info_of(path, blackboard):
    """Return the text file that Blackboard writes for the attempt to which a file belongs."""
    return path.with_name(f"{path.name[: blackboard.end('time')]}.txt")


def readable(path):
    """Return a name as printable text, even if its bytes are not UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")


def read_blackboard(path, login):
    """Return login and name from the text file of an attempt, whose first line is "Name: Anna Schmidt (aschmidt)"."""
    text = ""
    if path.is_file():
        with open_file(path) as file:
            text = file.read(LARGEST_INFO).decode(errors="replace")
    match = re.match(r"Name:\s*(.+?)\s*\(([^()\n]+)\)\s*$", text, re.MULTILINE)
    return (match[2], match[1]) if match and f"_{match[2]}_attempt_" in path.name else (login, "")


def read_gradescope(path):
    """Return {folder: [Student, ...]} of an export's metadata: the submitters of each submission."""
    try:
        with open_file(path) as file:
            metadata = yaml.load(file.read(LARGEST_INFO), getattr(yaml, "CBaseLoader", yaml.BaseLoader))
        students = {}
        for folder, record in metadata.items():
            for person in record[":submitters"]:
                ids = [(kind, person[f":{name}"]) for kind, name in (("number", "sid"), ("email", "email"))
                       if person.get(f":{name}")]  # fmt: skip
                key = f"gradescope {ids[-1][1] if ids else person[':name']}"
                parts = [(record.get(":created_at", ""), "", path.parent / folder)]
                students.setdefault(folder, []).append(Student(key, parts, person[":name"], ids))
        return students
    except Exception as error:  # a damaged file can raise anything in a parser
        raise LabError(
            f"{path} is not a readable Gradescope list of submissions ({type(error).__name__}: {error}): export the "
            "submissions again."
        ) from error


def keep_newest(student):
    """Keep a student's newest attempt in `parts`, and name the others in a note."""
    attempts = [[]]
    for order, name, path in sorted(student.parts):
        if student.key.startswith("canvas "):
            # Uploads are numbered in order, and a file uploaded again gets a suffix: handin-1.zip.
            again = re.search(r"-(\d+)(?=\.\w+$)", name)
            name = name[: again.start()] + name[again.end() :] if again else name
            student.attempt = str(max(int(student.attempt or 1), int(again[1]) + 1 if again else 1))
            is_new = any(name == other for _, other, _ in attempts[-1])
        else:
            student.attempt, is_new = order, attempts[-1] and attempts[-1][-1][0] != order
        if is_new:
            attempts.append([])
        attempts[-1].append((order, name, path))
    *earlier, student.parts = attempts
    if earlier:
        names = ", ".join(path.name for attempt in earlier for _, _, path in attempt)
        student.notes.append(f"the newest of {len(attempts)} attempts counts, not {names}")


def fold(text):
    """Return a text for comparing names: texts that a file system or a person considers the same become equal."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()


def assign_ids(students, known):
    """Give each student the id stored for its key in `known`, {key: id}, or a new unique one."""
    taken = {fold(one) for one in known.values()}
    for student in students:
        number = student.ids[0][1] if student.ids else ""
        name = number if student.key.startswith("blackboard ") else student.name
        name = "_".join(filter(None, (name, number if number not in name else "")))
        student.id = known.get(student.key) or new_id(name or student.key, taken)
        taken.add(fold(student.id))
    assert len({fold(student.id) for student in students}) == len(students), "two students under one id"


def new_id(name, taken):
    """Return an id made of a name's plain characters, with a hash if other characters were dropped or it is taken."""
    plain = re.sub(r"[^\w.,@()' -]+", "_", name).lstrip("-.,@_()' ")[:80]
    plain = plain.encode()[:LONGEST_ID].decode(errors="ignore").rstrip("., ")
    wanted, salt = plain, name
    while not wanted or fold(wanted) in taken or (wanted == plain and plain != name):
        digest = sha256(os.fsencode(salt))[:8]
        wanted, salt = f"{plain}-{digest}".lstrip("-"), f"{salt} again"
    return wanted

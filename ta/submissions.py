"""Find the submissions of a class in a folder as a learning platform delivers it.

Moodle, Canvas, Gradescope and Blackboard write into names whose submission a folder or file is; a student may have one
folder, one zip or several loose files. Any other folder or zip is a student of that name.
"""

import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from lab.archives import open_file
from lab.cli import LabError
from ta.collect import NOT_OPENED

# The platform writes first and the student's own name for the file comes last: so the first place that fits is right,
# and a file called x_LOGIN_attempt_2025-01-06-10-00-00_submission.py stays its owner's.
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
LONGEST_ID = 150  # bytes: a file system takes names of 255, and ours add to it
LARGEST_INFO = 2**26  # bytes of a file that a platform adds


@dataclass
class Student:
    """One student's submission.

    key: who it is, the same in every download; parts: [(attempt, name, path), ...] of folders, whose name is empty, and
    files; ids: [(kind, value), ...] that the platform knows this student by; folder: Moodle's; source: where it all
    lies; id: safe to print, to name a file and to put in a table, unique in a gradebook.
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
        """The names of what was handed in, as they lie in the folder."""
        return ", ".join(path.name for _, _, path in self.parts)


def find_students(folder, ours=()):
    """Return the Students of a folder, sorted by key, and [(name, why), ...] of what is ignored.

    ours: resolved paths of this call that may lie there and are no submissions. Raises LabError if there is none.
    """
    if folder.suffix.lower() == ".zip" and folder.is_file():
        raise LabError(f"{folder} is a zip: unpack it, and give the folder that then holds the students.")
    if not folder.is_dir():
        raise LabError(f"{folder} is not a folder: expected one that holds a folder or a zip for each student.")
    if is_gradebook(folder) or (is_gradebook(folder.resolve().parent) and folder.resolve().name in OF_A_GRADEBOOK):
        raise LabError(
            f"{folder} is, or belongs to, a gradebook that python -m ta grade wrote: it holds no submissions."
        )
    students, ignored, exports = {}, [], exports_in(folder, ours)
    for place in [folder, *exports]:
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
            f"{folder} holds no submissions: expected a folder or a zip for each student, or what Moodle, Canvas, "
            f"Gradescope or Blackboard deliver; ignored: {', '.join(name for name, _ in ignored[:10]) or 'nothing'}."
        )
    for student in students.values():
        keep_newest(student)
        student.source = str(folder.resolve())
    return sorted(students.values(), key=lambda student: student.key), ignored


def exports_in(folder, ours):
    """Return the subfolders that hold a whole class, where an unpacked download lies in a folder of its own.

    What lies in a submission is for its student to choose, and may look like a class. So a folder is one by what lies
    in it only if everything beside it is one too, and never under a name that a platform gives to a submission.
    """
    if (folder / GRADESCOPE).is_file():
        return []
    entries = [entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    folders = [Path(entry.path) for entry in entries if reason_to_ignore(entry, Path(entry.path), ours) is None]
    named = [path for path in folders if EXPORT.fullmatch(path.name) and (path / GRADESCOPE).is_file()]
    others = [path for path in folders if path not in named]
    return sorted(named + (others if all(map(looks_like_a_class, others)) else []))


def looks_like_a_class(path):
    """Return whether the names in a folder are those of a whole class."""
    if MOODLE.fullmatch(path.name) or OF_AN_EXPORT.fullmatch(path.name):
        return False
    names = os.listdir(path)
    return GRADESCOPE in names or (
        bool(names) and all(MOODLE.fullmatch(name) or BLACKBOARD.fullmatch(name) for name in names)
    )


def reason_to_ignore(entry, path, ours):
    """Return why an entry of a folder is no submission, None if it may be one."""
    if entry.name.startswith((".", "__MACOSX")) or entry.name.lower() in ("thumbs.db", "desktop.ini"):
        return "a file of the operating system"
    if path.resolve() in ours:
        return "given to this command, not a submission"
    moodle, blackboard, canvas = read_name(path)
    if moodle and moodle["kind"] == "onlinetext":
        return "an online text, not a file"
    if entry.is_dir() or entry.is_symlink():
        return "a gradebook of python -m ta grade" if is_gradebook(path) else None
    if path.suffix.lower() == ".zip" or moodle or blackboard or canvas:
        return None
    return f"{NOT_OPENED.get(path.suffix.lower(), 'a single file')}: a submission is a folder or a zip"


def is_gradebook(path):
    """Return whether `python -m ta grade` wrote a folder, also an earlier version of it."""
    tables = any((path / name).is_file() for name in ("gradebook.json", "grades.csv"))
    return tables and (path / "results").is_dir()


def read_entry(entry, path):
    """Return the Student that an entry's name speaks of."""
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
    # A folder and a zip of one name stay two students.
    name = readable(path.stem if is_zip and not path.with_name(path.stem).is_dir() else path.name)
    return Student(f"folder {name}", [("", readable(path.name) if is_zip else "", path)], name)


def read_name(path):
    """Return the matches of MOODLE, BLACKBOARD and CANVAS on the name of a file or folder, all but one of them None:
    that of the platform, which wrote the first part of the name, and not one that a student's part of it imitates."""
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
    """Return the text file that Blackboard writes for the attempt that a file belongs to."""
    return path.with_name(f"{path.name[: blackboard.end('time')]}.txt")


def readable(path):
    """Return a name as text that can be written down, also where its bytes are no UTF-8."""
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
    except Exception as error:  # whatever a damaged file provokes in a parser
        raise LabError(
            f"{path} cannot be read as Gradescope's list of submissions ({type(error).__name__}: {error}): export the "
            "submissions again."
        ) from error


def keep_newest(student):
    """Leave the newest attempt of a student in `parts`, and say in a note what the others are."""
    attempts = [[]]
    for order, name, path in sorted(student.parts):
        if student.key.startswith("canvas "):
            # Uploads are numbered in their order, and a name that is uploaded again gets -1: handin-1.zip.
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
    """Return a text as names are compared: whatever a file system or a person takes for the same becomes equal."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()


def assign_ids(students, known):
    """Give each student the id that {key: id} `known` has for its key, or a new one that nobody else has."""
    taken = {fold(one) for one in known.values()}
    for student in students:
        number = student.ids[0][1] if student.ids else ""
        name = number if student.key.startswith("blackboard ") else student.name
        name = "_".join(filter(None, (name, number if number not in name else "")))
        student.id = known.get(student.key) or new_id(name or student.key, taken)
        taken.add(fold(student.id))
    assert len({fold(student.id) for student in students}) == len(students), "two students under one id"


def new_id(name, taken):
    """Return an id of the plain characters of a name; where these are not all, or are taken, with a hash of it."""
    plain = re.sub(r"[^\w.,@()' -]+", "_", name).lstrip("-.,@_()' ")[:80]
    plain = plain.encode()[:LONGEST_ID].decode(errors="ignore").rstrip("., ")
    wanted, salt = plain, name
    while not wanted or fold(wanted) in taken or (wanted == plain and plain != name):
        digest = hashlib.sha256(os.fsencode(salt)).hexdigest()[:8]
        wanted, salt = f"{plain}-{digest}".lstrip("-"), f"{salt} again"
    return wanted

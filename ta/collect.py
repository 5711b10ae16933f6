"""Find the submissions of a class and take the known files out of each, safely: names, links and sizes are hostile.

A submission is a folder or a zip; its files may lie at any one depth, as learning platforms deliver them. Nothing is
ever unpacked by its own name: only a file called submission.py, VAEwolabel.pth or Genwithlabel.pth is copied.
"""

import contextlib
import errno
import hashlib
import os
import re
import stat
import struct
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lab.cli import LabError
from submission_api import TASKS

LARGEST = {"submission.py": 2**20, **{f"{task}.pth": 2**27 for task in TASKS}}  # bytes
KNOWN = tuple(LARGEST)
LARGEST_ZIP = 2**28
LARGEST_DIRECTORY = 2**20  # bytes of a zip's table of contents
LONGEST_ID = 150  # bytes: a file system takes names of 255, and ours add to it
MOST_FILES = 5000  # looked at in a folder
DEEPEST = 8
CHUNK = 2**20
OURS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.EROFS)


class CollectError(Exception):
    """A submission that cannot be taken apart; the text says why."""


@dataclass(frozen=True)
class Student:
    """One submission. id: its name, safe to print, to name a file and to put in a table; path: a folder or a zip."""

    id: str
    path: Path


def find_students(folder):
    """Return the Students of a folder that holds one folder or zip each, sorted by id."""
    if not folder.is_dir():
        raise LabError(f"{folder} is no folder: expected one that holds a folder or a zip for each student.")
    students = []
    for entry in os.scandir(folder):
        is_zip = entry.name.lower().endswith(".zip") and entry.is_file(follow_symlinks=False)
        if entry.name.startswith((".", "__MACOSX")):
            continue
        if not (is_zip or entry.is_dir() or entry.is_symlink()):
            print(f"note: {entry.name!a} is ignored: a submission is a folder or a zip", file=sys.stderr)
            continue
        students.append((entry.name[:-4] if is_zip else entry.name, Path(entry.path)))
    if not students:
        raise LabError(f"{folder} holds no submissions: expected a folder or a zip for each student.")
    names = [safe_id(name).lower() for name, _ in students]
    return sorted(
        (
            Student(safe_id(name, always=names.count(safe_id(name).lower()) > 1, salt=path.name), path)
            for name, path in students
        ),
        key=lambda student: student.id,
    )


def safe_id(name, always=False, salt=""):
    """Return a name if it is plain, else its plain characters and a hash of the whole: nothing in it is special to a
    terminal, a table or a file system. always: add a hash of `salt` in any case."""
    plain = re.sub(r"[^\w.,@()' -]+", "_", name).lstrip("-.,@_()' ")[:80]
    plain = plain.encode()[:LONGEST_ID].decode(errors="ignore").rstrip("., ")
    if plain == name and not always and plain.lower() != "max points":  # the id of a row of grades.csv
        return name
    digest = hashlib.sha256(os.fsencode(salt or name)).hexdigest()[:8]
    return f"{plain}-{digest}" if plain else digest


def collect(student, folder):
    """Copy a student's known files into an empty folder; return {name: None, or what is wrong with that file}.

    Raises CollectError if the submission as a whole cannot be used, OSError if this machine is at fault.
    """
    with unreadable("the submission"):
        if student.path.is_symlink():
            raise CollectError("the submission is a link: expected a folder or a zip")
        if not student.path.is_dir():
            return collect_zip(student.path, folder)
        files = files_of_folder(student.path)
        zips = [path for path in files if path.suffix.lower() == ".zip" and not path.name.startswith(".")]
        if len(zips) == 1 and not any(path.name in KNOWN for path in files):
            return collect_zip(student.path / zips[0], folder)
        return copy(files, lambda path: open_file(student.path / path), folder)


@contextlib.contextmanager
def unreadable(what):
    """Turn whatever damaged or hostile bytes provoke in this block into a CollectError."""
    try:
        yield
    except CollectError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in OURS:
            raise
        raise CollectError(f"{what} cannot be read ({type(error).__name__}: {error})") from error


def files_of_folder(root):
    """Return the relative paths of the files under a folder; links to folders are not followed."""
    files = []
    for path, folders, names in os.walk(root):
        depth = len(Path(path).relative_to(root).parts)
        folders[:] = [] if depth == DEEPEST else [n for n in folders if n != "__MACOSX" and not n.startswith(".")]
        files += [(Path(path) / name).relative_to(root) for name in names]
        if len(files) > MOST_FILES:
            raise CollectError(f"expected at most {MOST_FILES} files")
    return files


def open_file(path):
    """Open a plain file to read; a link, a pipe or a device is refused without waiting for it."""
    if path.is_symlink():
        raise CollectError(f"{path.name} is a link: expected the file itself")
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise CollectError(f"{path.name} is no plain file")
    return os.fdopen(number, "rb")


def collect_zip(path, folder):
    """`collect` for a zip; its table of contents is measured before it is read."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_ZIP:
            raise CollectError(f"the zip has {size >> 20} MB: expected at most {LARGEST_ZIP >> 20}")
        file.seek(max(0, size - 2**16 - 22 - 20))
        tail = file.read()
        end = tail.rfind(b"PK\5\6")
        if end < 0:
            raise CollectError("the file is no zip")
        directory = struct.unpack_from("<L", tail, end + 12)[0]
        if directory > LARGEST_DIRECTORY or tail[max(0, end - 20) : end].startswith(b"PK\6\7"):
            raise CollectError(f"the zip holds too many files: expected at most {MOST_FILES}")
        with zipfile.ZipFile(file) as archive:
            entries = {}
            for info in archive.infolist():
                name = PurePosixPath(info.filename.replace("\\", "/"))
                if info.is_dir() or name.is_absolute() or {"..", "__MACOSX"} & set(name.parts):
                    continue
                if name in entries and name.name in KNOWN:
                    raise CollectError(f"the zip holds {name.name} twice: expected it once")
                entries[name] = info
            return copy(list(entries), lambda name: open_entry(archive, entries[name]), folder)


def open_entry(archive, info):
    """Open an entry of a zip to read; links, encryption and compressions other than deflate are refused."""
    name = PurePosixPath(info.filename).name
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise CollectError(f"{name} is a link or a device: expected the file itself")
    if info.flag_bits & 1:
        raise CollectError(f"{name} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise CollectError(f"{name} is packed in an unusual way: expected an ordinary zip")
    return archive.open(info)


def copy(paths, open_path, folder):
    """`collect` for the known files among some paths; all are taken from submission.py's folder, or
    without one from the folder of the checkpoints that is nearest to the top."""
    known = [path for path in paths if path.name in KNOWN and not path.name.startswith(".")]
    tops = [path for path in known if path.name == "submission.py"] or known
    if not tops:
        return {}
    depth = min(len(path.parts) for path in tops)
    places = {path.parent for path in tops if len(path.parts) == depth}
    if len(places) > 1:
        raise CollectError(f"submission.py is there {len(places)} times: expected one")
    problems = {}
    for path in known:
        if path.parent in places:
            problems[path.name] = None
            try:
                with unreadable(path.name), open_path(path) as source, open(folder / path.name, "xb") as target:
                    copy_bounded(source, target, LARGEST[path.name], path.name)
            except CollectError as error:
                problems[path.name] = str(error)
                (folder / path.name).unlink(missing_ok=True)
    return problems


def copy_bounded(source, target, largest, name):
    """Copy a file, whatever it says about its size; raises CollectError if it is longer than `largest` bytes."""
    left = largest
    while chunk := source.read(min(CHUNK, left + 1)):
        left -= len(chunk)
        if left < 0:
            raise CollectError(f"{name} is too large: expected at most {largest / 2**20:g} MB")
        target.write(chunk)

"""Untrusted folders and zips: names, links and sizes may be hostile, and every problem becomes one kind of error."""

import contextlib
import errno
import os
import stat
import struct
import tempfile
import zipfile
from functools import partial
from pathlib import Path, PurePosixPath

LARGEST_ZIP = 2**28  # bytes
LARGEST_DIRECTORY = 2**20  # bytes of a zip's table of contents
MOST_FILES = 5000  # per folder or zip
DEEPEST = 8  # folders within folders
CHUNK = 2**20
HOST_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)
HOST_ERRORS += (errno.EACCES, errno.EPERM, errno.EROFS)


class CollectError(Exception):
    """A folder or zip whose files cannot be used; the text says why."""


@contextlib.contextmanager
def unreadable(what):
    """Turn any error that damaged or hostile bytes cause in this block into a CollectError."""
    try:
        yield
    except CollectError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in HOST_ERRORS:
            raise
        raise CollectError(f"{what} cannot be read ({type(error).__name__}: {error})") from error


def files_of_folder(root):
    """Return the relative paths of the files under a folder; links to folders are not followed."""
    files = []
    for path, folders, names in os.walk(root):
        depth = len(Path(path).relative_to(root).parts)
        folders[:] = [] if depth == DEEPEST else [n for n in folders if n != "__MACOSX" and not n.startswith(".")]
        files += [(Path(path) / name).relative_to(root) for name in names if not name.startswith(".")]
        if len(files) > MOST_FILES:
            raise CollectError(f"expected at most {MOST_FILES} files")
    return files


def open_file(path):
    """Open a regular file for reading; a link, a pipe or a device is refused without waiting for it."""
    if path.is_symlink():
        raise CollectError(f"{path.name} is a link: expected the file itself")
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise CollectError(f"{path.name} is not a regular file")
    return os.fdopen(number, "rb")


def open_zip(path, file, stack, unique=()):
    """Return {path: function that opens it} for the files of an open zip, which `stack` closes at the end; unique:
    names that may occur only once per folder."""
    stack.enter_context(file)
    if isinstance(file, zipfile.ZipExtFile):
        copied = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        copy_bounded(file, copied, LARGEST_ZIP, path.name)
        file = copied
    check_directory(file)
    archive = stack.enter_context(zipfile.ZipFile(file))
    entries = {}
    for info in archive.infolist():
        name = PurePosixPath(info.filename.replace("\\", "/"))
        is_hidden = name.name.startswith(".") or {"..", "__MACOSX"} & set(name.parts)
        if info.is_dir() or name.is_absolute() or is_hidden:
            continue
        if path / name in entries and name.name in unique:
            raise CollectError(f"the zip contains {name.name} twice: expected it once")
        entries[path / name] = partial(open_entry, archive, info)
    return entries


def check_directory(file):
    """Raise CollectError unless a zip is complete and its table of contents, measured before it is read, is small."""
    size = file.seek(0, os.SEEK_END)
    if size > LARGEST_ZIP:
        raise CollectError(f"the zip has {size >> 20} MB: expected at most {LARGEST_ZIP >> 20}")
    file.seek(0)
    is_zip = file.read(4) == b"PK\3\4"
    start = file.seek(max(0, size - 2**16 - 22 - 20))
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    length, offset = struct.unpack_from("<2L", tail, end + 12) if 0 <= end <= len(tail) - 22 else (0, size)
    if tail[max(0, end - 20) : max(0, end)].startswith(b"PK\6\7") or length > LARGEST_DIRECTORY:
        raise CollectError(f"the zip contains too many files: expected at most {MOST_FILES}, in an ordinary zip")
    if offset + length != start + end:  # no end, or the end of a checkpoint inside, which is a zip as well
        reason = "the zip is truncated: its end is missing, as after an interrupted upload"
        raise CollectError(reason if is_zip else "the file is not a zip")


def open_entry(archive, info):
    """Open an entry of a zip for reading; links, encryption and compression methods except deflate are refused."""
    name = PurePosixPath(info.filename).name
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise CollectError(f"{name} is a link or a device: expected the file itself")
    if info.flag_bits & 1:
        raise CollectError(f"{name} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise CollectError(f"{name} is compressed in an unusual way: expected an ordinary zip")
    return archive.open(info)


def copy_bounded(source, target, largest, name):
    """Copy a file, whatever its stated size; raises CollectError if it is longer than `largest` bytes."""
    left = largest
    while chunk := source.read(min(CHUNK, left + 1)):
        left -= len(chunk)
        if left < 0:
            raise CollectError(f"{name} is too large: expected at most {largest / 2**20:g} MB")
        target.write(chunk)

"""Writes files whole or not at all, and reads files without trusting them."""

import contextlib
import hashlib
import json
import os
import zipfile
from pathlib import Path

import numpy as np

from lab.cli import LabError


@contextlib.contextmanager
def write_whole(path):
    """Yield a temporary path with the same suffix; if the block succeeds, rename it to `path`.

    Readers, also after a kill at any moment, see the old file or the new one, never half of one. If the disk becomes
    full inside the block, the OSError names the path.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path, content):
    """Write plain values as JSON, whole or not at all."""
    with write_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path):
    """Return the dict in a JSON file; raises LabError if the file is missing, damaged or not a dict."""
    try:
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise LabError(f"{path} is missing or damaged ({reason}).") from error
    if not isinstance(content, dict):
        raise LabError(f"{path} is damaged: expected a JSON object, got {type(content).__name__}.")
    return content


def read_arrays(path, *names):
    """Return the arrays with these names in an npz; raises LabError if it is missing, damaged, contains pickled objects
    or lacks one of them."""
    try:
        if Path(path).is_file() and not zipfile.is_zipfile(path):  # numpy would advise to unpickle it
            raise LabError(f"{path} is not a readable npz: an npz is a zip archive, and this file is not.")
        with np.load(path, allow_pickle=False) as arrays:
            missing = set(names) - set(arrays.files)
            if missing:
                raise LabError(f"{path} has no array {' and '.join(sorted(missing))}: it contains {arrays.files}.")
            return [arrays[name] for name in names]
    except LabError:
        raise
    except Exception as error:  # numpy, zipfile and zlib raise almost anything for damaged bytes
        raise LabError(f"{path} is not a readable npz of plain arrays ({type(error).__name__}: {error}).") from error


def sha256(*parts):
    """Return the SHA-256 sum of bytes and arrays, as text."""
    total = hashlib.sha256()
    for part in parts:
        total.update(np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part)
    return total.hexdigest()


def write_sealed(path, value):
    """Write a dict as JSON together with a hash of itself, whole or not at all."""
    with write_whole(path) as temporary:
        text = json.dumps(value | {"seal": seal(value)}, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_sealed(path):
    """Return a dict that write_sealed wrote, None if it is missing or any byte has changed."""
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError, RecursionError):
        value = json.loads(Path(path).read_text(encoding="utf-8"))
        if value.pop("seal", None) == seal(value):
            return value
    return None


def seal(value):
    return sha256(json.dumps(value, sort_keys=True).encode())[:16]

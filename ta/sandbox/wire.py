"""The format of a worker's jobs and results: records in one file, each a JSON head and named arrays.

Results are written by a process that runs a student's code, so the reader trusts nothing in them: no pickles, no sizes
beyond the file's own, no long heads, and it stops at the first thing that is invalid.

Not safetensors: a worker that is killed in its third part has written two records, which this reader still returns; a
safetensors file is all or nothing, has no text arrays, and its head may take 100 MB to parse.
"""

import json
import math
import os

import numpy as np
from numpy.lib import format as npy

MAX_RECORDS = 32
MAX_ARRAYS = 10_000  # of all records
MAX_HEAD = 2**16  # bytes of a record's head, before it is parsed
MAX_TEXT = 2000  # characters of a message
READY = b"r"  # the first byte of a worker's results: from now on, the submission is running
IMPORTED = b"i"  # the second byte: its module has been imported


def write_record(file, report, arrays):
    """Append a record to a binary file: `report`, any JSON, and arrays {name: array of numbers or text}."""
    head = json.dumps({"report": report, "names": list(arrays)}).encode()
    for array in (np.frombuffer(head, np.uint8), *arrays.values()):
        npy.write_array(file, np.asarray(array, order="C"), allow_pickle=False)
    file.flush()


def read_job(file):
    """Return (job, inputs) from a binary file that the grader has written with `write_record`."""
    head = json.loads(npy.read_array(file).tobytes())
    return head["report"], {name: npy.read_array(file) for name in head["names"]}


def read_results(path):
    """Return whether the submission was imported, and [(report, arrays), ...] from a worker's results, up to the first
    record that is incomplete or not plain.

    report: {str: str}, bounded and printable; arrays: {str: array} of bool, integers, floats or text.
    """
    records, count = [], 0
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        imported = file.read(2) == READY + IMPORTED
        file.seek(1 + imported)
        while file.tell() < size and len(records) < MAX_RECORDS:
            try:
                report, names = read_head(file, size)
                if len(names) > MAX_ARRAYS - count:
                    break
                arrays = {name: read_array(file, size) for name in names}
            except Exception:  # hostile bytes can raise anything in a parser; nothing from here on is used
                break
            records.append((report, arrays))
            count += len(names)
    return imported, records


def read_head(file, size):
    """Return a record's report and the names of its arrays; raises ValueError unless they are plain and short."""
    head = json.loads(read_array(file, min(size, file.tell() + MAX_HEAD)).tobytes())
    report, names = head["report"], head["names"]
    if not isinstance(report, dict) or not all(isinstance(value, str) for value in report.values()):
        raise ValueError("expected a report made of strings")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("expected names that are strings")
    return {clean(key): clean(value) for key, value in report.items()}, [clean(name) for name in names]


def read_array(file, size):
    """Return the npy array at a file's position; raises ValueError if it is not plain or extends beyond `size`."""
    if npy.read_magic(file) != (1, 0):
        raise ValueError("expected npy version 1.0")
    shape, fortran_order, dtype = npy.read_array_header_1_0(file)
    if dtype.kind not in "biufU" or dtype.fields is not None or dtype.subdtype is not None or not dtype.isnative:
        raise ValueError(f"expected a plain dtype, got {dtype}")
    length = math.prod(shape) * dtype.itemsize
    if any(axis < 0 for axis in shape) or length > size - file.tell():
        raise ValueError(f"expected at most {size} bytes, got shape {shape}")
    data = bytearray(file.read(length))
    if dtype.kind == "U":
        points = np.frombuffer(data, np.uint32)
        if ((points > 0x10FFFF) | ((points >= 0xD800) & (points < 0xE000))).any():
            raise ValueError("expected text with valid characters")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")


def clean(text):
    """Return a text from a student, truncated, with unprintable characters replaced; newlines stay."""
    text = str(text)[:MAX_TEXT]
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)

"""How a worker hands arrays to the TA's process: records in one file, each a report and named arrays.

The file is written by a process that runs a student's code, so the reader believes nothing in it: no pickles, no
sizes beyond the file's own, and it stops at the first thing that does not fit.
"""

import json
import math
import os

import numpy as np
from numpy.lib import format as npy

MAX_ARRAYS = 10_000
MAX_TEXT = 2000  # characters of a message


def write_record(file, report, arrays):
    """Append a record to a binary file: `report` {str: str}, and arrays {name: array of numbers or text}."""
    head = json.dumps({"report": report, "names": list(arrays)}).encode()
    for array in (np.frombuffer(head, np.uint8), *arrays.values()):
        npy.write_array(file, np.asarray(array, order="C"), allow_pickle=False)
    file.flush()


def read_records(file):
    """Return [(report, arrays), ...] of a binary file, up to the first record that is not whole and plain.

    report: {str: str}, bounded and printable; arrays: {str: array} with dtypes of bool, integers, floats or text.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    records, count = [], 0
    while file.tell() < size and count < MAX_ARRAYS:
        try:
            head = json.loads(read_array(file, size).tobytes())
            report = {clean(key): clean(value) for key, value in head["report"].items()}
            names = [clean(name) for name in head["names"]][: MAX_ARRAYS - count]
            arrays = {name: read_array(file, size) for name in names}
        except Exception:  # whatever hostile bytes provoke in a parser: nothing from here on is used
            break
        records.append((report, arrays))
        count += len(names) + 1
    return records


def read_array(file, size):
    """Return the npy array at a file's position; raises ValueError if it is not plain or longer than the file."""
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
            raise ValueError("expected text of valid characters")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")


def clean(text):
    """Return a text from a student, bounded, and with unprintable characters replaced; newlines stay."""
    text = str(text)[:MAX_TEXT]
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)

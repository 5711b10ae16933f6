"""Reads CSVs in any common encoding, and writes them so that a spreadsheet shows them correctly."""

import csv
import io
import re

from lab.cli import LabError
from lab.files import write_whole

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
ENCODINGS = {"gb18030": "GBK", "cp1252": "Windows-1252"}  # as people call them
HEAD = 2**12  # bytes that show whether a file is UTF-16 without a byte order mark
FORMULA = re.compile(r"(^|[;\t])(\s*)(?=[=+\-@＝＋－＠])")
PLAIN_NUMBER = re.compile(r"[-+]?[\d.,]*")
DIGITS_OF_A_NAME = re.compile(r"0\d+|\d{12,}")  # a spreadsheet would drop zeros, or show 1.2E+11


def read_rows(path, encoding=None):
    """Return the rows of a CSV, lists of cells without the spaces around them, and a note on how it was read.

    The separator is the one that gives the first row the most cells. Raises LabError if the file cannot be read.
    """
    try:
        content = path.read_bytes()
        encoding = encoding or guess_encoding(content)
        text = content.decode(encoding)
        text = re.sub(r"\A(\ufeff)?(sep=.\r?\n)?", "", text)
        read = {one: list(csv.reader(io.StringIO(text, newline=""), delimiter=one)) for one in DELIMITERS}
    except (OSError, UnicodeError, LookupError, csv.Error) as error:
        raise LabError(
            f"{path} cannot be read as a table ({error}): save it as CSV in UTF-8, or give its --encoding."
        ) from error
    delimiter = max(DELIMITERS, key=lambda one: len(read[one][0]) if read[one] else 0)
    rows = [[cell.strip() for cell in row] for row in read[delimiter]]
    return rows, f"{path}: {ENCODINGS.get(encoding, encoding.upper())}, separated by {DELIMITERS[delimiter]}"


def guess_encoding(content):
    """Return the likely encoding of a file's bytes: UTF-8, UTF-16, GBK or Windows-1252."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    zeros = [content[start:HEAD:2].count(0) for start in (0, 1)]
    if max(zeros) > len(content[:HEAD]) / 5:
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    try:
        content.decode()
        return "utf-8"
    except UnicodeDecodeError:
        # Chinese text has pairs of high bytes, many of them common characters; European text has single ones.
        common = re.findall(rb"[\xb0-\xd7][\xa1-\xfe]", content)
        single = re.findall(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])", content)
        return "gb18030" if len(common) > len(single) else "cp1252"


def write_table(path, columns, rows, for_excel=True, fine=()):
    """Write rows {column: value} as CSV: for spreadsheets, with two decimals (four in the columns `fine`), or for
    programs, with all digits."""
    with write_whole(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        file.write("\ufeff" if for_excel else "")
        writer = csv.writer(file)
        writer.writerow(map(harmless, columns))
        for row in rows:
            cells = [harmless(row.get(name)) for name in columns]
            if for_excel:
                cells = [show(cell, 4 if name in fine else 2) for cell, name in zip(cells, columns, strict=True)]
            writer.writerow(cells)


def harmless(value):
    """Return a cell that no spreadsheet interprets as a formula, on one line."""
    if not isinstance(value, str):
        return "" if value is None else value
    text = value if PLAIN_NUMBER.fullmatch(value) else FORMULA.sub(r"\1\2'", value)
    return " ".join("".join(c if c.isprintable() or c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text).split())


def show(cell, decimals):
    """Return a harmless cell for a spreadsheet: rounded, and with digits that are an id left unchanged."""
    if isinstance(cell, float):
        return f"{cell:.{decimals}f}"
    return f'="{cell}"' if isinstance(cell, str) and DIGITS_OF_A_NAME.fullmatch(cell) else cell

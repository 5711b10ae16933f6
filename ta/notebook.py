"""Write lab.ipynb, the students' notebook, from docs/notebook.md and submission.py.

python -m ta notebook

In docs/notebook.md each block of Python is a cell, and so is the text between two of them. A block `%%submission NAME`
gets what submission.py defines under that name.
"""

import ast
import json
import re

from lab.cli import ROOT
from lab.files import write_whole

PATH, SOURCE, SUBMISSION = ROOT / "lab.ipynb", ROOT / "docs" / "notebook.md", ROOT / "submission.py"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
METADATA = {
    "colab": {"provenance": []},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def make_notebook(text, submission):
    """Return the text of a notebook (nbformat 4.5) without outputs.

    text: Markdown with blocks of Python; submission: the text of the blank submission.py.
    """
    cells = []
    for number, part in enumerate(BLOCK.split(text)):  # text, code, text, ..., text
        if not part.strip():
            continue
        cell = {"id": f"cell-{len(cells) + 1:02d}", "metadata": {}}
        if number % 2:
            cell |= {"cell_type": "code", "execution_count": None, "outputs": []}
            part = fill(part, submission)
        else:
            cell |= {"cell_type": "markdown"}
        cells.append(cell | {"source": part.strip().splitlines(keepends=True)})
    notebook = {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def fill(code, submission):
    """Append to `%%submission NAME` the text of NAME's definition; other code stays as it is."""
    name = re.fullmatch(r"%%submission (\w+)\n", code)
    if name is None:
        return code
    (node,) = (node for node in ast.parse(submission).body if getattr(node, "name", None) == name[1])
    return f"{code}{ast.get_source_segment(submission, node)}\n"


def add_arguments(parser):
    """It takes none."""


def main(args):
    notebook = make_notebook(SOURCE.read_text(encoding="utf-8"), SUBMISSION.read_text(encoding="utf-8"))
    with write_whole(PATH) as temporary:
        temporary.write_text(notebook, encoding="utf-8")
    print(PATH)

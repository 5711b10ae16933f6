"""What lab.ipynb uses: `%reload_ext lab.notebook` installs what is missing and defines `%%submission`.

    %%submission                                 puts what the cell defines into submission.py
    show("VAEwolabel", "loss_curve.png")         shows pictures of the task's newest run, or of a folder
    download("handin.zip", START)                downloads a file, or links to it

Only the standard library is imported at the top, because the rest may not be installed yet.
"""

import ast
import datetime
import importlib
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SUBMISSION, REPLACED = Path("submission.py"), Path("runs/replaced")
BLANK = "raise NotImplementedError"


def load_ipython_extension(shell):
    """Called by %reload_ext, in the lab's folder: install, define %%submission, and say whether there is a GPU."""
    # `!python` must be the notebook's Python, also in a virtual environment that is not activated.
    os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    install(Path("requirements.txt").read_text(encoding="utf-8").splitlines())
    shell.register_magic_function(write_submission, "cell", "submission")
    torch = importlib.import_module("torch")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: trains on the CPU"
    print(f"{Path.cwd()}: PyTorch {torch.__version__}, {gpu}")


def install(lines):
    """Install those of the lines of requirements.txt ("torch>=2.6") that are missing or too old.

    A torch that meets its requirement is kept, because the platform's own fits its GPU.
    """
    from packaging.requirements import Requirement  # installed with Jupyter's kernel

    wanted = [Requirement(line) for line in lines if line]
    missing = [one for one in wanted if not is_met(one)]
    if missing:
        kept = [f"{one.name}=={version(one.name)}" for one in wanted if one.name.startswith("torch") and is_met(one)]
        print("installing", *missing)
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *map(str, missing), *kept], check=True)
        importlib.invalidate_caches()


def is_met(wanted):
    """Return whether a Requirement is installed in a version that it allows."""
    try:
        return wanted.specifier.contains(version(wanted.name), prereleases=True)
    except PackageNotFoundError:
        return False


# ---- the tools


def write_submission(line, cell):
    """%%submission: put what the cell defines into submission.py; see merge for what the file keeps."""
    from lab.files import write_whole  # imports numpy

    old = SUBMISSION.read_text(encoding="utf-8")
    for name, text in ((SUBMISSION, old), ("the cell", cell)):
        try:
            ast.parse(text)
        except SyntaxError as error:
            print(f"nothing is written, because {name} is not valid Python: line {error.lineno}: {error.msg}")
            return
    new, kept = merge(old, cell)
    for name in kept:
        print(f"{name} stays as it is in {SUBMISSION}, where less is left to fill in than in this cell")
    if new == old:
        print(f"{SUBMISSION} is unchanged")
        return
    copy = REPLACED / f"submission_{datetime.datetime.now():%Y-%m-%d_%H-%M-%S_%f}.py"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(old, encoding="utf-8")
    with write_whole(SUBMISSION) as temporary:
        temporary.write_text(new, encoding="utf-8")
    print(f"{SUBMISSION} is written; the earlier one is {copy}")


def merge(text, cell):
    """Put a cell's top-level statements into a file's text; return the new text, and the names that the file keeps.

    A statement replaces the one with the same name; a new one is put before the next that is not new, or at the end.
    The file keeps a definition if the cell's has more left to fill in.
    """
    parts, kept, added = statements(text), [], []
    for name, code in statements(cell):
        place = next((number for number, (other, _) in enumerate(parts) if other == name), None)
        if place is None:
            added.append((name, f"\n\n{code.strip()}"))
        elif code.count(BLANK) > parts[place][1].count(BLANK):
            kept.append(name)
        else:
            before = "\n" * len(re.match(r"\n*", parts[place][1])[0])
            parts[place : place + 1] = [*added, (name, before + code.strip())]
            added = []
    return "\n".join(code for _, code in parts + added).rstrip() + "\n", kept


def statements(source):
    """Return (name, text) of each top-level statement, with the blank lines and comments above it.

    The name of an assignment is its left side, that of an import its text.
    """
    lines, begin, found = source.rstrip().splitlines(), 0, []
    tree = ast.parse(source)
    for node in tree.body:
        end = len(lines) if node is tree.body[-1] else node.end_lineno  # comments at the end belong to the last one
        name = getattr(node, "name", None) or ast.unparse(getattr(node, "targets", [node])[0])
        found.append((name, "\n".join(lines[begin:end])))
        begin = end
    return found


def show(folder, *pictures):
    """Show pictures of a folder inline; a task's name stands for its newest run."""
    from IPython.display import Image, display

    from lab.run import find_runs

    newest = [run.folder for run in find_runs() if run.task == folder]
    for path in (Path(newest[0] if newest else folder, name) for name in pictures):
        if path.is_file():
            display(Image(filename=path))
        else:
            print(f"{folder} has no {path.name} yet: see what the command above says")


def download(name, start):
    """Download a file on Colab, link to it elsewhere; start: the folder that the notebook was opened in."""
    from IPython.display import HTML, display

    if not Path(name).is_file():
        print(f"there is no {name} yet: see what the command above says")
    elif "google.colab" in sys.modules:
        from google.colab import files

        files.download(name)
    else:
        display(HTML(f'<a href="{os.path.relpath(name, start)}" download>{name}</a>'))

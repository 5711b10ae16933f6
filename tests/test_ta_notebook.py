"""lab.ipynb: up to date, run from top to bottom as a student runs it, and its tools."""

import ast
import io
import json
import re
import sys
import types
import zipfile
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pytest
from conftest import ROOT

from lab.notebook import install, write_submission
from ta.notebook import PATH, SOURCE, fill, make_notebook
from ta.release import collect, write_zip

BLANK = (ROOT / "submission.py").read_text(encoding="utf-8")
REFERENCE = (ROOT / "ta" / "reference" / "submission.py").read_text(encoding="utf-8")


def test_the_notebook_is_what_its_source_says():
    written = make_notebook(SOURCE.read_text(encoding="utf-8"), BLANK)
    assert PATH.read_text(encoding="utf-8") == written, "lab.ipynb is stale: python -m ta notebook"
    nbformat.validate(json.loads(written))


@pytest.fixture(scope="module")
def zipped(tmp_path_factory):
    """vae-lab.zip as students get it, but with few pictures: 700 to train and 500 to validate."""
    package = collect()
    with np.load(ROOT / "dataset" / "valid.npz", allow_pickle=False) as split:
        images, labels = split["images"], split["labels"]
    for name, part in (("train", slice(0, 700)), ("valid", slice(700, 1200))):
        content = io.BytesIO()
        np.savez_compressed(content, images=images[part], labels=labels[part])
        package[f"dataset/{name}.npz"] = content.getvalue()
    path = tmp_path_factory.mktemp("zipped") / "vae-lab (1).zip"  # as a browser names the second download
    write_zip(path, {f"vae-lab/{name}": content for name, content in package.items()})
    return path


def printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def pictures(cell):
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def made_quick(code):
    """Return a cell's code with the reference's definition, fewer epochs, one point, and commands that run in the
    kernel itself, without paying for the import of torch again; the first command and the sweep stay as they are."""
    first = code.partition("\n")[0]
    if first.startswith("%%submission"):
        return fill(f"{first}\n", REFERENCE)
    code = code.replace("--epochs 10", "--epochs 2").replace('"2 10 40"', "2").replace("EPOCHS=2", "EPOCHS=1")
    return code if code == "!python check.py" else re.sub(r"^!python (?=\w+\.py)", "%run -e ", code)


def test_the_notebook_runs_from_top_to_bottom(zipped, tmp_path):
    """In an empty folder with the zip."""
    (tmp_path / zipped.name).write_bytes(zipped.read_bytes())
    notebook = nbformat.read(PATH, as_version=4)
    for cell in notebook.cells:
        cell.source = made_quick(cell.source)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()

    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    lab = tmp_path / "vae-lab"
    assert f"{lab}: PyTorch" in printed(cells[0])

    def cell_with(command):
        (found,) = (cell for cell in cells if command in cell.source)
        return found

    assert printed(cells[1]).count("not filled in  ") == 6
    assert printed(cell_with("-k 2.2")).count("passed") == 4
    assert "15 of 15" in printed(cell_with("-k 2.3"))
    assert "OUTSIDE" not in printed(cell_with("--tiny"))
    assert "20 of 20" in printed(cell_with("-k 3"))
    shown = {"train.py --task VAEwolabel": 1, "inference.py --task VAEwolabel": 3, "-m sweep": 2}
    shown |= {"train.py --task Genwithlabel": 1, "inference.py --task Genwithlabel": 4}
    assert {command: pictures(cell_with(command)) for command in shown} == shown
    assert "digit accuracy" in printed(next(cell for cell in cells if cell.source == "%run -e grade.py"))
    link = cells[-1].outputs[-1]["data"]["text/html"]
    assert 'href="vae-lab/handin.zip"' in link
    with zipfile.ZipFile(lab / "handin.zip") as handin:
        assert {"submission.py", "VAEwolabel.pth", "Genwithlabel.pth"} <= set(handin.namelist())
        manifest = json.loads(handin.read("manifest.json"))
    assert sum(check["points"] for check in manifest["checks"]) == 50
    filled = (lab / "submission.py").read_text(encoding="utf-8")
    assert ast.dump(ast.parse(filled)) == ast.dump(ast.parse(REFERENCE))


def test_the_first_cell_keeps_everything_on_drive_in_colab(zipped, tmp_path, monkeypatch):
    """With google.colab as Colab's kernel has it; the folders it names lie in tmp_path."""
    content, calls = tmp_path / "content", []
    content.mkdir()

    def mount(path):
        calls.append(path)
        (Path(path) / "MyDrive").mkdir(parents=True, exist_ok=True)

    def upload():
        calls.append("upload")
        Path(zipped.name).write_bytes(zipped.read_bytes())

    colab = types.ModuleType("google.colab")
    colab.drive, colab.files = types.SimpleNamespace(mount=mount), types.SimpleNamespace(upload=upload)
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.syspath_prepend("")  # sys.path is as it was after the test
    code = nbformat.read(PATH, as_version=4).cells[1].source.partition("%reload_ext")[0]
    code = code.replace("/content", str(content))

    lab = content / "drive" / "MyDrive" / "vae-lab"
    for _ in range(2):  # a second day: nothing is uploaded, nothing replaced
        monkeypatch.chdir(content)
        exec(code, {})
        assert Path.cwd() == lab and (lab / "trainer.py").is_file()
        (lab / "submission.py").write_text("mine")
        (content / zipped.name).unlink(missing_ok=True)
    assert calls == [str(content / "drive"), "upload", str(content / "drive")]
    assert (lab / "submission.py").read_text() == "mine"

    (content / "elsewhere").mkdir()
    monkeypatch.delitem(sys.modules, "google.colab")
    monkeypatch.chdir(content / "elsewhere")
    with pytest.raises(FileNotFoundError, match="is neither in"):
        exec(code, {})
    address = (content / "course.zip").as_uri()
    (content / "course.zip").write_bytes(zipped.read_bytes())
    exec(code.replace('COURSE = ""', f"COURSE = {address!r}"), {})
    assert Path.cwd() == content / "elsewhere" / "vae-lab"


def test_a_cell_fills_in_submission_py_and_loses_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "submission.py"
    file.write_text(BLANK, encoding="utf-8")
    blank, filled = (fill("%%submission vae_loss\n", text).partition("\n")[2] for text in (BLANK, REFERENCE))
    helper = "import math\n\n\nWIDTH = 300  # of the hidden layers\n\n\n@staticmethod\ndef helper():\n    pass\n\n\n"

    write_submission("", helper + filled)
    first = file.read_text(encoding="utf-8")
    assert (
        first.index("import math")
        < first.index("WIDTH = 300")
        < first.index("def helper")
        < first.index("def vae_loss")
    )
    assert first.replace(helper + filled.rstrip(), blank.rstrip()) == BLANK
    assert [copy.read_text(encoding="utf-8") for copy in (tmp_path / "runs" / "replaced").iterdir()] == [BLANK]
    write_submission("", (helper + filled).replace("300", "500"))
    assert file.read_text(encoding="utf-8") == first.replace("300", "500")
    capsys.readouterr()

    for cell, message in (
        (blank, "vae_loss stays as it is in submission.py, where less is left to fill in"),
        ("def vae_loss(:\n", "nothing is written, because the cell is not valid Python: line 1"),
    ):
        write_submission("", cell)
        assert message in capsys.readouterr().out
        assert file.read_text(encoding="utf-8") == first.replace("300", "500")


def test_only_what_is_missing_is_installed_and_torch_stays(monkeypatch):
    calls = []
    monkeypatch.setattr("subprocess.run", lambda command, check: calls.append(command[5:]))
    monkeypatch.setattr("lab.notebook.version", {"torch": "2.6.0+cu124", "numpy": "1.20.0"}.__getitem__)
    install(["torch>=2.6", "numpy>=1.26"])
    assert calls == [["numpy>=1.26", "torch==2.6.0+cu124"]]
    install(["torch>=2.6"])
    assert len(calls) == 1

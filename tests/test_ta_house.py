"""The house: which floor may import which, what stands in one place only, and what a new task costs."""

import ast
import json
import subprocess
import sys

import pytest
from conftest import ROOT

from lab.tasks import TASKS

# Each floor imports only from floors before it, and modules of one floor from each other.
FLOORS = (
    ("lab",),
    ("data_utils",),
    ("trainer",),
    ("train", "inference", "grade", "checks"),
    ("check", "explore", "explorer", "sweep", "experiments"),
    ("ta",),
    ("benchmarks",),
)
LEVELS = {name: level for level, names in enumerate(FLOORS) for name in names}
FOR_ALL = {"model"}  # the student's demo, which imports nothing of ours
FILES = [path for path in sorted(ROOT.rglob("*.py")) if not path.relative_to(ROOT).parts[0].startswith((".", "runs"))]
OURS = [path for path in FILES if path.relative_to(ROOT).parts[0] != "tests"]


def imports_of(path):
    """Yield the first name of every module that a file imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


def test_imports_run_one_way():
    for path in OURS:
        floor = path.relative_to(ROOT).parts[0].removesuffix(".py")
        ours = {name for name in imports_of(path) if name in {*LEVELS, "tests"}}
        if floor in LEVELS:
            above = {name for name in ours if LEVELS.get(name, 99) > LEVELS[floor]}
            assert not above, f"{path.relative_to(ROOT)} imports {above}, which stand above {floor}"
        assert "tests" not in ours, path
        assert "ta" not in ours or floor in ("ta", "benchmarks"), f"{path.relative_to(ROOT)} imports ta"
        assert floor != "lab" or ours <= {"lab"}, path


def names_of(path):
    """Return the names that a module defines or imports at its top level, and its submodules."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        for alias in getattr(node, "names", ())
        if isinstance(alias, ast.alias)
    }
    found |= {node.name for node in tree.body if hasattr(node, "name")}
    found |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return found | {other.stem for other in path.parent.glob("*")} if path.name == "__init__.py" else found


def test_what_is_imported_exists():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in LEVELS:
                place = ROOT.joinpath(*node.module.split("."))
                module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
                missing = {alias.name for alias in node.names} - names_of(module)
                assert not missing, f"{path.relative_to(ROOT)} imports {missing} from {node.module}"


def test_no_file_is_longer_than_300_lines():
    scripts = [*OURS, *ROOT.glob("*.sh")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in scripts}
    assert {name: length for name, length in lengths.items() if length > 300} == {}


def test_the_table_of_tasks_is_the_only_one():
    classes = {task.class_name for task in TASKS.values()}
    for path in OURS:
        folder = path.relative_to(ROOT).parts[0]
        if path == ROOT / "lab" / "tasks.py":
            continue
        # These have classes of such names of their own.
        own = folder in ("examples", "experiments") or path.parent.parent == ROOT / "ta" / "reference"
        words = {*TASKS} | (set() if own else classes)

        def is_task(node, words=words):
            return isinstance(node, ast.Constant) and node.value in words

        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(ROOT)}, line {getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Dict):
                assert not any(map(is_task, filter(None, node.keys))), f"{where}: a dict with a task's name as key"
            if isinstance(node, ast.Compare):
                assert not any(map(is_task, [node.left, *node.comparators])), (
                    f"{where}: a comparison with a task's name"
                )
            if isinstance(node, ast.Tuple | ast.List | ast.Set):
                assert sum(map(is_task, node.elts)) < 2, f"{where}: a list of tasks"


THIRD = """
import runpy, sys
sys.path.insert(0, {root!r})
from lab import tasks
tasks.TASKS["Genwolabel"] = tasks.Task(
    name="Genwolabel",
    class_name="FreeModel",
    conditional=False,
    cap=20.0,
    terms={{"SSIM": 10.0, "MSE": 10.0, "FID": 10.0}},
    sections=(tasks.Section("4", "FreeModel", 20, "model"),),
)
script = sys.argv.pop(1)
sys.argv[0] = script
runpy.run_path(script, run_name="__main__")
"""


def test_a_new_task_is_one_entry(small, tmp_path):
    (tmp_path / "lab_with_a_third_task.py").write_text(THIRD.format(root=str(ROOT)))
    demo = (ROOT / "examples" / "demo_mlp.py").read_text()
    (tmp_path / "submission.py").write_text(f"{demo}\n\nclass FreeModel(VAE):\n    pass\n")

    def run(script, *arguments):
        command = [sys.executable, "lab_with_a_third_task.py", str(ROOT / script), *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    splits = ("--train_data", small / "train.npz", "--valid_data", small / "valid.npz")
    task = ("--task", "Genwolabel")
    run("train.py", *task, *splits, "--epochs", 1, "--latent_dim", 3, "--save_dir", "run", "--device", "cpu")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["arguments"]["task"] == "Genwolabel"
    run("inference.py", *task, "--checkpoint_path", "run/best.pth", "--data", small / "valid.npz", "--device", "cpu")
    graded = ("--data", small / "valid.npz", "--Genwolabel_output_dir", "run/output", "--out", "result.json")
    assert "of                                         20.0000" in run("grade.py", *task, *graded)
    metrics = json.loads((tmp_path / "result.json").read_text())["tasks"]["Genwolabel"]
    terms = 10 * metrics["ssim"] + 100 * max(0.1 - metrics["mse"], 0) + max(10 - metrics["fid"], 0)
    assert metrics["raw"] == pytest.approx(terms * (0.2 + 1 - 3 / 784))
    sections = {one["section"]: one for one in json.loads(run("check.py", "--json"))["sections"]}
    assert list(sections) == ["2.2.1", "2.2.2", "2.2.3", "2.2.4", "2.3", "3", "4"]
    assert sections["4"]["points"] == 20 and all(one["points"] == one["max_points"] for one in sections.values())

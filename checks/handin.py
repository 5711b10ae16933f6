"""The hand-in of check.py --pack: one zip with the submission, the best checkpoint of each task, and a manifest."""

import ast
import hashlib
import json
import platform
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from checks.sections import GOOD
from lab.cli import LabError
from lab.files import newest, write_whole
from submission_api import TASKS, SubmissionError, build_model, load_checkpoint, load_submission, load_weights

LARGEST = 50 * 2**20  # bytes of the zip


def pack(path, submission, runs, results, quiet=False):
    """Write the zip that class grading reads: submission.py, VAEwolabel.pth, Genwithlabel.pth and manifest.json.

    submission: its file; runs: {task: a run's folder, or None for the newest}; results: of the checks.
    Raises LabError that names every part that is missing, stale or does not load, and writes nothing then.
    """
    problems, files, tasks = [], {"submission.py": Path(submission)}, {}
    for task in TASKS:
        try:
            run_dir = find_run(task, runs[task])
            compare_submissions(task, run_dir, submission)
            tasks[task] = describe_run(task, run_dir, submission)
            files[f"{task}.pth"] = run_dir / "best.pth"
        except LabError as error:
            problems.append(str(error))
    if problems:
        raise LabError("nothing is packed:\n" + "\n".join(f"- {problem}" for problem in problems))

    contents = {name: file.read_bytes() for name, file in files.items()}
    manifest = {
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "checks": [asdict(result) for result in results],
        "tasks": tasks,
    }
    contents["manifest.json"] = (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()
    path = Path(path)
    if path.suffix != ".zip" or path.is_dir() or not path.parent.is_dir():
        raise LabError(f"--pack {path}: expected the name of a zip to write, as handin.zip, in a folder that exists.")
    with write_whole(path) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
        size = temporary.stat().st_size
        if size > LARGEST:
            sizes = ", ".join(f"{name} {len(content) / 2**20:.1f} MB" for name, content in contents.items())
            raise LabError(
                f"the zip would be {size / 2**20:.0f} MB, at most {LARGEST >> 20} MB may be handed in ({sizes}): "
                "train a smaller model."
            )
    if not quiet:
        print(f"\n{path} ({size / 2**20:.1f} MB) holds {', '.join(contents)}")
        if any(result.status not in GOOD for result in results):
            print("not all sections pass: hand it in like this only if you mean to")


def find_run(task, run_dir):
    """Return a run's folder after checking that it holds what is handed in."""
    if run_dir is None:
        best = newest(Path("runs") / task, "*/best.pth")
        if best is None:
            raise LabError(f"{task}: there is no trained run in runs/{task}: python train.py --task {task}")
        run_dir = best.parent
    for name in ("best.pth", "submission.py"):
        if not (run_dir / name).is_file():
            raise LabError(f"{task}: {run_dir / name} is missing: train again, or give another --{task}_run.")
    return run_dir


def compare_submissions(task, run_dir, submission):
    """Raise LabError if a run was trained with other code for its task than what is packed."""
    if code_of(task, run_dir / "submission.py") != code_of(task, submission):
        raise LabError(
            f"{task}: {run_dir} is stale, its {TASKS[task]}, or the loss or a helper, was another one than in "
            f"{Path(submission).name} now: python train.py --task {task}"
        )


def code_of(task, path):
    """Return a submission's code as text, as far as a task may depend on it: without comments, docstrings, and the
    other task's class where nothing else uses it."""
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (SyntaxError, ValueError) as error:
        raise LabError(f"{path} is no Python: {error}.") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [part for part in node.body if not is_text(part)]
    (other,) = [name for name in TASKS.values() if name != TASKS[task]]
    rest = [part for part in tree.body if getattr(part, "name", None) != other]
    if not any(isinstance(node, ast.Name) and node.id == other for part in rest for node in ast.walk(part)):
        tree.body = rest
    return ast.dump(tree)


def is_text(statement):
    """Tell whether a statement is a string that stands alone, as a docstring does."""
    return isinstance(statement, ast.Expr) and isinstance(getattr(statement.value, "value", None), str)


def describe_run(task, run_dir, submission):
    """Return what the manifest says of a run; its checkpoint must load into the submission, and be of this task."""
    path = run_dir / "best.pth"
    try:
        checkpoint = load_checkpoint(path)
        stored, latent_dim = checkpoint.get("task"), checkpoint.get("latent_dim")
        if stored != task or type(latent_dim) is not int or latent_dim < 1:
            raise LabError(f"{path} says task {stored} and latent_dim {latent_dim}: train {task} with train.py.")
        load_weights(build_model(load_submission(submission), task, latent_dim), checkpoint, path)
    except SubmissionError as error:
        raise LabError(f"{task}: {error}") from error
    return {
        "run": str(run_dir),
        "latent_dim": latent_dim,
        "epoch": checkpoint.get("epoch"),
        "best_loss": checkpoint.get("best_loss"),
        "hyperparams": read_json(run_dir / "hyperparams.json"),
        "output": read_json(run_dir / "output" / "meta.json"),
        "figures": seen_figures(task, run_dir),
    }


def seen_figures(task, run_dir):
    """Return the figures that grade.py last wrote for a run's output folder, None if it wrote none."""
    for path in (Path("runs/grade_result.json"), run_dir / "grade_result.json", run_dir.parent / "grade_result.json"):
        figures = (read_json(path) or {}).get("tasks", {}).get(task, {})
        if figures and Path(figures.get("output_dir", "")).resolve() == (run_dir / "output").resolve():
            return figures
    return None


def read_json(path):
    """Return what a JSON file holds, None if it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None

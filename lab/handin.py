"""The zip that check.py --pack writes: the submission, the best checkpoint of each task, and a manifest."""

import ast
import io
import json
import shlex
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

import torch

from lab.checkpoints import load_checkpoint, load_weights
from lab.cli import LabError, command, this_python, versions
from lab.compare import best_first, score_of, table
from lab.contract import SubmissionError, build_model, load_submission
from lab.files import read_json, sha256, write_whole
from lab.run import RUNS, SETTINGS, Run, find_runs
from lab.tasks import TASKS

LARGEST = 50 * 2**20  # bytes of the zip


def pack(path, submission, chosen, results, newest=False, quiet=False):
    """Write the zip that class grading reads: submission.py, TASK.pth of each task, and manifest.json.

    submission: its file; chosen: {task: a run's folder, or None for the newest}; results: of the checks; newest: use
    the newest run even if another one has a better score.
    Raises LabError, and writes nothing, if any part is missing, stale, doubtful or does not load; the message lists all
    such parts.
    """
    path, submission = check_path(path), Path(submission)
    problems, better, contents, tasks = [], {}, {"submission.py": submission.read_bytes()}, {}
    for task in TASKS:
        try:
            run = choose_run(task, chosen[task], submission, newest)
            checkpoint = load_best(task, run, submission)
            contents[f"{task}.pth"] = weights_of(run, checkpoint)
            tasks[task] = describe_run(run, checkpoint)
            print(f"{task}: {run}\n  {sentence(run)}", file=sys.stderr if quiet else sys.stdout)
        except Doubt as doubt:
            problems.append(str(doubt))
            better[task] = doubt.better
        except LabError as error:
            problems.append(str(error))
    if problems:
        text = "nothing is packed:\n" + "\n".join(f"- {problem}" for problem in problems)
        raise LabError(text + next_commands(path, submission, chosen, better))

    write_handin(path, contents, {"tasks": tasks}, results, quiet)


def pack_lab(path, submission, name, folder, results, quiet=False):
    """Write the zip of another lab than the main one: submission.py, what the lab's program drew and measured with it,
    and manifest.json.

    name: of the lab; folder: of its results, None for runs/NAME. Raises LabError, and writes nothing, if there are no
    results or they were made with another submission.
    """
    path, submission, folder = check_path(path), Path(submission), Path(folder or RUNS / name)
    contents = {"submission.py": submission.read_bytes()}
    run = shlex.join([this_python(), "-m", f"experiments.{name}", "--submission", str(submission)])
    if not (folder / f"{name}.json").is_file():
        raise LabError(f"nothing is packed: there are no results in {folder.absolute()} ({name}.json):\nnext: {run}")
    settings = read_json(folder / f"{name}.json").get("settings")
    if not isinstance(settings, dict) or settings.get("submission") != sha256(contents["submission.py"])[:16]:
        raise LabError(
            f"nothing is packed: the results in {folder} were made with another file than {submission} is now. Make "
            f"them again, in a new folder, and give that with --results:\nnext: {run} --out NEW_FOLDER"
        )
    for result in sorted([*folder.glob("*.json"), *folder.rglob("*.png")]):
        contents[f"results/{result.relative_to(folder).as_posix()}"] = result.read_bytes()
    write_handin(path, contents, {"lab": name}, results, quiet)


def check_path(path):
    """Return the Path of the zip to write; raises LabError if it cannot be one."""
    path = Path(path)
    if path.suffix != ".zip" or path.is_dir() or not path.parent.is_dir():
        raise LabError(f"--pack {path}: expected the name of a zip, such as handin.zip, in an existing folder.")
    return path


def write_handin(path, contents, told, results, quiet):
    """Write {name: bytes} and a manifest as the zip at `path`, whole; told: what else the manifest holds."""
    manifest = {
        "sha256": {name: sha256(content) for name, content in contents.items()},
        "versions": versions(),
        "checks": [asdict(result) for result in results],
    } | told
    contents["manifest.json"] = (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()
    with write_whole(path) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
        size = temporary.stat().st_size
        if size > LARGEST:
            sizes = ", ".join(f"{name} {len(content) / 2**20:.1f} MB" for name, content in contents.items())
            raise LabError(
                f"the zip would have {size / 2**20:.0f} MB, but at most {LARGEST >> 20} MB may be handed in ({sizes}): "
                "train a smaller model."
            )
    if not quiet:
        print(f"\n{path} ({size / 2**20:.1f} MB) contains {', '.join(contents)}")
        if any(result.points < result.max_points for result in results):
            print("not all sections pass: hand it in like this only if you intend to")


# ---- which run


class Doubt(LabError):
    """The newest run may not be the one to hand in; `better` is the likely one, or None."""

    def __init__(self, message, better):
        super().__init__(message)
        self.better = better


def choose_run(task, folder, submission, newest):
    """Return the requested Run, or else the newest one.

    Raises Doubt if runs were graded and the newest does not have the best score, or has changed since it was graded;
    LabError if there is no run, or it is incomplete or was trained with different code.
    """
    if folder is not None:
        run = Run(folder)
        check_run(task, run, submission)
        return run
    runs = [run for run in find_runs(everywhere=True) if run.task == task and run.best.is_file()]
    own = [run for run in find_runs() if run in runs] or runs
    if not own:
        train = command("train.py", "--task", task)
        raise LabError(f"{task}: there is no trained run in {RUNS.absolute()}:\nnext: {train}")
    run, others = own[0], [other for other in runs if fits(task, other, submission)]
    if not fits(task, run, submission) and others and not newest:
        text = f"{task}: {run}, the newest run, was trained with code that differs from {submission.name} now"
        raise Doubt(text, best_first(others)[0])
    check_run(task, run, submission)
    graded = [other for other in others if other.result is not None]
    best = best_first(others)[0]
    if newest or not graded or (score_of(run) is not None and score_of(run) >= score_of(best)):
        return run
    rows = "\n".join(f"    {line}" for line in table(best_first({*graded, run})))
    if score_of(run) is not None:
        raise Doubt(f"{task}: the newest run, {run}, does not have the best score:\n{rows}", best)
    infer = command("inference.py", "--task", task, "--checkpoint_path", run.best)
    text = f"{task}: the newest run, {run}, has not been graded in its present state:\n{rows}\n  To grade it:\n"
    text += f"next: {infer}"
    raise Doubt(f"{text}\nnext: {command('grade.py', '--task', task)}", None if best == run else best)


def fits(task, run, submission):
    """Return whether a run can be packed with a submission."""
    try:
        check_run(task, run, submission)
        return True
    except LabError:
        return False


def check_run(task, run, submission):
    """Raise LabError if a run is incomplete, or was trained with different code for its task than is packed."""
    for path in (run.best, run.submission):
        if not path.is_file():
            raise LabError(f"{task}: {path} is missing: train again, or give a different --{task}_run.")
    sums = run.config.get("sha256")
    if isinstance(sums, dict) and sums.get("submission") != sha256(run.submission.read_bytes()):
        raise LabError(f"{task}: {run.submission} was changed after the training: train again.")
    if code_of(task, run.submission) != code_of(task, submission):
        raise LabError(
            f"{task}: {run} is stale, because its {TASKS[task].class_name}, the loss or a helper differs from "
            f"{submission.name} now:\nnext: {command('train.py', '--task', task)}"
        )


def next_commands(path, submission, chosen, better):
    """Return the commands that decide which runs are packed, as lines; "" if none is in doubt."""
    if not better:
        return ""
    words = ["check.py", "--pack", path] + ["--submission", submission] * (submission != Path("submission.py"))
    explicit = [word for task, folder in chosen.items() if folder for word in (f"--{task}_run", folder)]
    best = [word for task, run in better.items() if run for word in (f"--{task}_run", run)]
    lines = ["", "To pack the run with the best score:", f"next: {command(*words, *explicit, *best)}"] if best else [""]
    lines += ["To pack the newest anyway:", f"next: {command(*words, *explicit, '--newest')}"]
    return "\n".join(lines)


def sentence(run):
    """Return a run's settings, best epoch, age and score in one line."""
    if run.result is None:
        return f"{run.describe()}, not graded"
    when = "" if run.result["current"] else " before it was last trained"
    return f"{run.describe()}, score {run.result['score']:.4f}{when}"


def code_of(task, path):
    """Return the part of a submission's code on which a task may depend, as text: without comments, docstrings, and
    what nothing else uses, such as other tasks' classes with their helpers and imports."""
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise LabError(f"{path} is not valid Python: {error}.") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [part for part in node.body if not is_text(part)]
    wanted, before = {TASKS[task].class_name, "vae_loss"}, None
    while wanted != before:  # until nothing that is kept uses anything that is not
        kept, before = [part for part in tree.body if not defined(part) or defined(part) & wanted], wanted
        wanted = wanted | {node.id for part in kept for node in ast.walk(part) if isinstance(node, ast.Name)}
    return ast.dump(ast.Module(kept, []))


def defined(statement):
    """Return the names that a class, a function or an import defines; none for what may do more than that."""
    if isinstance(statement, ast.ClassDef | ast.FunctionDef) and not statement.decorator_list:
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in statement.names} - {"*"}
    return set()


def is_text(statement):
    """Return whether a statement is only a string, such as a docstring."""
    return isinstance(statement, ast.Expr) and isinstance(getattr(statement.value, "value", None), str)


# ---- what is packed


def load_best(task, run, submission):
    """Return a run's best.pth, which must be of this task and load into the submission."""
    try:
        checkpoint = load_checkpoint(run.best)
        stored, latent_dim = checkpoint.get("task"), checkpoint.get("latent_dim")
        if stored != task or type(latent_dim) is not int or latent_dim < 1:
            raise LabError(f"{run.best} has task {stored} and latent_dim {latent_dim}: train {task} with train.py.")
        load_weights(build_model(load_submission(submission), task, latent_dim), checkpoint, run.best)
    except SubmissionError as error:
        raise LabError(f"{task}: {error}") from error
    return checkpoint


def weights_of(run, checkpoint):
    """Return the bytes of best.pth without what only resuming needs, which older runs include."""
    buffer = io.BytesIO()
    torch.save(run.describe_weights(checkpoint), buffer)
    return buffer.getvalue()


def describe_run(run, checkpoint):
    """Return a run's entry in the manifest."""
    return {
        "run": str(run),
        "latent_dim": checkpoint["latent_dim"],
        "epoch": checkpoint.get("epoch"),
        "valid_loss": run.describe_weights(checkpoint)["valid_loss"],
        "versions": run.config.get("versions"),
        "settings": {name: run.arguments.get(name) for name in (*SETTINGS, "epochs", "bf16")},
        "result": run.result,
    }

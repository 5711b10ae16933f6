"""Extract the known files from one submission, safely: names, links and sizes may be hostile.

Nothing is unpacked under its own name: only submission.py, VAEwolabel.pth and Genwithlabel.pth, or files that clearly
stand for them, are copied. Packaging mistakes are forgiven, with a note, but there is no guessing between two files.
"""

import contextlib
import itertools
import json
import pickletools
import re
import struct
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from lab.archives import CollectError, copy_bounded, files_of_folder, open_file, open_zip, unreadable
from lab.tasks import TASKS
from ta.sandbox.wire import clean

LARGEST = {"submission.py": 2**20, **{f"{task}.pth": 2**27 for task in TASKS}}  # bytes
KNOWN = tuple(LARGEST)
MOST_NESTED = 3  # zips in zips
MOST_NAMED = 10  # files listed in a message
LARGEST_MANIFEST = 2**20  # bytes
LONGEST_VERSION = 20  # characters
LIBRARIES = ("python", "torch", "numpy")  # whose versions a run notes
LARGEST_PICKLE = 2**16  # bytes that are searched for a checkpoint's task: a long pickle takes seconds to read
# What saving a file twice puts after its name: submission (1).py, submission-2.py, submission - Copy.py.
COPY = r"(?:[ _-]?\(\d+\)|[ _-]\d+|[ _-]+(?:copy|kopie|副本)(?:[ _-]?\(?\d+\)?)?)?"
NOT_OPENED = {".rar": "a .rar is not opened", ".7z": "a .7z is not opened", ".ipynb": "a notebook is not run"}


@dataclass
class Collected:
    """What a submission contains. files: {known name: None, or what is wrong with that file}; notes: on files found in
    an unexpected place; sources: {known name: where it was found}; versions: {library: version} used for training,
    according to the manifest."""

    files: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    sources: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)


def collect(parts, folder=None):
    """Copy a submission's known files into an empty folder, or only look for them if folder is None; return Collected.

    parts: [(attempt, name, path), ...] as in Student. Raises CollectError if the submission cannot be used at all,
    OSError for a fault of this machine.
    """
    with unreadable("the submission"), contextlib.ExitStack() as stack:
        collected, entries = Collected(), {}
        for _, name, path in parts:
            if path.is_symlink():
                raise CollectError("the submission is a link: expected a folder or a zip")
            for relative in files_of_folder(path) if path.is_dir() else [Path()]:
                entries[PurePosixPath(name, *relative.parts)] = partial(open_file, path / relative)
        for _ in range(MOST_NESTED):
            zips = [path for path in entries if path.suffix.lower() == ".zip"]
            if len(zips) != 1 or all(candidates(known, entries) for known in KNOWN):
                break
            try:
                entries |= open_zip(zips[0], entries.pop(zips[0])(), stack, KNOWN)
            except CollectError as error:
                if not candidates("submission.py", entries):
                    raise
                collected.notes.append(f"{zips[0]} was left out: {error}")
        for known in KNOWN:
            choose(known, entries, collected)
            if known in collected.sources and folder is not None:
                copy(known, entries[collected.sources[known]], folder, collected)
        if code := collected.sources.get("submission.py"):
            collected.versions = trained_with(entries.get(code.with_name("manifest.json")))
        return collected


def trained_with(open_manifest):
    """Return {library: version} from the manifest of check.py --pack, {} if it cannot be read. Runs with different
    versions give both: "2.13.0 and 2.15.0"."""
    with contextlib.suppress(Exception), open_manifest() as source:
        tasks = json.loads(source.read(LARGEST_MANIFEST))["tasks"].values()
        found = {name: {clean(task["versions"][name])[:LONGEST_VERSION] for task in tasks} for name in LIBRARIES}
        return {name: " and ".join(sorted(versions)[:2]) for name, versions in found.items()}
    return {}


def choose(known, entries, collected):
    """Add to `collected` which file is the known one, or why there is none."""
    found = candidates(known, entries)
    if len(found) == 1:
        collected.sources[known] = found[0]
        collected.files[known] = None
        if found[0].name != known:
            collected.notes.append(f"{found[0]} was taken for {known}")
    elif found:
        names = ", ".join(map(str, found[:MOST_NAMED]))
        collected.files[known] = f"{known} was found {len(found)} times ({names}): expected one"
    elif known == "submission.py":
        names = ", ".join(f"{path} ({why})" if why else str(path) for path, why in explain(entries)) or "no files"
        collected.files[known] = f"there is no submission.py; found instead: {names}"


def explain(entries):
    """Return [(path, why it cannot be used), ...] for at most MOST_NAMED files, the likeliest candidates first."""
    pairs = [(path, NOT_OPENED.get(path.suffix.lower(), "")) for path in entries]
    return sorted(pairs, key=lambda pair: (not pair[1], pair[0].suffix not in (".py", ".zip"), pair[0]))[:MOST_NAMED]


def candidates(known, entries):
    """Return the paths that fit a known file equally well: none, one, or several that cannot be told apart."""
    if known != "submission.py":
        best = next(filter(None, checkpoints(known.removesuffix(".pth"), entries)), [])
    else:
        best = [path for path in entries if re.fullmatch(rf"submission{COPY}\.py(\.txt)?", path.name, re.IGNORECASE)]
    depth = min((len(path.parts) for path in best), default=0)
    nearest = sorted(path for path in best if len(path.parts) == depth)
    return [path for path in nearest if path.name == known] or nearest


def checkpoints(task, entries):
    """Yield lists of candidates for a task's checkpoint, the best kind first: by name next to submission.py, by name
    anywhere, by folder name (VAEwolabel/best.pth), by the task that is stored inside."""
    home = {path.parent for path in candidates("submission.py", entries)}
    every = [path for path in entries if re.search(r"\.(pth|pt)(\.txt)?$", path.name, re.IGNORECASE)]
    by_name = [path for path in every if re.fullmatch(rf"{task}{COPY}\.\w+(\.txt)?", path.name, re.IGNORECASE)]
    yield [path for path in by_name if path.parent in home]
    yield by_name
    by_folder = [path for path in every if named_task(path) == task]
    yield [path for path in by_folder if "best" in path.stem.casefold()]
    yield by_folder
    unnamed = [path for path in every if named_task(path) is None and not path.name.startswith("epoch_")]
    yield [path for path in unnamed[:MOST_NAMED] if stored_task(entries[path]) == task]


def named_task(path):
    """Return the one task named in a path, by the file or else the nearest folder; None without one."""
    for part in reversed(path.parts):
        named = [task for task in TASKS if task.casefold() in part.casefold()]
        if named:
            return named[0] if len(named) == 1 else None
    return None


def stored_task(open_path):
    """Return the task named in a checkpoint of train.py, or None. The pickle, the first entry of torch's zip, is read
    as a list of opcodes and never executed."""
    with contextlib.suppress(Exception), open_path() as source:
        head = source.read(LARGEST_PICKLE)
        name, extra = struct.unpack_from("<2H", head, 26)
        if head.startswith(b"PK\3\4") and head[30 : 30 + name].endswith(b"/data.pkl"):
            opcodes = pickletools.genops(head[30 + name + extra :])
            texts = (value for _, value, _ in opcodes if isinstance(value, str))
            return next(after for before, after in itertools.pairwise(texts) if before == "task")
    return None


def copy(known, open_path, folder, collected):
    """Copy a known file into a folder; if that fails, note the reason in `collected`."""
    try:
        with unreadable(known), open_path() as source, open(folder / known, "xb") as target:
            copy_bounded(source, target, LARGEST[known], known)
    except CollectError as error:
        collected.files[known] = str(error)
        (folder / known).unlink(missing_ok=True)

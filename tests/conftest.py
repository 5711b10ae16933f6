"""What the tests share: the real commands, run in this process, and small real data."""

import argparse
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def require_system(program):
    """Skip a test where a system program is missing; fail it if VAE_LAB_REQUIRE_SYSTEM=1 says that it must be there."""
    if shutil.which(program) is None:
        message = f"{program} is not installed: make system"
        if os.environ.get("VAE_LAB_REQUIRE_SYSTEM") == "1":
            pytest.fail(message)
        pytest.skip(message)


LONGEST = ("hostile", "class", "sweep", "sandbox", "mistakes", "commands", "experiments", "house", "gradescope")


def pytest_collection_modifyitems(items):
    """Put the files that take longest first, so that no process is left alone with one of them at the end."""
    order = {f"test_ta_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def single_byte_changes(content, count=1000):
    """Yield `content` (bytes) so many times, with one byte changed at a random place, the same ones at every call."""
    random = np.random.default_rng(0)
    for place, change in zip(random.integers(0, len(content), count), random.integers(1, 256, count), strict=True):
        damaged = bytearray(content)
        damaged[place] ^= int(change)
        yield bytes(damaged)


def is_read_or_refused(read, path):
    """Call read() once for each of 1,000 single-byte changes of the file at `path`; whatever but LabError comes out
    fails the test. Return how many were refused."""
    from lab.cli import LabError

    content, refused = path.read_bytes(), 0
    for damaged in single_byte_changes(content):
        path.write_bytes(damaged)
        try:
            read()
        except LabError:
            refused += 1
    path.write_bytes(content)
    return refused


@pytest.fixture
def run_here(monkeypatch, capsys):
    """run_here(start, name, *arguments) calls start() as the command `name` in this process, without paying for the
    import of torch again; it returns the exit code, what was printed, and the error messages."""

    def run(start, name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        try:
            start()
            code = 0
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def lab(monkeypatch, run_here, tmp_path):
    """lab("train.py", "--task", ...) runs a command as its user would, in a folder of its own; see run_here."""
    monkeypatch.chdir(tmp_path)

    def run(script, *arguments):
        return run_here(lambda: runpy.run_path(str(ROOT / script), run_name="__main__"), script, *arguments)

    return run


@pytest.fixture
def lab_ta(run_here):
    """lab_ta("hidden", ...) runs `python -m ta hidden ...`; see run_here."""

    def run(*arguments):
        return run_here(lambda: runpy.run_module("ta", run_name="__main__"), "ta", *arguments)

    return run


class HelpOf:
    """The parsers whose help was printed in a test."""

    def __init__(self):
        self.parsers = []

    def shows_every_default(self):
        (parser,) = self.parsers
        text = " ".join(parser.format_help().split())
        for action in parser._actions:
            assert action.help, f"{action.option_strings} are not explained"
            if action.default not in (None, False, [], argparse.SUPPRESS) and "default: " not in action.help:
                assert f"(default: {action.default})" in text, f"{action.option_strings} do not show their default"


@pytest.fixture
def help_of(monkeypatch):
    """After `--help`: help_of.shows_every_default() fails the test if the help lacked one."""
    from lab.cli import Parser

    monkeypatch.setenv("COLUMNS", "1000")  # no line is broken
    help_of = HelpOf()
    monkeypatch.setattr(Parser, "print_help", lambda parser: help_of.parsers.append(parser))
    return help_of


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A folder with train.npz (700 pictures) and valid.npz (200), both from the validation split."""
    from data_utils import load_split

    folder = tmp_path_factory.mktemp("small")
    images, labels = load_split(ROOT / "dataset" / "valid.npz")
    np.savez_compressed(folder / "train.npz", images=images[:700], labels=labels[:700])
    np.savez_compressed(folder / "valid.npz", images=images[700:900], labels=labels[700:900])
    return folder


@pytest.fixture
def cluster(monkeypatch):
    """A single-node Slurm with arrays of at most two jobs."""
    require_system("sbatch")
    require_system("munged")
    if os.geteuid() != 0:
        pytest.skip("a cluster's daemons are started by root")
    script, folder = ROOT / "tests" / "slurm_cluster.sh", tempfile.mkdtemp(prefix="slurm")
    environment = os.environ | {"SLURM_EXTRA": "MaxArraySize=3"}
    start = subprocess.run(
        ["bash", script, "start", folder], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    monkeypatch.setenv("SLURM_CONF", start.stdout.strip().split("=")[1])
    yield
    subprocess.run(["bash", script, "stop", folder], check=True)
    shutil.rmtree(folder)

"""What every command shares: its help, its errors, and the commands that it prints."""

import shlex
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from lab.cli import command

COMMANDS = ("train.py", "inference.py", "grade.py", "check.py", "explore.py", "dataset/prepare.py")


@pytest.mark.parametrize("script", COMMANDS)
def test_help_shows_every_default(lab, help_of, script):
    assert lab(script, "--help")[0] == 0
    help_of.shows_every_default()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tsak", "VAEwolabel"), "unrecognized arguments: --tsak: did you mean --task?"),
        (("--task", "VAEwolabel", "--latent-dim=3"), "--latent-dim: did you mean --latent_dim?"),
        (
            ("--task", "vaewolabel"),
            "expected one of VAEwolabel, Genwithlabel, got vaewolabel: did you mean VAEwolabel?",
        ),
        (("--task", "Gen"), "expected one of VAEwolabel, Genwithlabel, got Gen\n"),
        (("--task", "VAEwolabel", "7"), "unrecognized arguments: 7"),
        (("--task", "VAEwolabel", "--epochs", "0"), "expected a number of at least 1, got 0"),
    ],
)
def test_a_wrong_argument_gets_one_line_of_usage_and_a_suggestion(lab, arguments, message):
    code, _, error = lab("train.py", *arguments)
    assert code == 2
    assert message in error
    assert len(error.splitlines()) == 2


def test_printed_commands_are_quoted_and_find_the_lab_and_this_python(monkeypatch, tmp_path):
    words = shlex.split(command("grade.py", "--out", "it's my run/a b"))
    assert words[2:] == ["--out", "it's my run/a b"]
    for folder in (tmp_path, ROOT):
        monkeypatch.chdir(folder)
        python, script = shlex.split(command("grade.py"))
        assert Path(script).resolve() == ROOT / "grade.py"
        assert "/" not in python or Path(python).samefile(sys.executable)
    assert script == "grade.py"

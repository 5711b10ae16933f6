"""What every command shares: its help, its errors, and the commands that it prints."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
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


WRONG_LOSS = """

# 损失函数
def vae_loss(recon_x, x, mu, log_var, var=0.5):
    print("重建误差", "σ")
    return ((x - recon_x) ** 2).sum() / var
"""


@pytest.mark.parametrize("encoding", ["cp936", "cp1252"])
def test_consoles_of_windows_show_every_message_and_read_every_file(tmp_path, encoding):
    text = (ROOT / "model.py").read_text(encoding="utf-8") + WRONG_LOSS
    (tmp_path / "submission.py").write_bytes(text.replace("\n", "\r\n").encode())
    # Files are read and written as ASCII where no encoding is given, as they are in another one on Windows.
    settings = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, ROOT / "check.py", "-k", "vae_loss"],
        cwd=tmp_path,
        env=os.environ | settings,
        capture_output=True,
    )
    shown = done.stdout.decode(encoding)
    assert (done.returncode, done.stderr) == (1, b""), done.stderr.decode(encoding)
    assert "wrong                0 of 15" in shown and "||x - recon_x||" in shown
    assert ("重建误差 σ" in shown) == (encoding == "cp936")


def test_what_pip_installs_is_what_the_project_names_and_was_tested_with():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = {"": project["project"]["dependencies"], **project["dependency-groups"]}
    pins = re.findall(r"^([\w-]+)==[\d.]+$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    for group, suffix in (("", ""), ("ta", "-ta"), ("dev", "-dev")):
        lines = (ROOT / f"requirements{suffix}.txt").read_text(encoding="utf-8").replace('"', "'").splitlines()
        named = [line for line in groups[group] if isinstance(line, str)]
        assert [line for line in lines if not line.startswith("-r ")] == named
        assert {re.match(r"[\w-]+", line)[0] for line in named} <= set(pins)

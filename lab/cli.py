"""Shared by all commands: one kind of user error, how a command ends, its arguments, and the commands it prints."""

import argparse
import contextlib
import ctypes
import difflib
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from itertools import takewhile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent  # the lab's folder
BROKEN_PIPE = 141  # the exit code that a shell reports for a program ended by SIGPIPE


class LabError(Exception):
    """An error that the user can fix: its text says what was expected, what the actual value was, and what to do."""


def run_command(main):
    """Run a command's `main`: a LabError, or a file that cannot be read or written, ends with one message and exit code
    2, Ctrl-C with exit code 130. If nobody reads the output any more (`grade.py | head`), it ends silently."""
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # it may have been closed before the start, or be a notebook's
            stream.reconfigure(errors="replace")  # a console without σ, as often on Windows, shows a question mark
    code = message = None
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    except KeyboardInterrupt:
        code, message = 130, "\nstopped"
    except BrokenPipeError:
        code = BROKEN_PIPE
    except (LabError, OSError) as error:
        code, message = 2, f"error: {error}"
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush at exit
        code = code or BROKEN_PIPE
    if message is not None:
        print(message, file=sys.stderr)
    if code:
        sys.exit(code)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description, and appends each argument's default unless its help already mentions it."""

    def _get_help_string(self, action):
        text = action.help or ""
        if action.required or action.default in (None, False, [], argparse.SUPPRESS) or "default" in text:
            return text
        return f"{text} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that shows defaults in --help; for a wrong argument it prints one line of usage, and a message
    that suggests the flag or choice that was probably meant."""

    def __init__(self, *args, formatter_class=HelpFormatter, **kwargs):
        super().__init__(*args, formatter_class=formatter_class, **kwargs)

    def parse_args(self, args=None, namespace=None):
        # Before argparse, which would report a missing --task instead of the typed --tsak.
        for word in takewhile(lambda word: word != "--", sys.argv[1:] if args is None else args):
            flag = str(word).partition("=")[0]
            if flag.startswith("--") and not any(known.startswith(flag) for known in self._option_string_actions):
                self.error(f"unrecognized arguments: {flag}{did_you_mean(flag, self._option_string_actions)}")
        return super().parse_args(args, namespace)

    def _check_value(self, action, value):
        if action.choices is not None and value not in action.choices:
            expected, guess = ", ".join(map(str, action.choices)), did_you_mean(value, action.choices)
            raise argparse.ArgumentError(action, f"expected one of {expected}, got {value}{guess}")

    def error(self, message):
        print(f"usage: {self.prog} [options]    ({self.prog} --help lists them)", file=sys.stderr)
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


def did_you_mean(word, known):
    """Return ": did you mean ...?" with the known word most similar to this one, "" if none is."""
    known = {str(name).lower(): str(name) for name in known}
    close = difflib.get_close_matches(str(word).lower(), known, n=1)
    return f": did you mean {known[close[0]]}?" if close else ""


def number(kind, low, inclusive=True, below=math.inf):
    """Return an argparse type: an int or float that is at least (or above) `low`, and below `below`."""

    def parse(text):
        value = kind(text)
        if not low <= value < below or (value == low and not inclusive):  # NaN and infinity fail too
            bound = f"{'of at least' if inclusive else 'above'} {low}"
            bound += f" and below {below:g}" if below < math.inf else ""
            raise argparse.ArgumentTypeError(f"expected a number {bound}, got {text}")
        return value

    parse.__name__ = kind.__name__  # argparse prints it: invalid int value
    return parse


def boolean(text):
    """An argparse type for `--flag`, which alone means true; older scripts write `--flag True`."""
    if text.lower() not in ("true", "false", "1", "0"):
        message = f"expected true or false, got {text!r} (give a checkpoint's path with --checkpoint)"
        raise argparse.ArgumentTypeError(message)
    return text.lower() in ("true", "1")


def device(text):
    """An argparse type: the name of a device that works on this machine."""
    try:
        torch.zeros(1, device=text)
    except (RuntimeError, AssertionError) as error:
        message = f"{text} is not available on this machine ({str(error).splitlines()[0]}): try --device cpu"
        raise argparse.ArgumentTypeError(message) from error
    return text


def default_device():
    """Return cuda if there is such a GPU, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def add_data_argument(parser, text, *older, default="dataset/valid.npz"):
    """Add --data, the path of a split, and accept its older names, which --help does not show."""
    parser.add_argument("--data", type=Path, default=default and lab_path(default), help=text)
    parser.add_argument(*older, dest="data", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def lab_path(name):
    """Return the path of one of the lab's own files: relative if the working directory is the lab's folder or one above
    it, else absolute, so that it works from everywhere."""
    path, here = ROOT / name, Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def command(script, *arguments):
    """Return a command of the lab as a line to paste: quoted for the shell, for this working directory and Python."""
    words = [this_python(), str(lab_path(script)), *map(str, arguments)]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def this_python():
    """Return how to call this Python: by its name if the shell finds it under that name, else by its path."""
    executable = Path(sys.executable)
    for name in ("python", "python3"):
        found = shutil.which(name)
        # Compare the folders too: the Pythons of all environments may be links to the same file.
        if found and os.path.samefile(found, executable) and os.path.samefile(Path(found).parent, executable.parent):
            return name
    return str(executable.relative_to(Path.cwd()) if executable.is_relative_to(Path.cwd()) else executable)


def keep_freed_memory():
    """Let glibc keep the memory of freed tensors for the next ones; without glibc, do nothing.

    By default each large block is returned to the kernel, which zeroes its pages again: a third of a convolution.
    """
    trim_threshold, mmap_threshold = -1, -3  # the parameters' numbers in malloc.h
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(trim_threshold, 2**30)
        libc.mallopt(mmap_threshold, 2**25)  # the largest that glibc takes


def versions():
    """Return the versions of Python and of the libraries that weights and metrics depend on."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    return found | {name: metadata.version(name) for name in ("numpy", "scikit-image")}

"""The files that every backend shows a worker: the interpreter, its libraries, and the parts of the lab it calls."""

import sys
from pathlib import Path

from lab.cli import ROOT

FOLDERS = ("lab", "checks", "ta/sandbox")
MODULES = ("data_utils.py", "inference.py", "model.py", "ta/__init__.py")
WORKER = "ta/sandbox/worker.py"
SYSTEM = ("/etc/ld.so.cache", "/sys/devices/system/cpu")  # where libraries are, and what the processor can do
OWN = ("/proc/self", "/proc/cpuinfo", "/proc/meminfo")  # all of /proc that is safe: other files show other processes


def lab_paths():
    """Return the lab's folders and modules that a worker needs, relative to its root."""
    return [name for name in (*FOLDERS, *MODULES) if (ROOT / name).exists()]


def interpreter_paths():
    """Return the folders that Python needs: the virtual environment and the underlying installation, both also with
    links resolved."""
    paths = [Path(sys.prefix), Path(sys.base_prefix)]
    return [str(path) for path in dict.fromkeys(path for short in paths for path in (short, short.resolve()))]

"""A memory and process limit that nothing escapes, if this machine lets us create a cgroup (version 2).

That is possible for root on most Linux systems, in `systemd-run --user --scope -p Delegate=yes ...`, and in Slurm jobs
on clusters that delegate. Elsewhere `make_group` returns None, and the watchdog measures what it can.
"""

import contextlib
import itertools
import os
import time
from functools import cache
from pathlib import Path

NUMBERS = itertools.count()


def make_group(memory, tasks):
    """Return a fresh Group with limits (bytes; processes and threads), None if this machine does not allow it."""
    base = find_base(os.getpid())
    if base is None:
        return None
    group = Group(base / f"ta-{os.getpid()}-{next(NUMBERS)}")
    try:
        group.folder.mkdir()
        (group.folder / "memory.max").write_text(str(memory))
        (group.folder / "pids.max").write_text(str(tasks))
        with contextlib.suppress(OSError):  # a kernel without swap accounting
            (group.folder / "memory.swap.max").write_text("0")
    except OSError:
        group.remove()
        return None
    return group


@cache
def find_base(pid, proc=Path("/proc")):
    """Return the folder in which this process may create cgroups that limit memory and processes, None without one.

    A cgroup that passes controllers on to its children must not contain a process, so this process moves into a child.
    """
    with contextlib.suppress(OSError, StopIteration):
        mounts = (proc / "self" / "mountinfo").read_text().splitlines()
        mount = next(Path(line.split()[4]) for line in mounts if " - cgroup2 " in line)
        lines = (proc / "self" / "cgroup").read_text().splitlines()
        own = mount / next(line[3:] for line in lines if line.startswith("0::")).lstrip("/")
        if own != mount and has_controllers(own / "cgroup.controllers"):
            grader = own / f"ta-{pid}-grader"
            with contextlib.suppress(OSError):
                grader.mkdir()
                (grader / "cgroup.procs").write_text(str(pid))
                (own / "cgroup.subtree_control").write_text("+memory +pids")
                return own
            undo(own, grader, pid)
        if has_controllers(mount / "cgroup.subtree_control") and os.access(mount, os.W_OK):
            return mount
    return None


def has_controllers(path):
    """Return whether one of a cgroup's lists of controllers has those that limit memory and processes."""
    return {"memory", "pids"} <= set(path.read_text().split())


def undo(own, grader, pid):
    """Restore a cgroup that could not be divided."""
    with contextlib.suppress(OSError):
        (own / "cgroup.procs").write_text(str(pid))
    with contextlib.suppress(OSError):
        grader.rmdir()


class Group:
    """One worker's cgroup, a folder."""

    def __init__(self, folder):
        self.folder = folder

    def entering(self, command):
        """Return a command that enters the group before it becomes `command`."""
        return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs"), *command]

    def ran_out_of_memory(self):
        """Return whether the kernel has killed a process of the group for using too much memory."""
        with contextlib.suppress(OSError):
            lines = (self.folder / "memory.events").read_text().splitlines()
            return any(line.split()[0] == "oom_kill" and line.split()[1] != "0" for line in lines)
        return False

    def remove(self):
        """Kill whatever is left in the group, and remove it."""
        with contextlib.suppress(OSError):
            (self.folder / "cgroup.kill").write_text("1")
        for _ in range(50):
            with contextlib.suppress(FileNotFoundError, OSError):
                self.folder.rmdir()
            if not self.folder.exists():
                return
            time.sleep(0.02)

"""What every command shares: one kind of user error, how a command ends, and types for argparse."""

import argparse
import contextlib
import ctypes
import math
import sys

import torch


class LabError(Exception):
    """An error that the user can mend: its text says what was expected, what came and what to do."""


def run_command(main):
    """Run a command's `main`: a LabError, or a file that cannot be read or written, ends as one message and exit code
    2, Ctrl-C as exit code 130."""
    keep_freed_memory()
    try:
        main()
    except (LabError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)


def number(kind, low, inclusive=True, below=math.inf):
    """Return an argparse type: an int or float that is at least (or above) `low`, and below `below`."""

    def parse(text):
        value = kind(text)
        if not low <= value < below or (value == low and not inclusive):  # NaN and infinity fail too
            bound = f"{'of at least' if inclusive else 'above'} {low}" + (
                f" and below {below:g}" if below < math.inf else ""
            )
            raise argparse.ArgumentTypeError(f"expected a number {bound}, got {text}")
        return value

    parse.__name__ = kind.__name__  # argparse prints it: invalid int value
    return parse


def device(text):
    """An argparse type: the name of a device that works here."""
    try:
        torch.zeros(1, device=text)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise argparse.ArgumentTypeError(f"{text} is not to be had here ({reason}): try --device cpu") from error
    return text


def default_device():
    """Return cuda where there is such a GPU, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def keep_freed_memory():
    """Have glibc keep the memory of freed tensors for the next ones; elsewhere nothing happens.

    By default each large block goes back to the kernel, which zeroes its pages anew: a third of a convolution's time.
    """
    trim_threshold, mmap_threshold = -1, -3  # the parameters' numbers in malloc.h
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(trim_threshold, 2**30)
        libc.mallopt(mmap_threshold, 2**25)  # the largest that glibc takes

"""Files that are written whole or not at all."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def write_whole(path):
    """Yield a temporary path with the same suffix; when the block ends well, rename it to `path`.

    A reader, or a kill at any moment, sees the old file or the new one and never half of one.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def newest(folder, pattern):
    """Return the most recently changed file under a folder that matches a pattern, None if there is none."""
    return max(Path(folder).glob(pattern), key=lambda path: path.stat().st_mtime, default=None)

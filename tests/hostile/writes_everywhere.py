# VAEwolabel: honest; Genwithlabel: missing
import contextlib
import os
import sys

FOLDERS = ["/", "/tmp", "/var/tmp", "/dev/shm", "/usr", "/etc", "/root", "/home", "/submission", "/inputs", "/lab/ta"]
for folder in [*FOLDERS, OUT, CLASS, os.path.dirname(HIDDEN), sys.prefix, os.path.dirname(__file__), *sys.path]:
    with contextlib.suppress(OSError), open(os.path.join(folder, "hostile_was_here"), "w") as file:
        file.write("x")
for path in (HIDDEN, __file__, os.path.join(OUT, "grades.csv"), torch.__file__, sys.modules["__main__"].__file__):
    for change in (
        lambda p: open(p, "a").write("x"),
        os.unlink,
        lambda p: os.chmod(p, 0),
        lambda p: os.utime(p, (0, 0)),
    ):
        with contextlib.suppress(OSError):
            change(path)
with contextlib.suppress(OSError):
    os.chmod(OUT, 0)

# VAEwolabel: honest; Genwithlabel: missing
# Whatever it can read of what is not its own, it reports by crashing.
import glob
import os

SECRETS = ["/etc/passwd", "/etc/shadow", "/root/.bashrc", HIDDEN, REFERENCE, *glob.glob(CLASS + "/*/*")]
for process in {PID, os.getppid(), 1} - {os.getpid()}:
    SECRETS += [f"/proc/{process}/{name}" for name in ("environ", "mem", "maps", "fd/0", "root/etc/passwd", "cwd/x")]
got = []
for path in SECRETS:
    try:
        open(path, "rb").read(1)
    except OSError:
        continue
    got.append(path)
if [path for path in got if not path.startswith("/proc/self/") and os.path.realpath(path) != __file__]:
    os.write(2, repr(got).encode())
    os._exit(1)

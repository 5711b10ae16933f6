# VAEwolabel: honest; Genwithlabel: missing
# Looks for the job in the arguments, the environment and the open files; it crashes if it finds it.
import contextlib
import os

found = ""
for path in ("/proc/self/cmdline", "/proc/self/environ"):
    with contextlib.suppress(OSError):
        found += open(path).read()
for number in range(64):
    with contextlib.suppress(OSError):
        found += os.pread(number, 2**16, 0).decode(errors="replace")
if any(word in found for word in ("VAEwolabel", "parts", "encode", "checks", "status")):
    os._exit(1)

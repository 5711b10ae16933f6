# VAEwolabel: honest; Genwithlabel: missing
import contextlib
import ctypes
import os
import resource

for name in ("AS", "CPU", "FSIZE", "NOFILE"):
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        os._exit(1)
with contextlib.suppress(OSError):
    os.setuid(0)
    os._exit(1)
if ctypes.CDLL(None).unshare(0x10000000) == 0:
    os._exit(1)

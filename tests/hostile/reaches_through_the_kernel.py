# VAEwolabel: honest; Genwithlabel: missing
# Locks, leases, signals by descriptors, flags of open files, advice on shared pages, waiting for another process on a
# page of a library, clocks of other processes, and arguments with high bits that the kernel does not look at. It crashes
# if any of it works.
import ctypes
import mmap
import os
import resource
import socket

libc = ctypes.CDLL(None, use_errno=True)
SYSCALLS = {"fcntl": 72, "flock": 73, "ioctl": 16, "prctl": 157, "prlimit64": 302, "madvise": 28, "eventfd2": 290}
SYSCALLS |= {"clock_gettime": 228, "futex": 202}
HIGH = 1 << 32


def raw(name, *arguments):
    if libc.syscall(SYSCALLS[name], *(ctypes.c_ulong(argument & (2**64 - 1)) for argument in arguments)) >= 0:
        os.write(2, f"{name} {arguments} worked\n".encode())
        os._exit(1)


library = os.open(ctypes.__file__, os.O_RDONLY)
for high in (0, HIGH):
    for file in (0, 1, 2, 3, library):
        raw("flock", file, 1 | 4 | high)
        raw("fcntl", file, 6 | high, 0)  # F_SETLK
        raw("fcntl", file, 8 | high, PID)  # F_SETOWN
        raw("fcntl", file, 10 | high, 9)  # F_SETSIG
        raw("fcntl", file, 1024 | high, 0)  # F_SETLEASE
        raw("fcntl", file, 1026 | high, 1)  # F_NOTIFY
        raw("fcntl", file, 4 | high, os.O_ASYNC)  # F_SETFL
        raw("fcntl", file, 4 | high, os.O_DIRECT)
        for request in (0x8901, 0x8902, 0x5452):  # FIOSETOWN, SIOCSPGRP, FIOASYNC
            raw("ioctl", file, request | high, id(PID))
    raw("prctl", 1 | high, 0)  # PR_SET_PDEATHSIG
    raw("prctl", 4 | high, 1)  # PR_SET_DUMPABLE
    raw("prlimit64", PID | high, resource.RLIMIT_CPU, 0, 0)
    raw("eventfd2", 0, high)
    raw("clock_gettime", (~1 << 3 | 2) & 0xFFFFFFFF | high, ctypes.addressof((ctypes.c_long * 2)()))  # of process 1
pages = mmap.mmap(library, 4096, prot=mmap.PROT_READ)
address = ctypes.addressof(ctypes.c_char.from_buffer_copy(b"x")) & ~4095
for advice in (3, 12, 20, 21, 3 | HIGH):
    raw("madvise", address, 4096, advice)
shared = ctypes.CDLL(None).mmap
shared.restype = ctypes.c_void_p
futex = shared(None, ctypes.c_size_t(4096), 1, 1, library, ctypes.c_long(0))  # PROT_READ, MAP_SHARED
for operation in (0, 9, 9 | 256, 11, HIGH):  # all that wait, unless for a thread of their own process
    ctypes.set_errno(0)
    raw(
        "futex",
        futex,
        operation,
        ctypes.c_uint.from_address(futex).value,
        ctypes.addressof((ctypes.c_long * 2)()),
        0,
        ~0,
    )
    if ctypes.get_errno() == 110:  # ETIMEDOUT: it has waited
        os._exit(1)
for attempt in (os.pipe, socket.socketpair, lambda: os.memfd_create("x"), lambda: [os.dup(2) for _ in range(300)]):
    try:
        attempt()
    except OSError:
        continue
    os._exit(1)
os.closerange(library, 300)

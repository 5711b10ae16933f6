"""The rights that a worker gives up, for good, before it runs a student's code.

Resource limits and the system call filter (syscalls.py) are the same in every backend. Landlock removes the right to
write in all of them, and takes the place of mounts where there are none.
"""

import ctypes
import os
import resource
import struct

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SIGKILL = 9
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION_3 = 0x20080522
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446  # the same numbers on every architecture
SCOPING = 6  # the version of Landlock (Linux 6.12) that keeps signals from others


def confine(filter_bpf, memory, file_size, files, cpu_seconds, tasks=None, uid=None, read=None, parent=None):
    """Give up everything that a model does not need, for good.

    memory, file_size: bytes; files: maximum number of open files; cpu_seconds; tasks: maximum number of processes and
    threads of this user, None for no limit; uid: the user to become if this is root; read: paths that Landlock keeps
    readable, while nothing stays writable (None without Landlock); parent: the process to die with. Raises OSError if
    any of it fails.
    """
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:  # Landlock and the filter apply to the calling thread and those that it starts
        raise OSError(f"expected one thread before the confinement, got {threads}")
    libc = ctypes.CDLL(None, use_errno=True)
    limits = {"AS": memory, "FSIZE": file_size, "NOFILE": files, "CPU": cpu_seconds, "NPROC": tasks}
    for name, limit in (limits | {"CORE": 0, "MEMLOCK": 0}).items():
        if limit is not None:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header, no_rights = struct.pack("Ii", CAPABILITY_VERSION_3, 0), bytes(24)
    check(libc.capset(header, no_rights), "capset")
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
    if parent is not None:
        check(libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:
            raise OSError("the grader is gone")
    if read is not None:
        restrict_files(libc, read)
    program = ctypes.create_string_buffer(filter_bpf, len(filter_bpf))
    sock_fprog = struct.pack("HxxxxxxP", len(filter_bpf) // 8, ctypes.addressof(program))
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, sock_fprog, 0, 0), "prctl(PR_SET_SECCOMP)")


def landlock_version():
    """Return the version of Landlock on this machine, 0 without it."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, libc.syscall(LANDLOCK_CREATE, None, 0, 1)) if hasattr(libc, "syscall") else 0


def restrict_files(libc, read):
    """Allow this process only to read, and only the files under `read`, with Landlock
    (https://docs.kernel.org/userspace-api/landlock.html)."""
    version = check(libc.syscall(LANDLOCK_CREATE, None, 0, 1), "landlock_create_ruleset")
    rights = [13, 14, 15, 15, 16][min(version, 5) - 1]  # number of file rights known to this version
    on_files = 1 | 1 << 2  # execute, read
    on_folders = on_files | 1 << 3  # list
    # handled_access_fs; handled_access_net: bind and connect; scoped: abstract sockets and signals
    attributes = struct.pack("QQQ", (1 << rights) - 1, 3, 3)[: 8 if version < 4 else 16 if version < SCOPING else 24]
    ruleset = check(libc.syscall(LANDLOCK_CREATE, attributes, len(attributes), 0), "landlock_create_ruleset")
    for path in read:
        if not os.path.exists(path):
            continue
        file = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", on_folders if os.path.isdir(path) else on_files, file)
        check(libc.syscall(LANDLOCK_ADD, ruleset, 1, rule, 0), f"landlock_add_rule({path})")
        os.close(file)
    check(libc.syscall(LANDLOCK_RESTRICT, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)


def check(result, what):
    """Return a system call's result; raises OSError if it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result

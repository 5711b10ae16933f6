"""What a worker takes away from itself before it runs a student's code, and never gets back.

`build_filter` runs in the TA's process and `confine` in the worker. Resource limits and the system call filter are
the same in every tier; Landlock and the drop of root stand in for bubblewrap's mounts where there is no bubblewrap.
"""

import contextlib
import ctypes
import os
import resource
import struct
import tempfile

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SIGKILL = 9
SECCOMP_MODE_FILTER = 2
CLONE_THREAD = 0x10000
CAPABILITY_VERSION_3 = 0x20080522

# Answered with EPERM. A model needs none of them; most are here because Landlock and namespaces do not cover them.
REFUSED = """
    fork vfork execve execveat
    socket bind connect listen accept accept4 io_uring_setup io_uring_enter io_uring_register
    kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_getfd pidfd_send_signal
    ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp migrate_pages move_pages
    setpriority ioprio_set sched_setscheduler sched_setparam sched_setattr setsid setpgid
    unshare setns mount umount2 move_mount open_tree fsopen fsmount fsconfig fspick mount_setattr pivot_root chroot
    chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat setxattr lsetxattr fsetxattr setxattrat
    removexattr lremovexattr fremovexattr removexattrat utime utimes utimensat futimesat mknod mknodat
    name_to_handle_at open_by_handle_at inotify_init inotify_init1 fanotify_init fanotify_mark file_setattr
    memfd_create memfd_secret shmget shmat shmctl semget semctl semop msgget msgsnd msgrcv msgctl mq_open mq_unlink
    mincore cachestat fadvise64 readahead preadv2
    bpf perf_event_open userfaultfd keyctl add_key request_key seccomp landlock_create_ruleset
    init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct quotactl
    quotactl_fd syslog settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname iopl ioperm
    setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset personality vhangup
"""


def build_filter():
    """Return the system call filter as BPF, bytes for `confine`. Raises ImportError or RuntimeError without
    libseccomp."""
    import errno

    import pyseccomp as seccomp

    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    refuse = seccomp.ERRNO(errno.EPERM)
    for name in REFUSED.split():
        with contextlib.suppress(OSError, ValueError):  # a call that this machine's libseccomp does not know
            rules.add_rule(refuse, name)
    rules.add_rule(refuse, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, CLONE_THREAD, 0))  # threads only
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")  # its flags cannot be read: libc falls back to clone
    rules.add_rule(refuse, "prctl", seccomp.Arg(0, seccomp.EQ, PR_SET_PDEATHSIG))
    for name in ("prlimit64", "sched_setaffinity"):
        rules.add_rule(refuse, name, seccomp.Arg(0, seccomp.NE, 0))  # of another process
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def confine(filter_bpf, memory, file_size, cpu_seconds, tasks=None, uid=None, read=None, write=(), parent=None):
    """Give up everything that a model does not need; for good.

    memory, file_size: bytes; cpu_seconds; tasks: most processes and threads of this user, None for no limit; uid: the
    user to become if this is root; read: paths that stay readable and `write` those that stay writable, by Landlock
    (None where mounts do that); parent: the process to die with. Raises OSError if any of it fails.
    """
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:  # Landlock and the filter bind the calling thread and those that it starts
        raise OSError(f"expected one thread before the confinement, got {threads}")
    libc = ctypes.CDLL(None, use_errno=True)
    limits = {"AS": memory, "FSIZE": file_size, "CPU": cpu_seconds, "CORE": 0, "NPROC": tasks, "MEMLOCK": 0}
    for name, limit in limits.items():
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
        restrict_files(libc, read, write)
    program = ctypes.create_string_buffer(filter_bpf, len(filter_bpf))
    sock_fprog = struct.pack("HxxxxxxP", len(filter_bpf) // 8, ctypes.addressof(program))
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, sock_fprog, 0, 0), "prctl(PR_SET_SECCOMP)")


def restrict_files(libc, read, write):
    """Leave this process only the files under `read`, to read, and under `write`, by Landlock
    (https://docs.kernel.org/userspace-api/landlock.html)."""
    create_ruleset, add_rule, restrict_self = 444, 445, 446  # the same number on every architecture
    version = check(libc.syscall(create_ruleset, None, 0, 1), "landlock_create_ruleset")
    rights = [13, 14, 15, 15, 16][min(version, 5) - 1]  # how many rights on files this version knows
    everything = (1 << rights) - 1
    on_files = everything & (1 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15)  # execute, write, read, truncate, ioctl
    reading = 1 | 1 << 2 | 1 << 3  # execute, read, list
    # handled_access_fs; handled_access_net: bind and connect; scoped: abstract sockets and signals
    attributes = struct.pack("QQQ", everything, 3, 3)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = check(libc.syscall(create_ruleset, attributes, len(attributes), 0), "landlock_create_ruleset")
    for paths, allowed in ((read, reading), (write, everything)):
        for path in paths:
            if not os.path.exists(path):
                continue
            file = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rule = struct.pack("=Qi", allowed if os.path.isdir(path) else allowed & on_files, file)
            check(libc.syscall(add_rule, ruleset, 1, rule, 0), f"landlock_add_rule({path})")
            os.close(file)
    check(libc.syscall(restrict_self, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)


def check(result, what):
    """Return a system call's result; raises OSError if it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result

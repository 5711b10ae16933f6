"""The system calls that a worker may make: those that Python, NumPy and PyTorch make, and no others.

They were found with strace, in training and inference with convolutions, recurrence, attention, FFT and linear algebra;
tests/test_ta_sandbox.py repeats that and names any call that a new PyTorch needs in addition.
"""

import contextlib
import errno
import os
import tempfile

ALLOWED = """
    read readv pread64 write writev pwrite64 lseek close close_range dup dup2 dup3
    stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat
    getcwd chdir fchdir getdents getdents64 umask
    mmap mprotect munmap mremap brk
    set_robust_list get_robust_list rseq sched_yield exit exit_group set_tid_address arch_prctl membarrier
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending sigaltstack restart_syscall
    nanosleep gettimeofday time times
    getpid getppid gettid getpgrp getpgid getsid getuid geteuid getgid getegid getresuid getresgid getgroups
    uname sysinfo getcpu getrusage getrlimit getpriority getrandom sched_getaffinity sched_getparam sched_getscheduler
    sched_get_priority_max sched_get_priority_min capget poll ppoll select pselect6
    getitimer setitimer alarm
"""
# These fail with an error that is clear in a message; all other calls fail with ENOSYS, "not implemented".
READ_ONLY = """
    creat truncate ftruncate mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat
    mknod mknodat fallocate utime utimes utimensat futimesat
    chmod fchmod fchmodat chown fchown lchown fchownat setxattr lsetxattr fsetxattr
"""
NOT_PERMITTED = """
    fork vfork execve execveat socket socketpair connect bind listen accept accept4 pipe pipe2 memfd_create
    kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal ptrace process_vm_readv
    process_vm_writev flock setrlimit setpriority sched_setscheduler setsid setpgid unshare setns mount umount2 chroot
    setuid setgid setreuid setregid setresuid setresgid setgroups io_uring_setup shmget msgget semget inotify_init1
"""
# Waiting for a futex that is not private to a process is refused, as if its value had just changed: otherwise another
# student's process could wake this one through a library page that both have mapped. Only pthread_join waits like this,
# and it retries until the thread has ended; waking is allowed, and wakes nobody.
FUTEX_WAKE, FUTEX_PRIVATE, FUTEX_OPERATION, FUTEX_WAITING = 1, 0x80, 0xFF, (0, 9)  # WAIT, WAIT_BITSET
CLONE_THREAD = 0x10000
CLONE_NAMESPACES = 0x7E020080  # CLONE_NEW*
LOW = 0xFFFFFFFF  # the kernel uses only the low half of an int argument, so nothing else may be compared
# Flags with which no file may be opened, except the bits of O_TMPFILE that mean "a folder"
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_TMPFILE & ~os.O_DIRECTORY
WRITING |= os.O_ASYNC | os.O_DIRECT | os.O_NOATIME | os.O_PATH
# call → the position of an argument, and its allowed values
VALUES = {
    "prctl": (0, [15, 16, 0x53564D41]),  # PR_SET_NAME, PR_GET_NAME, PR_SET_VMA
    "fcntl": (1, [0, 1, 2, 3, 1030]),  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC
    "ioctl": (1, [0x5401, 0x5413, 0x5450, 0x5451]),  # TCGETS, TIOCGWINSZ, FIONCLEX, FIOCLEX
    "madvise": (2, [0, 4, 8, 14, 15, 16, 17, 18, 19]),  # none that loads, drops, merges or shares pages
    "prlimit64": (0, [0]),  # of this process
    "sched_setaffinity": (0, [0]),
}


def build_filter():
    """Return the system call filter as BPF, bytes for `confine`. Raises ImportError or RuntimeError without
    libseccomp."""
    import pyseccomp as seccomp

    def add(action, name, *arguments):
        with contextlib.suppress(OSError, ValueError):  # a call unknown to this machine's libseccomp
            rules.add_rule(action, name, *arguments)

    def masked(position, mask, value):
        return seccomp.Arg(position, seccomp.MASKED_EQ, mask, value)

    rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.ENOSYS))
    refuse = seccomp.ERRNO(errno.EPERM)
    read_only = seccomp.ERRNO(errno.EROFS)
    for action, names in ((seccomp.ALLOW, ALLOWED), (read_only, READ_ONLY), (refuse, NOT_PERMITTED)):
        for name in names.split():
            add(action, name)
    add(seccomp.ALLOW, "clone", masked(0, CLONE_THREAD | CLONE_NAMESPACES, CLONE_THREAD))
    add(refuse, "clone", masked(0, CLONE_THREAD, 0))
    for name in ("clock_gettime", "clock_getres", "clock_nanosleep"):  # a negative clock is another process's CPU time
        add(seccomp.ALLOW, name, masked(0, 1 << 31, 0))
    add(seccomp.ALLOW, "futex", masked(1, FUTEX_PRIVATE, FUTEX_PRIVATE))
    add(seccomp.ALLOW, "futex", masked(1, FUTEX_OPERATION, FUTEX_WAKE))
    for operation in FUTEX_WAITING:
        add(seccomp.ERRNO(errno.EAGAIN), "futex", masked(1, FUTEX_OPERATION, operation))
    for name, position in (("open", 1), ("openat", 2)):
        add(seccomp.ALLOW, name, masked(position, WRITING, 0))
        for bit in (os.O_WRONLY, os.O_RDWR, os.O_CREAT):
            add(seccomp.ERRNO(errno.EROFS), name, masked(position, bit, bit))
    for name, (position, values) in VALUES.items():
        for value in values:
            add(seccomp.ALLOW, name, masked(position, LOW, value))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()

"""What a media process takes away from itself before it looks at a stranger's bytes.

Limits that the kernel enforces per process live here; so will Landlock and seccomp rules, which need the same place:
after start, before the first open.
"""

import ctypes
import os
import resource
import signal
from dataclasses import dataclass

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
CPU_GRACE_S = 5


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What one media process may use; the two clocks are the supervisor's to watch."""

    wall_s: float
    stall_s: float  # longest silence: every piece of work reports progress as it goes
    memory_bytes: int  # address space: a bomb gets ENOMEM instead of the node's memory
    cpu_s: int
    file_bytes: int  # largest single file it may write


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def confine(limits: ProcessLimits, parent_pid: int) -> None:
    """Die with the parent, gain no rights, and stay under `limits`."""
    confine_warm(limits, parent_pid)
    _lower(resource.RLIMIT_AS, limits.memory_bytes)
    # The signal says which limit it was; at the hard one there is only SIGKILL, which an operator could have sent.
    _lower(resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + CPU_GRACE_S)


def confine_warm(limits: ProcessLimits, parent_pid: int) -> None:
    """The same for a process that stays, with a GPU: memory and time are not limited yet.

    CUDA reserves address space for all memory of the machine and its GPUs: a limit of it that is of any use ends
    CUDA's start, so the supervisor watches what is really used. Computing time is for the process to limit, anew for
    each piece of work.
    """
    die_with_parent()
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent_pid:  # the parent died before the death signal was armed
        os.kill(os.getpid(), signal.SIGKILL)
    _lower(resource.RLIMIT_CORE, 0)
    # Python ignores this signal: libraries would see a write that fails, and each say so in its own way or not at all.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    _lower(resource.RLIMIT_FSIZE, limits.file_bytes)
    _lower(resource.RLIMIT_NOFILE, 512)


def _lower(which: int, soft: int, hard: int | None = None) -> None:
    """Set the limit, `hard` as high as `soft` unless given; what is lower already stays."""
    _, most = resource.getrlimit(which)
    wanted = (soft, soft if hard is None else hard)
    resource.setrlimit(
        which, wanted if most == resource.RLIM_INFINITY else (min(wanted[0], most), min(wanted[1], most))
    )

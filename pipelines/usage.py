"""CPU time of single threads: what one rendition costs while others run beside it."""

import os
from pathlib import Path


def thread_ids() -> set[int]:
    """The kernel's ids of this process's threads."""
    return {int(entry.name) for entry in Path("/proc/self/task").iterdir()}


def cpu_of(threads: set[int]) -> float:
    """CPU seconds that `threads` of this process have used; those that ended count nothing."""
    ticks = 0
    for thread in threads:
        try:
            stat = Path(f"/proc/self/task/{thread}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = stat.rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime, proc(5)
    return ticks / os.sysconf("SC_CLK_TCK")

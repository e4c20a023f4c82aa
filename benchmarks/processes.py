"""What a command costs: wall, CPU and memory of it and of everything it waited for."""

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one command with all its children."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int  # of the largest single process


def cost_of(command: Sequence[str], **environment: str) -> Cost:
    """Run `command` to its end; RuntimeError with its output when it fails."""
    started = time.monotonic()
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | environment,
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} failed with {process.returncode}:\n{said.decode('utf-8', 'replace')[-3000:]}")
    return Cost(time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)

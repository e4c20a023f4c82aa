"""Starting, watching and ending media processes.

The caller gets the typed result, or a typed error: nothing that happens inside the child can do more to the caller
than that. The child has its own session, so that one kill ends whatever it started, and an environment without
secrets.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.media_answers import Lines, death_of, message_of, nonsense, tail_of
from pipelines.confine import ProcessLimits
from pipelines.errors import MediaError, MediaTimeout
from pipelines.wire import from_wire, to_wire

OnProgress = Callable[[dict[str, Any]], None]

EXIT_S = 2.0
POLL_S = 0.1  # how soon a cancel or a deadline is seen


def _unheard(_: dict[str, Any]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class ProcessCost:
    """What one media process of a step cost, whatever became of it."""

    command: str
    began_s: float  # since 1970
    wall_s: float
    cpu_s: float
    peak_rss_bytes: int


@dataclass(frozen=True, slots=True)
class Watch:
    """How a caller follows a step: it hears of progress and costs, and can end the step."""

    on_progress: OnProgress = _unheard
    cancelled: threading.Event = field(default_factory=threading.Event)
    costs: list[ProcessCost] = field(default_factory=list)

    def check(self) -> None:
        """Raise Cancelled once the step was asked to end."""
        if self.cancelled.is_set():
            raise Cancelled

    def silently(self) -> "Watch":
        """The same, without hearing of progress."""
        return Watch(cancelled=self.cancelled, costs=self.costs)


class Cancelled(Exception):
    """The caller asked for the media process to be ended."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one media process cost."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    gpu_s: float = 0.0  # that a GPU worked for it alone


@dataclass(frozen=True, slots=True)
class Answer[R]:
    """A media process's result and its cost."""

    result: R
    usage: Usage


def run_media[T](command: str, request: Any, result_type: type[T], limits: ProcessLimits, watch: Watch) -> Answer[T]:
    """Run `command` in a fresh media process and return its typed answer.

    Raises the `MediaError` the process reports, `DecoderCrashed` when native code kills it, `MediaTimeout` when
    one of its clocks runs out, `MediaProcessFailed` when what it says makes no sense, `Cancelled` when the caller says
    so. The process and all it started are gone on return.
    """
    started = time.monotonic()
    envelope = {"parent_pid": os.getpid(), "limits": to_wire(limits), "request": to_wire(request)}
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr:
        # Files, not pipes: a request of several MB would block on a pipe that a crashed child no longer reads, and
        # a chatty decoder on one that nobody drains.
        stdin.write(json.dumps(envelope).encode())
        stdin.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-s", "-m", "pipelines", command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=variables(),
            start_new_session=True,
        )
        grace_s = 0.0
        try:
            answer = _listen(process, limits, watch)
            grace_s = EXIT_S
        finally:
            usage = _end(process, started, grace_s)
            began_s = time.time() - usage.wall_s
            watch.costs.append(ProcessCost(command, began_s, usage.wall_s, usage.cpu_s, usage.peak_rss_bytes))
        native = tail_of(stderr)
    if answer is None:
        raise death_of(process.returncode, limits, native)
    if "error" in answer:
        error = MediaError.from_wire(answer["error"])
        error.detail.setdefault("native", native)
        raise error
    try:
        return Answer(from_wire(result_type, answer["result"]), usage)
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
        raise nonsense(f"its result is no {result_type.__name__}: {error}") from error


def variables() -> dict[str, str]:
    """The environment of a media process: credentials and keys of the farm stay with the farm."""
    kept = {
        name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ
    }
    root = str(Path(__file__).resolve().parent.parent)
    # SVT_LOG: SVT-AV1 prints its settings to stderr for every encoder it opens; 1 = errors only.
    return kept | {"PYTHONPATH": root, "SVT_LOG": "1", "PYTHONUNBUFFERED": "1"}


def _listen(
    process: subprocess.Popen[bytes],
    limits: ProcessLimits,
    watch: Watch,
) -> dict[str, Any] | None:
    """The last line's result or error; None when the process ended without one."""
    assert process.stdout is not None
    lines = Lines(process.stdout.fileno())
    deadline = time.monotonic() + limits.wall_s
    heard = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            watch.check()
            if time.monotonic() > deadline:
                raise MediaTimeout(f"the media took longer than its limit of {limits.wall_s:.0f} s and was given up")
            if time.monotonic() > heard + limits.stall_s:
                raise MediaTimeout(f"the media made no progress for {limits.stall_s:.0f} s and was given up")
            if not selector.select(POLL_S):
                continue
            heard = time.monotonic()
            batch = lines.read()
            if batch is None:
                return None
            for line in batch:
                kind, value = message_of(line)
                if kind != "progress":
                    return {kind: value}
                watch.on_progress(value)


def _end(process: subprocess.Popen[bytes], started: float, grace_s: float) -> Usage:
    """Kill the process group, reap the child, and say what it cost.

    A child that has answered exits by itself within `grace_s`: letting it do so keeps its exit status honest.
    """
    if process.stdout is not None:
        process.stdout.close()
    try:
        deadline = time.monotonic() + grace_s
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        while pid == 0 and time.monotonic() < deadline:
            time.sleep(0.005)
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid == 0:
            os.killpg(process.pid, signal.SIGKILL)
            _, status, used = os.wait4(process.pid, 0)
        else:
            _kill_group(process.pid)
    except ChildProcessError:  # somebody else reaped it (a process-wide SIGCHLD handler)
        process.returncode = -signal.SIGKILL
        return Usage(time.monotonic() - started, 0.0, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Usage(time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # nothing it started is left
        os.killpg(pid, signal.SIGKILL)

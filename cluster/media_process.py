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
from typing import IO, Any

from pipelines.confine import ProcessLimits
from pipelines.errors import DecoderCrashed, LimitExceeded, MediaError, MediaProcessFailed, MediaTimeout
from pipelines.wire import from_wire, to_wire

OnProgress = Callable[[dict[str, Any]], None]

MAX_ANSWER_BYTES = 256 * 1024 * 1024  # a frame index of 24 h at 60/s is about 60 MB of JSON
EXIT_S = 2.0
POLL_S = 0.1  # how soon a cancel or a deadline is seen


def _unheard(_: dict[str, Any]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Watch:
    """How a caller follows a step: it hears of progress, and can end the step."""

    on_progress: OnProgress = _unheard
    cancelled: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise Cancelled once the step was asked to end."""
        if self.cancelled.is_set():
            raise Cancelled

    def silently(self) -> "Watch":
        """The same, without hearing of progress."""
        return Watch(cancelled=self.cancelled)


class Cancelled(Exception):
    """The caller asked for the media process to be ended."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one media process cost."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int


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
        native = _tail(stderr)
    if answer is None:
        raise _death(process.returncode, limits, native)
    if "error" in answer:
        error = MediaError.from_wire(answer["error"])
        error.detail.setdefault("native", native)
        raise error
    try:
        return Answer(from_wire(result_type, answer["result"]), usage)
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
        raise _nonsense(f"its result is no {result_type.__name__}: {error}") from error


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
    lines = _Lines(process.stdout.fileno())
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
                kind, value = _message(line)
                if kind != "progress":
                    return {kind: value}
                watch.on_progress(value)


def _message(line: bytes) -> tuple[str, dict[str, Any]]:
    """One line of the protocol; a child that a stranger's bytes have taken over may say anything."""
    try:
        message = json.loads(line, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise _nonsense(f"a line of its answer is not JSON: {error}") from error
    if not isinstance(message, dict) or len(message) != 1:
        raise _nonsense("a line of its answer is not one progress, result or error")
    ((kind, value),) = message.items()
    if kind not in CHECKS or not isinstance(value, dict) or not CHECKS[kind](value):
        raise _nonsense(f"its {str(kind)[:20]} is of no known shape")
    return kind, value


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _is_progress(value: dict[str, Any]) -> bool:
    done = value.get("renditions", {})
    return isinstance(done, dict) and all(type(count) is int and count >= 0 for count in done.values())


def _is_error(value: dict[str, Any]) -> bool:
    texts = isinstance(value.get("code"), str) and isinstance(value.get("message"), str)
    return texts and isinstance(value.get("detail", {}), dict)


CHECKS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "progress": _is_progress,
    "error": _is_error,
    "result": lambda _: True,  # by building what was asked for
}


def _nonsense(what: str) -> MediaProcessFailed:
    return MediaProcessFailed(f"the media process did not answer as it should: {what[:300]}")


class _Lines:
    """Whole lines from a file descriptor, with a bound on what one child may say."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._parts: list[bytes] = []
        self._total = 0

    def read(self) -> list[bytes] | None:
        data = os.read(self._fd, 1 << 20)
        if not data:
            return None
        self._total += len(data)
        if self._total > MAX_ANSWER_BYTES:
            raise LimitExceeded(f"the media's facts are larger than {MAX_ANSWER_BYTES // 1_000_000} MB")
        if b"\n" not in data:
            self._parts.append(data)
            return []
        *whole, rest = (b"".join(self._parts) + data).split(b"\n")
        self._parts = [rest] if rest else []
        return whole


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


def _tail(stderr: IO[bytes], size: int = 2000) -> str:
    end = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, end - size))
    return stderr.read().decode("utf-8", "replace").strip()


def _death(returncode: int, limits: ProcessLimits, native: str) -> MediaError:
    detail = {"exit": returncode, "native": native}
    if returncode == -signal.SIGXCPU:
        return MediaTimeout(f"the media took more than {limits.cpu_s} s of computing time", detail=detail)
    if returncode == -signal.SIGXFSZ:
        return LimitExceeded(f"an output grew beyond {limits.file_bytes // 1_000_000} MB", detail=detail)
    if -returncode in (signal.SIGKILL, signal.SIGTERM):  # an operator, or the kernel of a node without memory
        name = signal.Signals(-returncode).name
        return MediaProcessFailed(f"the media process was ended from outside ({name})", detail=detail)
    if returncode < 0:
        name = signal.Signals(-returncode).name
        return DecoderCrashed(f"the decoder crashed on this media ({name})", detail=detail)
    return MediaProcessFailed(f"the media process ended with exit code {returncode} and no answer", detail=detail)

"""What a media process says, read with suspicion: a child that a stranger's bytes have taken over may say anything."""

import json
import os
import signal
from collections.abc import Callable
from typing import IO, Any

from pipelines.confine import ProcessLimits
from pipelines.errors import DecoderCrashed, LimitExceeded, MediaError, MediaProcessFailed, MediaTimeout

MAX_ANSWER_BYTES = 256 * 1024 * 1024  # a frame index of 24 h at 60/s is about 60 MB of JSON
TAIL_BYTES = 2000
OUT_OF_MEMORY = ("failed to allocate", "bad_alloc")  # the last words of GLib and of C++, which abort


class Lines:
    """Whole lines from a file descriptor, with a bound on what one child may say."""

    def __init__(self, fd: int, most_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._fd = fd
        self._most_bytes = most_bytes
        self._parts: list[bytes] = []
        self._total = 0

    def read(self) -> list[bytes] | None:
        """The lines that came since the last call; None once there will be no more."""
        data = os.read(self._fd, 1 << 20)
        if not data:
            return None
        self._total += len(data)
        if self._total > self._most_bytes:
            raise LimitExceeded(f"the media's facts are larger than {self._most_bytes // 1_000_000} MB")
        if b"\n" not in data:
            self._parts.append(data)
            return []
        *whole, rest = (b"".join(self._parts) + data).split(b"\n")
        self._parts = [rest] if rest else []
        return whole


def message_of(line: bytes) -> tuple[str, dict[str, Any]]:
    """One line of the protocol: its kind and its value. MediaProcessFailed when it is no such line."""
    return shaped(parsed(line))


def parsed(line: bytes | str) -> Any:
    """The JSON of a line. MediaProcessFailed when it is none."""
    try:
        return json.loads(line, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise nonsense(f"a line of its answer is not JSON: {error}") from error


def shaped(message: Any) -> tuple[str, dict[str, Any]]:
    """Kind and value of what a line says. MediaProcessFailed when it is nothing that a media process says."""
    if not isinstance(message, dict) or len(message) != 1:
        raise nonsense("a line of its answer is not one message")
    ((kind, value),) = message.items()
    if kind not in CHECKS or not isinstance(value, dict) or not CHECKS[kind](value):
        raise nonsense(f"its {str(kind)[:20]} is of no known shape")
    return kind, value


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _is_progress(value: dict[str, Any]) -> bool:
    done = value.get("renditions", {})
    return isinstance(done, dict) and all(type(count) is int and count >= 0 for count in done.values())


def _is_error(value: dict[str, Any]) -> bool:
    texts = isinstance(value.get("code"), str) and isinstance(value.get("message"), str)
    return texts and isinstance(value.get("detail", {}), dict)


def _is_ended(value: dict[str, Any]) -> bool:
    return type(value.get("exit")) is int and type(value.get("said")) is str


def _is_picture(value: dict[str, Any]) -> bool:
    outcomes = value.keys() & {"result", "error", "cpu"}
    if type(value.get("number")) is not int or len(outcomes) != 1:
        return False
    if "error" in value:
        return isinstance(value["error"], dict) and _is_error(value["error"])
    return "result" in value or type(value["cpu"]) is str


CHECKS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "progress": _is_progress,
    "error": _is_error,
    "result": lambda _: True,  # by building what was asked for
    "ready": lambda _: True,
    "ended": _is_ended,
    "unable": lambda value: type(value.get("reason")) is str,
    "picture": _is_picture,
    "done": lambda _: True,
}


def nonsense(what: str) -> MediaProcessFailed:
    """The error for an answer that is none."""
    return MediaProcessFailed(f"the media process did not answer as it should: {what[:300]}")


def tail_of(stderr: IO[bytes]) -> str:
    """The last that a process wrote there."""
    end = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, end - TAIL_BYTES))
    return stderr.read().decode("utf-8", "replace").strip()


def death_of(returncode: int, limits: ProcessLimits, native: str) -> MediaError:
    """What it means that a process ended with `returncode` and without an answer."""
    detail = {"exit": returncode, "native": native}
    if returncode == -signal.SIGXCPU:
        return MediaTimeout(f"the media took more than {limits.cpu_s} s of computing time", detail=detail)
    if returncode == -signal.SIGXFSZ:
        return LimitExceeded(f"an output grew beyond {limits.file_bytes // 1_000_000} MB", detail=detail)
    if -returncode in (signal.SIGKILL, signal.SIGTERM):  # an operator, or the kernel of a node without memory
        name = signal.Signals(-returncode).name
        return MediaProcessFailed(f"the media process was ended from outside ({name})", detail=detail)
    if -returncode in (signal.SIGABRT, signal.SIGTRAP) and any(sign in native for sign in OUT_OF_MEMORY):
        limit_mb = limits.memory_bytes // 1_000_000
        return LimitExceeded(f"the media needs more than the {limit_mb} MB a media process may use", detail=detail)
    if returncode < 0:
        name = signal.Signals(-returncode).name
        return DecoderCrashed(f"the decoder crashed on this media ({name})", detail=detail)
    return MediaProcessFailed(f"the media process ended with exit code {returncode} and no answer", detail=detail)

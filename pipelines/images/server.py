"""The media process for pictures: prepared once, then forked for each batch.

Starting Python and its libraries takes 0.5 s, several pictures' worth; a fork of the prepared process takes a few
milliseconds and isolates as well. The prepared process never opens a stranger's picture. A batch's own process ends
with its batch, or with the picture that crashes it, outstays its time or is more than its limits allow; the next
picture then gets a new one. One process for a whole batch and not for each picture, because memory that was used
before is cheaper than fresh pages: a third of the CPU time of a JPEG-only recipe. On a virtual machine, at 3 µs a page
fault, a fork for each picture cost 20 to 45 ms of CPU more, half of what the JPEGs of a 2 MP photo take. One for a
batch costs nothing against calling the code directly.
"""

import contextlib
import gc
import json
import os
import resource
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipelines.answering import answer
from pipelines.confine import ProcessLimits, confine, die_with_parent
from pipelines.images.turn import ImageRequest, prepare, turn_image
from pipelines.wire import from_wire

MAX_ANSWER_BYTES = 4_000_000  # of one picture: facts, and a line for each output
READ_BYTES = 65_536
FORGET_PEAK = "5"  # proc(5): the memory of the picture before is not this one's
OPEN_FILES = 4096  # as many descriptors may the prepared process have had open when it was forked


@dataclass(slots=True)
class Batch:
    """The process of one batch."""

    pid: int
    requests: int  # its ends of the two pipes
    answers: int

    def turn(self, line: bytes, wall_s: float) -> tuple[str | None, int]:
        """What it answers, None when there is no answer; and its exit code, 0 while it lives."""
        with contextlib.suppress(BrokenPipeError):
            _write(self.requests, line)
        said = self._read(time.monotonic() + wall_s)
        return (said, 0) if said is not None else (None, self.end())

    def end(self) -> int:
        """End it and whatever it started; its exit code."""
        os.close(self.requests)
        os.close(self.answers)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self, deadline: float) -> str | None:
        """One line; None when it dies, takes too long, or says more than an honest one has to say."""
        parts, total = [], 0
        while total <= MAX_ANSWER_BYTES:
            ready, _, _ = select.select([self.answers], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self.answers, READ_BYTES) if ready else b""
            if not data:
                break
            parts.append(data)
            total += len(data)
            if data.endswith(b"\n"):
                return b"".join(parts).decode("utf-8", "replace")
        return None


def serve(requests: IO[bytes], output: IO[str]) -> None:
    """Answer each line of `requests` until there are no more.

    Lines out: ``{"ready": …}`` once, then for each request ``{"ended": …}`` with the exit code of its process (0 while
    that lives on), and what it said, as a text that nobody here has looked at. A `fresh` request begins a batch,
    ``{"end": true}`` ends one, unanswered.
    """
    die_with_parent()
    prepare()
    threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    if threads > 1:  # a fork would wait for them for ever
        raise RuntimeError(f"{threads - 1} threads were started before the first fork")
    gc.freeze()  # a collection in a fork would touch, and so copy, every page of the libraries
    _say(output, "ready", {"pid": os.getpid()})
    batch: Batch | None = None
    for line in iter(requests.readline, b""):
        asked = json.loads(line)
        if batch is not None and asked.get("fresh", True):
            batch.end()
            batch = None
        if asked.get("end"):
            continue
        if batch is None:
            batch = _fork(from_wire(ProcessLimits, asked["limits"]))
        said, code = batch.turn(line, asked["limits"]["wall_s"])
        if said is None:
            batch = None
        _say(output, "ended", {"exit": code, "said": said or ""})


def _fork(limits: ProcessLimits) -> Batch:
    their_requests, requests = os.pipe()
    answers, their_answers = os.pipe()
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        _batch(their_requests, their_answers, server, limits)
    os.close(their_requests)
    os.close(their_answers)
    return Batch(pid, requests, answers)


def _batch(requests: int, answers: int, server: int, limits: ProcessLimits) -> None:
    """Turn the pictures of one batch; never returns."""
    try:
        os.setpgid(0, 0)
        _keep_only(requests, answers)
        hours = limits.cpu_s + 24 * 3600  # the hard limit; the soft one is set for each picture
        confine(ProcessLimits(limits.wall_s, limits.stall_s, limits.memory_bytes, hours, limits.file_bytes), server)
        for line in _lines(requests):
            _one(json.loads(line), answers)
    except BaseException:  # noqa: BLE001 - told on stderr; the fork must never go on as the server
        import traceback

        traceback.print_exc()
    finally:
        os._exit(1)


def _one(asked: dict[str, Any], answers: int) -> None:
    limits = from_wire(ProcessLimits, asked["limits"])
    request = from_wire(ImageRequest, asked["request"])
    began = time.process_time()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text(FORGET_PEAK)
    resource.setrlimit(resource.RLIMIT_CPU, (int(began) + limits.cpu_s, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    kind, value = answer(lambda: turn_image(request), limits)
    cost = {
        "cpu_s": time.process_time() - began,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    _write(answers, json.dumps({kind: value, "cost": cost}, separators=(",", ":")).encode() + b"\n")


def _keep_only(*kept: int) -> None:
    """Close what belongs to the server: a batch must not answer for others, nor hear their requests."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    first = 3
    for fd in sorted(kept):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, OPEN_FILES)


def _lines(fd: int) -> Iterator[bytes]:
    with os.fdopen(fd, "rb") as file:
        yield from iter(file.readline, b"")


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _say(output: IO[str], kind: str, value: dict[str, Any]) -> None:
    output.write(json.dumps({kind: value}, separators=(",", ":")) + "\n")

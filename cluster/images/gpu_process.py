"""The supervisor of the process that turns batches on a GPU (see `pipelines.images.gpu_server`).

Whatever happens to the process, each picture of a batch is told of once: what it made, what is wrong with the picture,
or that the processors are to turn it. A crash, a hang or an answer that makes no sense is the end of the process, and
costs its pictures a second try on the processors; the next batch gets a new process, until it has happened too often.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from cluster.images.prepared import Prepared
from cluster.media_answers import nonsense
from cluster.media_process import Answer, Cancelled, Usage, Watch
from pipelines.errors import LimitExceeded, MediaError, MediaProcessFailed
from pipelines.images.request import GpuSetup, ImageRequest, ImageResult, NotDone
from pipelines.wire import from_wire, to_wire

START_S = 90.0  # CUDA's first start on a node that just came up, and DALI's libraries read from its disk
FAILURES = 5
WITHIN_S = 3600.0
"""So many failures in so short a time, and the processors turn all pictures until the engine is started anew."""
MAX_PICTURE_BYTES = 1_000_000  # of what is said of one: facts, and a line for each output
UNWANTED_S = 1.0  # how long the process may take to end what nobody waits for, before it is killed

GpuOutcome = Answer[ImageResult] | MediaError | NotDone | Cancelled
Told = Callable[[int, GpuOutcome], None]
"""Told of each picture once: its number in the batch, and what became of it."""

log = logging.getLogger(__name__)


class Unwanted(Exception):
    """All pictures that the process still works on were cancelled."""


class GpuProcess:
    """One batch at a time, for one thread at a time."""

    def __init__(self, setup: GpuSetup, starter: Executor) -> None:
        """`starter` has one thread, which lives as long as this object: the kernel ends a process with that thread."""
        self._setup = setup
        self._starter = starter
        self._process: Prepared | None = None
        self._was_ready = False
        self._failed_at: deque[float] = deque()
        self.given_up = ""
        """Why there will be no process any more."""

    def start(self) -> bool:
        """Whether the process is ready, after it was started if need be; if not, the log has the reason."""
        return self._running() is not None

    def turn(self, requests: Sequence[ImageRequest], watches: Sequence[Watch], tell: Told) -> None:
        """Turn a batch; a picture that is cancelled is told of at once, and what still comes of it is dropped."""
        batch = _Batch(watches, tell)
        why = "the GPU process is not there"
        process = self._running()
        if process is not None:
            try:
                self._converse(process, requests, batch)
            except Unwanted:
                self.close()
            except TimeoutError:
                why = self._failed("it gave no answer in time")
            except OSError as error:
                why = self._failed(f"it cannot be spoken to: {error}")
            except MediaError as error:
                why = self._failed(error.public_message)
        batch.leave(NotDone(why))

    def close(self) -> None:
        """End the process and whatever it started."""
        if self._process is not None:
            self._process.close()
        self._process = None

    def _running(self) -> Prepared | None:
        if self._process is not None and not self._process.alive:
            self._failed(self._process.ended().public_message)
        if self._process is None and not self.given_up:
            try:
                self._start()
            except TimeoutError:
                self._failed(f"it was not ready within {START_S:.0f} s")
            except OSError as error:
                self._failed(f"it cannot be started: {error}")
            except MediaError as error:
                self._failed(error.public_message)
        return self._process

    def _start(self) -> None:
        self._process = process = Prepared("images-gpu", self._starter, {})
        process.listen(MAX_PICTURE_BYTES)
        deadline = time.monotonic() + START_S
        process.ask(to_wire(self._setup), deadline, _nothing)
        kind, value = process.message(deadline, _nothing)
        if kind != "ready":
            raise _instead(kind, value)
        self._was_ready = True
        log.info("pictures are turned by DALI where it pays: %.500s", value.get("verdict"))

    def _failed(self, why: str) -> str:
        """Kill the process, and settle whether there will be another one; what the pictures' reports say."""
        native = self._process.native()[-500:] if self._process else ""
        self.close()
        now = time.monotonic()
        self._failed_at.append(now)
        while self._failed_at[0] < now - WITHIN_S:
            self._failed_at.popleft()
        if not self._was_ready or len(self._failed_at) >= FAILURES:
            self.given_up = why
            log.warning("the processors turn all pictures from now on: %s; %s", why, native or "no more was said")
        else:
            log.warning(
                "the GPU process failed, and the processors turn its batch: %s; %s", why, native or "no more was said"
            )
        return f"the GPU process failed: {why}"[:300]

    def _converse(self, process: Prepared, requests: Sequence[ImageRequest], batch: "_Batch") -> None:
        """Have a batch turned. Raises Unwanted, TimeoutError or the MediaError that says how the process failed."""
        began = time.monotonic()
        silence_s = self._setup.limits.wall_s  # a picture has so long, and at least one is being worked on
        deadline = began + silence_s * (1 + -(-len(requests) // self._setup.threads))

        def check() -> None:
            batch.drop_cancelled()
            used = _memory_bytes(process.pid)
            if used > self._setup.limits.memory_bytes:
                raise LimitExceeded(f"it took {used // 1_000_000} MB of memory")

        process.forget_native()
        process.listen(MAX_PICTURE_BYTES * (1 + len(requests)))
        process.ask({"requests": to_wire(requests)}, min(deadline, began + silence_s), check)
        told = began
        while True:
            kind, value = process.message(min(deadline, time.monotonic() + silence_s), check)
            if kind == "done":
                return batch.check_complete()
            if kind != "picture":
                raise _instead(kind, value)
            before, told = told, time.monotonic()
            batch.hear(value["number"], _outcome_of(value, told - began, told - before))


class _Batch:
    """Who was told of, and who was not yet."""

    def __init__(self, watches: Sequence[Watch], tell: Told) -> None:
        self._untold = dict(enumerate(watches))
        self._dropped: set[int] = set()
        self._dropped_at = 0.0
        self._tell = tell

    def hear(self, number: int, outcome: GpuOutcome) -> None:
        """Tell of it. MediaProcessFailed when nothing was to be heard of such a picture."""
        if number in self._dropped:
            self._dropped.remove(number)
        elif self._untold.pop(number, None) is None:
            raise nonsense(f"there is no picture {number} that it could speak of")
        else:
            self._tell(number, outcome)

    def drop_cancelled(self) -> None:
        """Tell of those that were cancelled meanwhile. Raises Unwanted when nobody waits for any other.

        Killing the process sooner would cost the others a second try, and the next batch CUDA's start.
        """
        for number in [number for number, watch in self._untold.items() if watch.cancelled.is_set()]:
            del self._untold[number]
            self._dropped.add(number)
            self._dropped_at = time.monotonic()
            self._tell(number, Cancelled())
        if self._dropped and not self._untold and time.monotonic() > self._dropped_at + UNWANTED_S:
            raise Unwanted

    def check_complete(self) -> None:
        """MediaProcessFailed unless something was heard of every picture."""
        if self._untold:
            raise nonsense(f"it left out {len(self._untold)} pictures")

    def leave(self, outcome: NotDone) -> None:
        """Tell of all that are left."""
        for number in list(self._untold):
            del self._untold[number]
            self._tell(number, outcome)


def _instead(kind: str, said: dict[str, Any]) -> MediaError:
    """What it means that it said this instead of what was to be heard."""
    return MediaProcessFailed(said["reason"][:300]) if kind == "unable" else nonsense(f"it said {kind}")


def _outcome_of(said: dict[str, Any], wall_s: float, gpu_s: float) -> GpuOutcome:
    """`gpu_s`: since the picture before, so that those of a batch add up to how long it had the GPU."""
    if "cpu" in said:
        return NotDone(said["cpu"][:300])
    try:
        if "error" in said:
            return MediaError.from_wire(said["error"])
        usage = Usage(wall_s, float(said["cost"]["cpu_s"]), int(said["cost"]["peak_rss_bytes"]), gpu_s)
        return Answer(from_wire(ImageResult, said["result"]), usage)
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
        raise nonsense(f"what it says of a picture is nothing of the kind: {error}") from error


def _memory_bytes(pid: int) -> int:
    """Of its own; what it shares with others or maps from the GPU is not counted."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it is gone, which is seen elsewhere
        return 0
    for line in status.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0  # a zombie has none


def _nothing() -> None:
    pass

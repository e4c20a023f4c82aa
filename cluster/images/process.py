"""A prepared media process that turns one picture after the other.

It forks for each batch (see `pipelines.images.server`), so that a decoder's crash is an error of that picture and costs
the others nothing. What does not answer at all is killed as a whole, and the next picture starts a new one.
"""

import signal
import time
from concurrent.futures import Executor
from typing import Any

from cluster.images.prepared import Prepared
from cluster.media_answers import death_of, nonsense, parsed, shaped
from cluster.media_process import Answer, Usage, Watch
from pipelines.confine import ProcessLimits
from pipelines.errors import MediaError, MediaTimeout
from pipelines.images.request import ImageRequest, ImageResult
from pipelines.wire import from_wire, to_wire

PREPARED = {
    "OPENBLAS_NUM_THREADS": "1",  # numpy's BLAS starts one per core when imported, and threads do not survive a fork
    "VIPS_CONCURRENCY": "1",  # a process for each core is what uses the cores
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # fewer page faults: 62 ms instead of 70 for the first of a batch
}
GRACE_S = 2.0  # beyond the picture's own limit, which the prepared process sees to itself
START_S = 60.0  # imports take 0.5 s; a node that just came up reads its disk for the first time


class ImageProcess:
    """One picture at a time; the process is started when first needed, and again after it was killed."""

    def __init__(self, starter: Executor) -> None:
        """`starter` has one thread, which lives as long as this object: the kernel ends a process with that thread."""
        self._starter = starter
        self._process: Prepared | None = None
        self._doubtful = False  # the batch's process has not answered as it should: the next picture gets another

    def start(self) -> None:
        """Have the process ready; MediaProcessFailed when it cannot be."""
        self._running()

    def _running(self) -> Prepared:
        if self._process is not None and self._process.alive:
            return self._process
        self.close()
        # What one picture says is bounded by the prepared process itself.
        self._process = Prepared("images", self._starter, PREPARED)
        try:
            kind, _ = self._process.message(time.monotonic() + START_S, Watch().check)
            if kind != "ready":
                raise nonsense(f"it began with {kind}")
        except TimeoutError:
            self.close()
            raise _too_long(START_S) from None
        except MediaError:
            self.close()
            raise
        return self._process

    def turn(
        self, request: ImageRequest, limits: ProcessLimits, watch: Watch, *, fresh: bool = True
    ) -> Answer[ImageResult]:
        """What was made of one picture; `fresh` begins a batch, whose pictures may share a process.

        Raises the MediaError that the process reports, DecoderCrashed when native code ends it, MediaTimeout after
        `limits.wall_s`, MediaProcessFailed when what it says makes no sense, Cancelled when the caller says so.
        """
        process = self._running()
        started = time.monotonic()
        try:
            process.forget_native()
            fresh, self._doubtful = fresh or self._doubtful, True
            deadline = started + limits.wall_s + GRACE_S
            process.ask({"limits": to_wire(limits), "request": to_wire(request), "fresh": fresh}, deadline, watch.check)
            kind, ended = process.message(deadline, watch.check)
            if kind != "ended":
                raise nonsense(f"it said {kind} instead of how a picture's process ended")
        except TimeoutError:
            self.close()
            raise _too_long(limits.wall_s) from None
        except BaseException:
            self.close()  # whatever it still does is for a request that nobody waits for
            raise
        return self._result(ended, process, limits, time.monotonic() - started)

    def end_batch(self) -> None:
        """End the batch's own process: nothing of one batch is there beside the next."""
        if self._process is not None and self._process.alive:
            try:
                self._process.ask({"end": True}, time.monotonic() + GRACE_S, Watch().check)
            except (MediaError, TimeoutError):
                self.close()

    def close(self) -> None:
        """End the process and whatever it started: a picture's own process dies with it."""
        if self._process is not None:
            self._process.close()
        self._process = None

    def _result(
        self, ended: dict[str, Any], process: Prepared, limits: ProcessLimits, wall_s: float
    ) -> Answer[ImageResult]:
        if not ended["said"]:
            if ended["exit"] == -signal.SIGKILL and wall_s >= limits.wall_s:
                raise _too_long(limits.wall_s)
            raise death_of(ended["exit"], limits, process.native())
        kind, value, cost = _said(ended["said"])
        if kind == "error":
            self._doubtful = False
            error = MediaError.from_wire(value)
            error.detail.setdefault("native", process.native())
            raise error
        try:
            usage = Usage(wall_s, float(cost["cpu_s"]), int(cost["peak_rss_bytes"]))
            result = from_wire(ImageResult, value)
        except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
            raise nonsense(f"its result is no ImageResult: {error}") from error
        self._doubtful = False
        return Answer(result, usage)


def _said(line: str) -> tuple[str, dict[str, Any], Any]:
    """What a picture's process answers: the kind, the value, and what it says that it cost."""
    said = parsed(line)
    if not isinstance(said, dict) or "cost" not in said:
        raise nonsense("its answer does not say what it cost")
    cost = said.pop("cost")
    return *shaped(said), cost


def _too_long(limit_s: float) -> MediaTimeout:
    return MediaTimeout(f"the picture took longer than its limit of {limit_s:g} s and was given up")

"""A job, as a list of steps.

    video and sound: inspect → (chunk 0 … chunk n-1  ‖  audio) → finish, which sends back what it finds damaged;
                     of chunks and audio only those that an earlier revision does not have
    a picture:       turned whole, in a batch with others (`cluster.images`)

Who does a step, and where, is the runner's business: threads of this process (`cluster.local`) or Ray tasks
(`cluster.tasks`). Nothing is kept here that is not in storage: after a crash the same list is gone through again, and
every step that was done is found done.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from cluster.errors import InfraError, ResultsDamaged, WorkerLost
from cluster.images.batches import ImageBatches, ImageRunner
from cluster.monitoring.jobs import JobWatch
from cluster.needs import INSPECT, Need
from cluster.progress import JobProgress
from cluster.slots import Slots, Turn
from cluster.work import Step, Work
from ladders.errors import FarmError
from pipelines.errors import MediaError, ScratchFull

ATTEMPTS = 4
ROUNDS = 3  # of encoding and finishing: a result that was damaged in storage is made again, one that always is is not
BACKOFF_S = 1.0  # doubled per attempt, with jitter, so that a store that is back is not hit by everybody at once

OnStep = Callable[[dict[str, Any]], None]


class Runner(ImageRunner, Protocol):
    """Does one step somewhere; cancelling the call ends the step's processes."""

    async def is_picture(self, work: Work) -> bool:
        """Whether the source's first bytes are those of a picture; nothing is opened for that."""
        ...

    async def run(self, work: Work, step: Step, node: str, on_progress: OnStep) -> dict[str, Any]:
        """The step's result as plain values; raises MediaError or InfraError."""
        ...


@dataclass(slots=True)
class JobRun:
    """One run of one job's steps."""

    work: Work
    runner: Runner
    slots: Slots
    images: ImageBatches | None = None  # of all jobs whose pictures may travel together; this one's own when None
    turn: Turn = field(default_factory=lambda: Turn("", ""))
    on_change: Callable[[JobProgress], None] = lambda _: None
    on_retry: Callable[[Step, Exception], None] = lambda _step, _error: None
    watch: JobWatch = field(default_factory=JobWatch)
    progress: JobProgress = field(default_factory=JobProgress)
    is_picture: bool | None = None
    """Known once the source was looked at; a picture leaves nothing in scratch."""
    _needs: dict[str, Need] = field(default_factory=lambda: {"inspect": INSPECT})
    _to_do: int = 0  # chunks and audio that have not ended
    steps_s: dict[str, float] = field(default_factory=dict)
    """Wall seconds from the start of this run at which each stage ended: the job's critical path."""

    async def run(self) -> dict[str, Any]:
        """Do all steps; the result is what is announced: revision, manifest key, report."""
        started = time.monotonic()
        self.is_picture = await self._is_picture()
        if self.is_picture:
            published = await self._picture()
        else:
            published = await self._ladder(started)
        self.progress.stage = "done"
        self.on_change(self.progress)
        return published

    async def _is_picture(self) -> bool:
        if self.work.kind == "auto":
            return await self.runner.is_picture(self.work)
        return self.work.kind == "image"

    async def _picture(self) -> dict[str, Any]:
        self.progress.stage = "encoding"
        self.on_change(self.progress)
        images = self.images or ImageBatches(self.runner, self.slots, wait_s=0.0, most=1)

        async def once() -> dict[str, Any]:
            with self.watch.step(Step("image")) as seen:
                seen.result = await images.turned(self.work, self.turn)
                return seen.result

        return await with_retries(once, lambda error: self.on_retry(Step("image"), error))

    async def _ladder(self, started: float) -> dict[str, Any]:
        published = None
        for rounds_left in reversed(range(ROUNDS)):
            planned = await self._step(Step("inspect"))  # in later rounds it only says what is to be made by now
            self.steps_s.setdefault("inspect", time.monotonic() - started)
            self._needs |= {kind: Need(**need) for kind, need in planned["needs"].items()}
            await self._encode(planned)
            self.steps_s["encode"] = time.monotonic() - started
            published = await self._finish(heals=rounds_left > 0)
            if published is not None:
                break
        assert published is not None, "the last round publishes or raises"
        self.steps_s["finish"] = time.monotonic() - started
        return published

    async def _finish(self, *, heals: bool) -> dict[str, Any] | None:
        """What was published; None when results of earlier steps were found damaged, and there is a round left."""
        self.progress.stage = "packaging"
        self.on_change(self.progress)
        try:
            return await self._step(Step("finish"))
        except ResultsDamaged as error:  # forgotten by now: their steps make them again
            if not heals:
                raise
            self.on_retry(Step("finish"), error)
            return None

    async def _encode(self, planned: dict[str, Any]) -> None:
        """All chunks and the audio, as far as slots allow; the first failure ends the others."""
        chunks = len(planned["chunk_frames"])
        has_audio = bool(planned["audio_tracks"])
        self.progress.planned(
            planned["frames"], tuple(planned["renditions"]), chunks, has_audio, tuple(planned["reused"])
        )
        self._to_do = chunks + has_audio
        self.on_change(self.progress)
        try:
            async with asyncio.TaskGroup() as group:
                if planned["audio_tracks"]:
                    group.create_task(self._audio())
                for number, chunk_frames in enumerate(planned["chunk_frames"]):
                    group.create_task(self._chunk(number, chunk_frames))
        except BaseExceptionGroup as failures:
            raise _telling(failures) from None

    async def _chunk(self, number: int, frames: int) -> None:
        def note(data: dict[str, Any]) -> None:
            self.progress.chunk(number, data["renditions"])
            self.on_change(self.progress)

        await self._step(Step("chunk", number), note)
        self.progress.chunk_done(number, frames)
        self.on_change(self.progress)

    async def _audio(self) -> None:
        await self._step(Step("audio"))
        self.progress.audio = "done"
        self.on_change(self.progress)

    async def _step(self, step: Step, note: OnStep | None = None) -> dict[str, Any]:
        async def once() -> dict[str, Any]:
            with self.watch.step(step) as seen:

                def heard(data: dict[str, Any]) -> None:
                    seen.heard(data)
                    if note is not None and "renditions" in data:
                        note(data)

                async with self.slots.taken(self.turn, step.kind, self._needs.get(step.kind)) as place:
                    seen.begins()
                    seen.result = await self.runner.run(self.work, step, place.node, heard)
                    if self._goes_on_after(step):
                        place.keep()
                    return seen.result

        return await with_retries(once, lambda error: self.on_retry(step, error))

    def _goes_on_after(self, step: Step) -> bool:
        """Whether the job's next step is due at once: others would take the lane for as long as a chunk takes."""
        if step.kind in ("chunk", "audio"):
            self._to_do -= 1
            return self._to_do == 0
        return step.kind == "inspect"


async def with_retries(
    once: Callable[[], Awaitable[dict[str, Any]]], on_retry: Callable[[Exception], None]
) -> dict[str, Any]:
    """Call `once` until it succeeds, its error says that trying again is pointless, or attempts run out."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await once()
        except FarmError as error:
            if not error.retryable or attempt == ATTEMPTS or isinstance(error, ResultsDamaged):
                raise  # also what only other steps can mend
            on_retry(error)
            if attempt == 1 and isinstance(error, WorkerLost):
                continue  # nothing is overloaded: a process or its node is gone, and another one is there
            await asyncio.sleep(BACKOFF_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
    raise AssertionError("unreachable: the last attempt returns or raises")


def may_pass(error: FarmError) -> bool:
    """Whether the cause lies around the job: storage or store away, a disk full, a worker lost.

    An encoder that refuses or a media process that ends badly has had all tries of its step by then: it would only keep
    whoever waits from an answer.
    """
    return error.retryable and isinstance(error, InfraError | ScratchFull)


def _telling(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that says most: the media's own error, then the farm's, then a bug."""
    for kind in (MediaError, InfraError, BaseException):
        for error in group.exceptions:
            if isinstance(error, kind):
                return error
    raise AssertionError("a group holds at least one error")

"""VMAF: how near every rendition is to what its encoder was given.

The reference is the source's picture after everything that all renditions share (upright, deinterlaced, tone-mapped),
at the size of the largest rendition; smaller renditions are enlarged to it, as a player does on a screen. Scores are
of single frames, so that chunks measured on different machines can be put together. The first frame of a chunk is not
scored: VMAF looks at the motion since the frame before, and would take it for a standing picture.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.chunk import ChunkRequest, Feed
from pipelines.errors import ProofFailed
from pipelines.plan import ChunkPlan, RenditionPlan, VideoPlan
from pipelines.signs import now_and_then

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

WINDOW_FRAMES = 16  # that are scored together, of one libvmaf
SAMPLED_SHARE = 0.04
GOLDEN = (
    0.6180339887498949  # multiples of it spread evenly over 0 … 1, so that chunks are looked at in different places
)
SMALLEST_SIDE = 32  # libvmaf reads outside of smaller pictures, and crashes
LARGE_SIDE = 1440  # the short side above which viewers are taken to have a 4K screen
REPORT_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class MeasureRendition:
    """One encoded chunk of one rendition."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class MeasureRequest:
    """What to measure: rows are parallel, one per output frame of the chunk."""

    source_path: str
    video: VideoPlan
    chunk: ChunkPlan
    sources: tuple[int, ...]  # FrameRow.source
    pts: tuple[int, ...]  # FrameRow.pts
    renditions: tuple[MeasureRendition, ...]
    mode: str  # sampled or full
    threads: int


@dataclass(frozen=True, slots=True)
class RenditionScores:
    """VMAF of the frames that were looked at, 0 to 100."""

    name: str
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class MeasureResult:
    """The scores of one chunk; none, and why not, where VMAF says nothing."""

    renditions: tuple[RenditionScores, ...]
    model: str | None
    why_not: str | None


@dataclass(frozen=True, slots=True)
class VmafSummary:
    """The scores of a whole rendition in three figures."""

    mean: float
    one_percent_low: float  # 99 of 100 frames are at least this good
    harmonic_mean: float  # low scores weigh more
    frames: int


@dataclass(frozen=True, slots=True)
class Window:
    """Rows that are scored together: [first, end).

    A frame's motion is the lesser of that from the frame before it and that to the frame after it, so both are shown to
    libvmaf too; without the one behind, the last frame of a window was scored up to 15 too high.
    """

    first: int
    end: int
    rows: int  # of the whole chunk

    @property
    def fed(self) -> range:
        """The rows that are shown to libvmaf."""
        return range(max(0, self.first - 1), min(self.rows, self.end + 1))


def summarise(scores: Sequence[float]) -> VmafSummary:
    """The three figures of at least one score."""
    ranked = sorted(scores)
    return VmafSummary(
        mean=round(sum(ranked) / len(ranked), 3),
        one_percent_low=round(ranked[(len(ranked) - 1) // 100], 3),
        # as libvmaf has it: one is added, so that a score of 0 does not decide everything
        harmonic_mean=round(len(ranked) / sum(1 / (score + 1) for score in ranked) - 1, 3),
        frames=len(ranked),
    )


def windows(rows: int, number: int, *, full: bool) -> list[Window]:
    """The rows of chunk `number`, which has `rows`, that are looked at: all, or 4 % and at least one window."""
    if rows == 1:
        return [Window(0, 1, 1)]
    scored = rows - 1
    count = max(1, round(scored * SAMPLED_SHARE / WINDOW_FRAMES))
    if full or scored <= count * WINDOW_FRAMES:
        return [Window(at, min(at + WINDOW_FRAMES, rows), rows) for at in range(1, rows, WINDOW_FRAMES)]
    part = scored / count
    shift = (number * GOLDEN) % 1 * (part - WINDOW_FRAMES)
    return [Window(first, first + WINDOW_FRAMES, rows) for first in (1 + int(i * part + shift) for i in range(count))]


def measure(request: MeasureRequest, report: Callable[[dict[str, Any]], None]) -> MeasureResult:
    """Score one chunk's renditions against the source. Raises what decoding the source raises."""
    reference = max(request.video.renditions, key=lambda plan: plan.width * plan.height)
    why_not = _why_not(reference)
    if why_not is not None:
        return MeasureResult((), None, why_not)
    model = "vmaf_4k_v0.6.1" if min(reference.width, reference.height) > LARGE_SIDE else "vmaf_v0.6.1"
    looked_at = windows(len(request.pts), request.chunk.number, full=request.mode == "full")
    scorer = _Scorer(request, reference, model, looked_at, report)
    try:
        _feed(request, looked_at, scorer, now_and_then(report, {"stage": "measure"}))
    finally:
        scorer.close()
    scores = tuple(RenditionScores(name, tuple(found)) for name, found in scorer.scores.items())
    return MeasureResult(scores, model, None)


def _why_not(reference: RenditionPlan) -> str | None:
    if reference.color.transfer in ("smpte2084", "arib-std-b67"):
        return "VMAF is trained on SDR pictures: its figures for HDR mean nothing"
    if min(reference.width, reference.height) < SMALLEST_SIDE:
        return f"VMAF needs pictures of at least {SMALLEST_SIDE} pixels"
    return None


def _feed(request: MeasureRequest, looked_at: Sequence[Window], scorer: "_Scorer", alive: Callable[[], None]) -> None:
    """Decode the frames of the windows, and no more than decoding has to, into `scorer`."""
    from pipelines.decode import Decoder
    from pipelines.filters import SourceStage

    margin = 2 if request.video.stage.deinterlace else 0  # what a temporal filter sees around a window
    rows = sorted(
        {
            row
            for window in looked_at
            for row in range(max(0, window.fed.start - margin), min(len(request.pts), window.fed.stop + margin))
        }
    )
    at_start, at_end = rows[0] == 0, rows[-1] == len(request.pts) - 1
    part = replace(
        request.chunk,
        lead=request.chunk.lead if at_start else (),
        tail=request.chunk.tail if at_end else (),
    )
    fed = ChunkRequest(
        source_path=request.source_path,
        video=request.video,
        chunk=part,
        sources=tuple(request.sources[row] for row in rows),
        pts=tuple(request.pts[row] for row in rows),
        out_dir="",
        threads=request.threads,
    )
    scorer.expect(rows)
    with Decoder(request.source_path, request.video.source, request.threads, alive) as decoder:
        stage = SourceStage(request.video)
        scorer.reference_tags(stage.out_tags)
        Feed(fed, decoder, stage, [scorer]).run()


class _Scorer:
    """Takes the reference frames, row by row, and scores each window as soon as it is whole."""

    def __init__(
        self,
        request: MeasureRequest,
        reference: RenditionPlan,
        model: str,
        looked_at: Sequence[Window],
        report: Callable[[dict[str, Any]], None],
    ) -> None:
        self._request, self._plan, self._model, self._report = request, reference, model, report
        self._windows = list(looked_at)
        self._held: dict[int, VideoFrame] = {}
        self._rows: dict[int, int] = {}
        self._chunks = {r.name: _Frames(r.path) for r in request.renditions}
        self.scores: dict[str, list[float]] = {r.name: [] for r in request.renditions}

    def expect(self, rows: Sequence[int]) -> None:
        """The rows that will come; `put` names them by their times from the first."""
        start = self._request.pts[rows[0]]
        self._rows = {self._request.pts[row] - start: row for row in rows}

    def reference_tags(self, tags: Any) -> None:
        """The colours of the frames that will come."""
        from pipelines.filters import RenditionGraph

        self._graph = RenditionGraph(self._plan, tags)

    def put(self, frame: "VideoFrame", times: tuple[int, ...]) -> None:
        """One frame of the source, and the times at which it is shown."""
        rows = [self._rows[time] for time in times]
        wanted = [row for row in rows if any(row in window.fed for window in self._windows)]
        if wanted:
            made = self._graph.frame(frame)
            self._held |= dict.fromkeys(wanted, made)
        while self._windows and rows[-1] >= self._windows[0].fed.stop - 1:
            self._score(self._windows.pop(0))

    def finish(self) -> None:
        """All frames have come: every window is scored."""
        if self._windows:
            raise ProofFailed("the source gave fewer frames than its plan has")

    def close(self) -> None:
        """Let go of the chunks."""
        for frames in self._chunks.values():
            frames.close()

    def _score(self, window: Window) -> None:
        from pipelines.vmaf import score

        fed = window.fed
        references = [self._held[row] for row in fed]
        for name, frames in self._chunks.items():
            found = score(references, frames.rows(fed), self._model, self._request.threads, frames.path.parent)
            self.scores[name] += found[window.first - fed.start : window.end - fed.start]
            self._report({"measured": name, "row": window.end})
        self._held = {row: frame for row, frame in self._held.items() if row >= window.end - 1}


class _Frames:
    """The frames of one encoded chunk, in order; the last two that were given can be had again."""

    def __init__(self, path: str) -> None:
        import av

        self.path = Path(path)
        self._container = av.open(path)
        self._decoded = self._container.decode(video=0)
        self._next = 0
        self._recent: dict[int, VideoFrame] = {}

    def rows(self, wanted: range) -> "Iterator[VideoFrame]":
        """The frames with these numbers; none before the last but one that was given."""
        for row in wanted:
            while self._next <= row:
                frame = next(self._decoded, None)
                if frame is None:
                    raise ProofFailed(
                        f"an encoded chunk ends after {self._next} frames", detail={"path": str(self.path)}
                    )
                self._recent[self._next] = frame
                self._recent.pop(self._next - 2, None)
                self._next += 1
            yield self._recent[row]

    def close(self) -> None:
        """Close the file."""
        self._container.close()

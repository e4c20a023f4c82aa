"""The first step of a job: is this media, may it be turned, and what exactly is in it?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.errors import NoDecodableStream, TruncatedMedia
from pipelines.facts import AudioFacts, MediaInfo
from pipelines.limits import Limits
from pipelines.opening import open_source
from pipelines.plan import FrameIndex
from pipelines.probe import probe
from pipelines.signs import now_and_then


@dataclass(frozen=True, slots=True)
class InspectRequest:
    """What one inspecting media process does; it writes nothing."""

    source_path: str
    limits: Limits
    kind: Literal["auto", "video", "audio"] = "auto"  # video: it must have pictures; audio: only its sound counts


@dataclass(frozen=True, slots=True)
class Inspected:
    """The facts of a source; `index` is None exactly when it has no video."""

    info: MediaInfo
    index: FrameIndex | None


def inspect(request: InspectRequest, report: Callable[[dict[str, Any]], None]) -> Inspected:
    """The facts and the frames of the source.

    Raises the RejectedMedia that says why it cannot be used; OSError when the file cannot be read.
    """
    path = request.source_path
    info = probe(path, request.limits, with_video=request.kind != "audio")
    if info.video is None:
        if request.kind == "video":
            raise NoDecodableStream("the file has sound but no video")
        _check_audio_complete(path, info.audio)
        return Inspected(info, None)
    # Indexing is as much code again, and sound alone needs none of it.
    from pipelines.index import build_index

    return Inspected(info, build_index(path, info.video, request.limits, now_and_then(report, {"stage": "index"})))


def _check_audio_complete(path: str, tracks: tuple[AudioFacts, ...]) -> None:
    """Refuse an MP4 whose sample table points past the end of the file."""
    with open_source(path) as container:
        if "mp4" not in container.format.name or container.size is None:
            return
        for track in tracks:
            entries = container.streams[track.stream_index].index_entries
            if len(entries) and entries[-1].pos + entries[-1].size > container.size:
                raise TruncatedMedia("the file ends before its sound does: was the upload interrupted?")

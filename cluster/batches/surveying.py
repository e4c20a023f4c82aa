"""A look at a batch before it is made: what its sources are by their headers, and how much there is of them."""

import itertools
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cluster.batches.forms import Forms
from cluster.batches.listing import is_manifest
from cluster.batches.reading import Entry, Origin, entries
from cluster.errors import InfraError
from cluster.farm_settings import FarmSettings
from cluster.media_process import Watch, run_media
from cluster.storage.sources import Sources
from cluster.storage.urls import parse_place
from cluster.tools import process_limits
from ladders.errors import FarmError
from pipelines.errors import EmptyFile, MediaError, UnsupportedMedia
from pipelines.shapes import Shape
from pipelines.survey import Survey, Surveyed, SurveyRequest

GROUP = 16  # files of one media process: a start costs half a second, a header a few milliseconds
END_BYTES = 4 << 20  # of a file that lies elsewhere, from its beginning and from its end: where headers are


@dataclass(slots=True)
class Found:
    """What a batch would be of."""

    items: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)  # one message for each reason
    unclear: int = 0  # too large to be fetched, and not to be told by its ends
    seconds: dict[str, float] = field(
        default_factory=lambda: {"video": 0.0, "audio": 0.0, "image": 0.0}
    )  # of video and of audio
    bytes: int = 0
    forms: Forms = field(default_factory=Forms)

    def refuse(self, code: str, message: str) -> None:
        """Count a refusal."""
        self.refused[code] += 1
        self.examples.setdefault(code, message)


@dataclass(frozen=True, slots=True)
class _Look:
    entry: Entry
    path: Path
    is_whole: bool
    is_copy: bool = False


def look_over(
    source_uri: str, org: str, kind: str, settings: FarmSettings, most: int | None, tell: Callable[[int], None]
) -> Found:
    """Every source of the manifest or prefix, `most` at most, as it would be turned: as `kind`, or as its line says.

    `tell` is told how many were looked at.

    Raises what says that the manifest or prefix cannot be read, and InfraError when storage is away.
    """
    found = Found()
    with Sources(settings.storage, allowed=None) as sources, tempfile.TemporaryDirectory() as folder:
        etag = sources.open(source_uri).etag if is_manifest(source_uri) else None
        _, read = entries(Origin(source_uri, etag, org), settings)
        with ThreadPoolExecutor(settings.work.slots) as pool:
            groups = _groups(itertools.islice(read, most), GROUP * settings.work.slots)
            for group in groups:
                looks = [look for look in (_look(one, sources, Path(folder), found) for one in group) if look]
                parts = [looks[start : start + GROUP] for start in range(0, len(looks), GROUP)]
                for part, surveyed in zip(parts, pool.map(lambda part: _survey(part, settings), parts), strict=True):
                    for look, one in zip(part, surveyed, strict=True):
                        _count(look, one, look.entry.kind or kind, found)
                tell(found.items)
    return found


def _groups(read: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    iterator = iter(read)
    while group := list(itertools.islice(iterator, size)):
        yield group


def _look(entry: Entry, sources: Sources, folder: Path, found: Found) -> _Look | None:
    """A file with the source's headers; None when it is refused, which is counted."""
    found.items += 1
    try:
        if entry.problem is not None:
            raise entry.problem
        assert entry.source_uri is not None, "an entry without a source has a problem"
        source = entry.found or sources.open(entry.source_uri)
        found.bytes += source.size_bytes
        if source.size_bytes == 0:
            raise EmptyFile("the file has no bytes")
        place = parse_place(source.uri)
        if place.scheme == "file":
            return _Look(entry, Path(place.path), True)
        return _ends(entry, source.uri, source.size_bytes, sources, folder)
    except FarmError as error:
        if error.retryable and isinstance(error, InfraError):
            raise
        found.refuse(error.code, f"{entry.source_uri or ''} {error.public_message}".strip())
        return None


def _ends(entry: Entry, uri: str, size: int, sources: Sources, folder: Path) -> _Look:
    """A copy with a hole in its middle, which takes no room."""
    path = folder / f"{entry.line}{Path(urlsplit(uri).path).suffix[:9]}"
    first = sources.part(uri, 0, END_BYTES)
    with path.open("wb") as file:
        file.write(first)
        if size > 2 * END_BYTES:
            file.truncate(size - END_BYTES)
        if size > len(first):
            start = max(len(first), size - END_BYTES)
            file.seek(start)
            file.write(sources.part(uri, start, size - start))
    return _Look(entry, path, size <= 2 * END_BYTES, is_copy=True)


def _survey(looks: Sequence[_Look], settings: FarmSettings) -> list[Surveyed]:
    """What each is; where a process dies of one of them, each half gets a process of its own."""
    if not looks:
        return []
    asked = SurveyRequest(
        tuple(os.fspath(look.path) for look in looks), settings.work.limits, settings.work.image_limits
    )
    try:
        limits = process_limits(settings.work, "survey", frames=len(looks))
        return list(run_media("survey", asked, Survey, limits, Watch()).result.found)
    except MediaError as error:
        if len(looks) == 1:
            return [Surveyed(None, code=error.code, message=error.public_message)]
        half = len(looks) // 2
        return _survey(looks[:half], settings) + _survey(looks[half:], settings)


def _count(look: _Look, surveyed: Surveyed, kind: str, found: Found) -> None:
    if look.is_copy:
        look.path.unlink()
    if (shape := surveyed.shape) is not None:
        if kind != "auto" and (kind == "image") != (shape.kind == "image"):
            told = f"{look.entry.source_uri} is {shape.kind}, and to be turned as {kind}"
            found.refuse(UnsupportedMedia.code, told)
            return
        if kind == "audio":  # of a video its sound alone
            shape = Shape("audio", duration_s=shape.duration_s, tracks=shape.tracks)
        found.kinds[shape.kind] += 1
        found.seconds[shape.kind] += shape.duration_s
        found.forms.add(shape)
    elif look.is_whole:
        found.refuse(surveyed.code, f"{look.entry.source_uri} {surveyed.message}")
    else:
        found.unclear += 1

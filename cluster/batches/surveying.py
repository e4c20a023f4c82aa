"""A look at a batch before it is made: what its sources are by their headers, and how much there is of them."""

import itertools
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from cluster.batches.forms import Forms
from cluster.batches.listing import is_manifest
from cluster.batches.reading import Entry, Origin, entries
from cluster.errors import InfraError
from cluster.farm_settings import FarmSettings
from cluster.media_process import Watch, run_media
from cluster.storage.sources import Sources
from cluster.storage.urls import AllowedSources
from cluster.tools import process_limits
from ladders.errors import FarmError
from pipelines.errors import EmptyFile, InvalidItem, MediaError, UnsupportedMedia
from pipelines.shapes import Shape
from pipelines.signatures import signature
from pipelines.survey import Survey, Surveyed, SurveyRequest

GROUP = 16  # files of one media process: a start costs half a second, a header a few milliseconds
LOOKS_AT_ONCE = 16  # requests to S3: all waiting
HEAD_BYTES = 256 << 10  # of a file that lies elsewhere; of most pictures that is enough
END_BYTES = 4 << 20  # of one of which it is not, from its beginning and from its end
BY_HEAD = ("jpeg", "png", "avif", "heif")  # what they are stands first; the frames of others are counted to the end


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
    """A source, and where its headers are; or why the batch would refuse it."""

    entry: Entry
    bytes: int = 0
    path: Path | None = None
    seen: Literal["whole", "ends", "head"] = "whole"
    is_copy: bool = False
    error: FarmError | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """From where headers are read, and where copies of them lie."""

    sources: Sources
    folder: Path

    def look(self, entry: Entry) -> _Look:
        """Raises only InfraError that may pass."""
        size = 0
        try:
            if entry.problem is not None:
                raise entry.problem
            assert entry.source_uri is not None, "an entry without a source has a problem"
            place = self.sources.place(entry.source_uri)
            source = entry.found or self.sources.open(entry.source_uri)
            size = source.size_bytes
            if size == 0:
                raise EmptyFile("the file has no bytes")
            if place.scheme == "file":
                return _Look(entry, size, Path(place.path))
            return self._head(entry, source.uri, size)
        except FarmError as error:
            if error.retryable and isinstance(error, InfraError):
                raise
            return _Look(entry, size, error=error)

    def _head(self, entry: Entry, uri: str, size: int) -> _Look:
        path = self.folder / f"{entry.line}{Path(urlsplit(uri).path).suffix[:9]}"
        first = self.sources.part(uri, 0, HEAD_BYTES)
        with path.open("wb") as file:
            file.write(first)
            file.truncate(size)  # a hole, which takes no room
        look = _Look(entry, size, path, "whole" if size <= HEAD_BYTES else "head", is_copy=True)
        return look if look.seen == "whole" or signature(first).format in BY_HEAD else self.look_on(look)

    def look_again(self, look: _Look) -> _Look:
        """`look_on`; what is wrong with the source by now is in the answer. Raises only InfraError that may pass."""
        try:
            return self.look_on(look)
        except FarmError as error:
            if error.retryable and isinstance(error, InfraError):
                raise
            return replace(look, error=error)

    def look_on(self, look: _Look) -> _Look:
        """With all of a small file, or both ends of a large one."""
        assert look.path is not None, "it was looked at"
        assert look.entry.source_uri is not None, "it was looked at"
        end = max(HEAD_BYTES, look.bytes - END_BYTES)
        with look.path.open("r+b") as file:
            for start, stop in ((HEAD_BYTES, min(END_BYTES, end)), (end, look.bytes)):
                if start < stop:
                    file.seek(start)
                    file.write(self.sources.part(look.entry.source_uri, start, stop - start))
        return replace(look, seen="whole" if look.bytes <= 2 * END_BYTES else "ends")


def look_over(
    source_uri: str, org: str, kind: str, settings: FarmSettings, most: int | None, tell: Callable[[int], None]
) -> Found:
    """Every source of the manifest or prefix, `most` at most, as it would be turned: as `kind`, or as its line says.

    `tell` is told how many were looked at. Where the settings name places that sources may come from, others are
    refused, as the batch would.

    Raises what says that the manifest or prefix cannot be read, and InfraError when storage is away.
    """
    found = Found()
    names: set[str] | None = set() if is_manifest(source_uri) else None  # of a prefix each has its own
    prefixes = [place.replace("{org}", org) for place in settings.storage.source_prefixes]
    allowed = AllowedSources(prefixes) if prefixes else None
    with Sources(settings.storage, allowed) as sources, tempfile.TemporaryDirectory() as folder:
        place = _Place(sources, Path(folder))
        etag = sources.open(source_uri).etag if is_manifest(source_uri) else None
        _, read = entries(Origin(source_uri, etag, org), settings)
        items = itertools.islice((one for one in read if isinstance(one, Entry)), most)
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as reach, ThreadPoolExecutor(settings.work.slots) as pool:
            for group in _groups(items, max(LOOKS_AT_ONCE, GROUP * settings.work.slots)):
                looks = _taken(reach.map(place.look, group), names, found)
                surveyed = _surveyed(looks, pool, settings)
                unclear = [number for number, one in enumerate(surveyed) if one.shape is None]
                again = [number for number in unclear if looks[number].seen == "head"]
                for number, look in zip(again, reach.map(place.look_again, [looks[n] for n in again]), strict=True):
                    looks[number] = look
                again = [number for number in again if looks[number].error is None]
                told = _surveyed([looks[number] for number in again], pool, settings)
                for number, one in zip(again, told, strict=True):
                    surveyed[number] = one
                for look, one in zip(looks, surveyed, strict=True):
                    _count(look, one, look.entry.kind or kind, found)
                tell(found.items)
    return found


def _groups(read: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    iterator = iter(read)
    while group := list(itertools.islice(iterator, size)):
        yield group


def _taken(looks: Iterable[_Look], names: set[str] | None, found: Found) -> list[_Look]:
    """Those of which the batch would make jobs; the others are counted as refused."""
    taken = []
    for look in looks:
        found.items += 1
        found.bytes += look.bytes
        entry, error = look.entry, look.error
        if error is None and names is not None and entry.media_id is not None:
            if entry.media_id in names:
                error = InvalidItem(f"line {entry.line}: another line of this batch has its media_id")
            names.add(entry.media_id)
        if error is None:
            taken.append(look)
            continue
        found.refuse(error.code, f"{entry.source_uri or ''} {error.public_message}".strip())
        _drop(look)
    return taken


def _drop(look: _Look) -> None:
    if look.is_copy and look.path is not None:
        look.path.unlink()


def _surveyed(looks: Sequence[_Look], pool: ThreadPoolExecutor, settings: FarmSettings) -> list[Surveyed]:
    parts = [looks[start : start + GROUP] for start in range(0, len(looks), GROUP)]
    return [one for part in pool.map(lambda part: _survey(part, settings), parts) for one in part]


def _survey(looks: Sequence[_Look], settings: FarmSettings) -> list[Surveyed]:
    """What each is; where a process dies of one of them, each half gets a process of its own."""
    if not looks:
        return []
    asked = SurveyRequest(
        tuple(os.fspath(look.path) for look in looks if look.path is not None),
        settings.work.limits,
        settings.work.image_limits,
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
    _drop(look)
    if look.error is not None:
        found.refuse(look.error.code, f"{look.entry.source_uri} {look.error.public_message}")
    elif (shape := surveyed.shape) is not None:
        if kind != "auto" and (kind == "image") != (shape.kind == "image"):
            told = f"{look.entry.source_uri} is {shape.kind}, and to be turned as {kind}"
            found.refuse(UnsupportedMedia.code, told)
            return
        if kind == "audio":  # of a video its sound alone
            shape = Shape("audio", duration_s=shape.duration_s, tracks=shape.tracks)
        found.kinds[shape.kind] += 1
        found.seconds[shape.kind] += shape.duration_s
        found.forms.add(shape)
    elif look.seen == "whole":
        found.refuse(surveyed.code, f"{look.entry.source_uri} {surveyed.message}")
    else:
        found.unclear += 1

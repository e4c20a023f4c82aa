"""What a batch is of: entries from a manifest or a prefix, one after the other, from a cursor on."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from urllib.parse import unquote

from cluster.batches.listing import MANIFEST_SUFFIXES, Passed, is_manifest, objects, parse_prefix
from cluster.farm_settings import FarmSettings
from cluster.jobs.model import Kind
from cluster.media_process import Watch, run_media
from cluster.storage.sources import SourceObject, Sources
from cluster.tools import process_limits
from pipelines.errors import InvalidItem
from pipelines.manifest import ManifestPage, ManifestRequest, ManifestRow

PAGE_ROWS = 5000

SOURCE = re.compile(r"(s3|file)://[^\x00-\x20\x7f]{1,2040}")
MEDIA_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
META_NAME = re.compile(r"[A-Za-z0-9._:-]{1,64}")
META_CHARACTERS, META_ENTRIES = 512, 32
KINDS = ("auto", "video", "audio", "image")
OWN = frozenset({"source", "media_id", "kind", "org", "metadata"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One line or object, checked as far as that goes without looking at its source."""

    line: int
    cursor: dict[str, Any]  # behind it
    source_uri: str | None = None
    media_id: str | None = None
    kind: Kind | None = None  # the batch's when None
    metadata: dict[str, str] = field(default_factory=dict)
    found: SourceObject | None = None  # where a listing has told of it
    problem: InvalidItem | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """What must be kept of it to try it again."""
        return {"kind": self.kind, "metadata": self.metadata}


@dataclass(frozen=True, slots=True)
class Origin:
    """From where entries are read, and how far that was done."""

    source_uri: str
    source_etag: str | None  # of a manifest
    org: str
    cursor: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NoEntry:
    """Nothing for a while: how far the listing of a prefix is."""

    cursor: dict[str, Any]


type Read = Iterator[Entry | NoEntry]


def entries(origin: Origin, settings: FarmSettings, *, count: bool = False) -> tuple[int | None, Read]:
    """The entries behind the cursor; with `count` also how many there are in all, None of a prefix.

    Raises what says that the manifest or prefix cannot be read; so does what comes back.
    """
    if is_manifest(origin.source_uri):
        return _of_manifest(origin, settings, count)
    return None, _of_prefix(origin, settings)


def _of_prefix(origin: Origin, settings: FarmSettings) -> Read:
    prefix = parse_prefix(origin.source_uri)
    line = int(origin.cursor.get("line", 0))
    for found in objects(prefix, str(origin.cursor.get("after", "")), settings.storage):
        if isinstance(found, Passed):
            yield NoEntry({"after": found.after, "line": line})
            continue
        line += 1
        yield Entry(
            line=line,
            cursor={"after": found.after, "line": line},
            source_uri=found.uri,
            media_id=media_id_of(found.uri),
            found=found.source,
        )


def _of_manifest(origin: Origin, settings: FarmSettings, count: bool) -> tuple[int | None, Read]:
    cursor = origin.cursor
    first = _page(origin, settings, int(cursor.get("offset", 0)), int(cursor.get("line", 0)), count)

    def found() -> Iterator[Entry]:
        page = first
        while True:
            for row in page.rows:
                yield _entry(row, origin)
            if page.ended or not page.rows:
                return
            page = _page(origin, settings, page.rows[-1].offset, page.rows[-1].line, False)

    return first.total, found()


def _page(origin: Origin, settings: FarmSettings, offset: int, line: int, count: bool) -> ManifestPage:
    # The file that was there when the batch was accepted: at another one the cursor would mean something else.
    with Sources(settings.storage, allowed=None) as sources:
        path = sources.fetch(origin.source_uri, origin.source_etag or "")
        form = cast(
            Literal["parquet", "jsonl", "csv"],
            MANIFEST_SUFFIXES[os.path.splitext(origin.source_uri)[1].lower()],  # noqa: PTH122 - a URI
        )
        asked = ManifestRequest(str(path), form, offset, line, PAGE_ROWS, count)
        limits = process_limits(settings.work, "manifest", size_bytes=path.stat().st_size)
        return run_media("manifest", asked, ManifestPage, limits, Watch()).result


def _entry(row: ManifestRow, origin: Origin) -> Entry:
    cursor = {"offset": row.offset, "line": row.line}
    try:
        if row.problem:
            raise InvalidItem(row.problem[:300])
        return _checked(row, origin, cursor)
    except InvalidItem as error:
        # Without its source: it is nothing that might do better another time.
        return Entry(row.line, cursor, problem=InvalidItem(f"line {row.line}: {error.public_message}"))


def _checked(row: ManifestRow, origin: Origin, cursor: dict[str, Any]) -> Entry:
    values = row.values
    source = values.get("source")
    if not isinstance(source, str):
        raise InvalidItem("there is no source")
    if not SOURCE.fullmatch(source):
        raise InvalidItem("source must be a URI: file:///folder/file or s3://bucket/key")
    media_id = values.get("media_id") or media_id_of(source)
    if not isinstance(media_id, str) or not MEDIA_ID.fullmatch(media_id):
        raise InvalidItem("media_id is no name of letters, digits, dot, dash and underscore, at most 128")
    kind = values.get("kind")
    if kind is not None and kind not in KINDS:
        raise InvalidItem(f"kind is none of {', '.join(KINDS)}")
    if values.get("org") not in (None, origin.org):
        raise InvalidItem(f"org is another one than the batch's, {origin.org}")
    metadata = _metadata(values)
    return Entry(row.line, cursor, source, media_id, cast(Kind | None, kind), metadata)


def _metadata(values: dict[str, Any]) -> dict[str, str]:
    """The metadata column, and every column that nobody knows."""
    found = values.get("metadata", {})
    if isinstance(found, str):  # of a CSV
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            found = None
    if not isinstance(found, dict):
        raise InvalidItem("metadata is no object of short texts")
    found = found | {name: value for name, value in values.items() if name not in OWN}
    if len(found) > META_ENTRIES:
        raise InvalidItem(f"there are {len(found)} entries of metadata, more than {META_ENTRIES}")
    for name, value in found.items():
        if not META_NAME.fullmatch(name):
            raise InvalidItem(f"the column {name[:64]!r} cannot be metadata: letters, digits, dot, dash, underscore")
        if not isinstance(value, str) or len(value) > META_CHARACTERS or "\0" in value:
            raise InvalidItem(f"{name} is no text of at most {META_CHARACTERS} characters")
    return found


def media_id_of(uri: str) -> str:
    """A name for the item at `uri`, the same every time, and another one for a file of the same name elsewhere."""
    name = uri.rpartition("/")[2]
    stem = os.path.splitext(unquote(name) if uri.startswith("file://") else name)[0]  # noqa: PTH122 - a URI
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip(".-")[:100] or "item"
    return f"{stem}-{hashlib.sha256(uri.encode()).hexdigest()[:10]}"

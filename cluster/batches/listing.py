"""The objects that a prefix with globs names: in order, from a cursor on, never all of them in memory."""

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from cluster.batches.globs import Glob, parse_glob
from cluster.errors import ForbiddenUri, SourceMissing
from cluster.settings import StorageSettings
from cluster.storage.os_errors import typed_os_errors
from cluster.storage.sources import SourceObject
from cluster.storage.urls import Place, parse_place

MANIFEST_SUFFIXES = {".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
NAMES_AT_ONCE = 10_000  # of one folder: it is gone through again for each ten thousand
S3_PAGE = 1000
PASSED = 1000  # names that do not match, after which it is told how far the listing is


@dataclass(frozen=True, slots=True)
class Prefix:
    """Everything below `folder` whose path from there matches the glob."""

    folder: Place  # its path ends with a slash, or is empty
    start: str  # with which the paths of all begin, from there on
    glob: Glob


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a prefix; `source` is known where listing tells all of it, as S3 does."""

    uri: str
    after: str  # the cursor behind it
    source: SourceObject | None


@dataclass(frozen=True, slots=True)
class Passed:
    """A while of nothing that matches: a listing of millions can be broken off there, and gone on with."""

    after: str


def is_manifest(uri: str) -> bool:
    """Whether the URI names a manifest; ForbiddenUri when it names neither that nor a prefix."""
    if "*" in uri or uri.endswith("/"):
        return False
    if os.path.splitext(uri)[1].lower() in MANIFEST_SUFFIXES:  # noqa: PTH122 - a URI
        return True
    raise ForbiddenUri(
        "the source is no manifest (.parquet, .jsonl, .csv) and no prefix: a prefix ends with / or has a * in it"
    )


def parse_prefix(uri: str) -> Prefix:
    """The folder and the glob of a prefix; ``*`` stays within one folder, ``**`` does not; ForbiddenUri."""
    place = parse_place(uri)
    head = place.path.partition("*")[0]
    folder = head[: head.rfind("/") + 1]
    glob = place.path[len(folder) :] or "**"
    return Prefix(Place(place.scheme, place.bucket, folder), glob.partition("*")[0], parse_glob(glob))


def objects(prefix: Prefix, after: str, settings: StorageSettings) -> Iterator[Listed | Passed]:
    """The matching objects behind the cursor `after`, "" for all, hidden ones left out; and how far it is, at times."""
    found = _s3(prefix, after, settings) if prefix.folder.scheme == "s3" else _local(prefix, after)
    passed = 0
    for name, listed in found:
        hidden = any(part.startswith(".") for part in name.split("/"))
        if not hidden and prefix.glob.matches(name):
            passed = 0
            yield listed
        else:
            passed += 1
            if passed % PASSED == 0:
                yield Passed(listed.after)


def _s3(prefix: Prefix, after: str, settings: StorageSettings) -> Iterator[tuple[str, Listed]]:
    from cluster.storage.s3 import client_for
    from cluster.storage.s3_errors import typed

    client, bucket, folder = client_for(settings), prefix.folder.bucket, prefix.folder.path
    start = folder + prefix.start
    more = True
    while more:
        with typed(f"s3://{bucket}/{start}"):
            page = client.list_objects_v2(Bucket=bucket, Prefix=start, StartAfter=after, MaxKeys=S3_PAGE)
        for found in page.get("Contents", ()):
            after = found["Key"]
            if not after.endswith("/"):
                uri = f"s3://{bucket}/{after}"
                source = SourceObject(uri, found["Size"], found["ETag"].strip('"'))
                yield after[len(folder) :], Listed(uri, after, source)
        more = page["IsTruncated"]


def _local(prefix: Prefix, after: str) -> Iterator[tuple[str, Listed]]:
    folder = Path(prefix.folder.path)
    if not folder.is_dir():
        raise SourceMissing(f"there is no folder {folder}", detail={"path": str(folder)})
    parts = [os.fsdecode(unquote_to_bytes(part)) for part in after.split("/")] if after else []
    for path in _walk(folder, parts):
        name = path.relative_to(folder).as_posix()
        quoted = quote(os.fsencode(name))  # a name may hold bytes that no database takes
        yield name, Listed(f"file://{quote(os.fsencode(path))}", quoted, None)


def _walk(folder: Path, after: list[str]) -> Iterator[Path]:
    """The files below `folder` behind the path `after`, each folder's in order; links to folders are not followed."""
    last, inclusive = (after[0], len(after) > 1) if after else ("", False)
    while True:
        with typed_os_errors(folder), os.scandir(folder) as entries:
            behind = ((e.name, e.is_dir(follow_symlinks=False)) for e in entries if e.name > last)
            names = heapq.nsmallest(NAMES_AT_ONCE, behind)
        if inclusive:
            names = [(last, (folder / last).is_dir()), *names]
        for name, is_folder in names:
            if is_folder:
                yield from _walk(folder / name, after[1:] if inclusive and name == after[0] else [])
            elif (folder / name).is_file():
                yield folder / name
            last = name
        if len(names) < NAMES_AT_ONCE:
            return
        inclusive = False

"""URIs of sources and storages, and the places that sources may come from.

Two schemes are known: ``file:///path`` (percent-encoded, as RFC 8089 says) and ``s3://bucket/key`` (the key is taken
as it stands, as the AWS tools do). A URI that two programs could read in two ways is refused, not repaired.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, unquote_to_bytes

from cluster.errors import ForbiddenUri

MAX_URI_CHARS = 4096
MAX_KEY_BYTES = 1024  # S3's limit
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_HALF = re.compile("[\ud800-\udfff]")
_FILE = re.compile(r"file://(?:localhost)?(/[^?#]*)")
# The rules for bucket names leave no room for "user@", ports or capital letters.
_S3 = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """A parsed URI."""

    scheme: Literal["file", "s3"]
    bucket: str  # "" for files
    path: str  # absolute for files; the key, without a leading slash of ours, for S3

    def inside(self, folder: "Place") -> bool:
        """Whether this lies below `folder`, by their names alone."""
        if (self.scheme, self.bucket) != (folder.scheme, folder.bucket):
            return False
        # The slash at the end keeps /uploads-private out of /uploads.
        return self.path.startswith(_as_folder(folder.path))


def _as_folder(path: str) -> str:
    stripped = path.rstrip("/")
    return f"{stripped}/" if stripped or path.startswith("/") else ""


def parse_place(uri: str) -> Place:
    """The parts of a ``file://`` or ``s3://`` URI; ForbiddenUri says what is wrong with it."""
    if len(uri) > MAX_URI_CHARS:
        raise ForbiddenUri(f"the URI is longer than {MAX_URI_CHARS} characters")
    if _CONTROL.search(uri) or _HALF.search(uri):
        raise ForbiddenUri("the URI has a control character or half a character in it")
    if match := _FILE.fullmatch(uri):
        _refuse_ambiguous(match[1])
        path = os.fsdecode(unquote_to_bytes(match[1]))
        if "//" in path or _CONTROL.search(path):
            raise ForbiddenUri("the URI's path has an empty part or a control character in it")
        return Place("file", "", path)
    if match := _S3.fullmatch(uri):
        key = match[2] or ""
        _refuse_ambiguous(key)
        if len(key.encode()) > MAX_KEY_BYTES:
            raise ForbiddenUri(f"the key is longer than {MAX_KEY_BYTES} bytes")
        return Place("s3", match[1], key)
    raise ForbiddenUri("the URI is neither file:///path nor s3://bucket/key")


def _refuse_ambiguous(path: str) -> None:
    """Refuse what somebody behind us might decode or normalise into another path."""
    for _ in range(4):
        if "\\" in path or "\0" in path or {".", ".."} & set(path.split("/")):
            raise ForbiddenUri("the URI's path has '.', '..' or a backslash in it")
        decoded = unquote(path, errors="surrogateescape")
        if decoded == path:
            return
        if decoded.count("/") != path.count("/"):
            raise ForbiddenUri("the URI's path has an encoded slash in it")
        path = decoded
    raise ForbiddenUri("the URI's path is percent-encoded several times over")


class AllowedSources:
    """The places that sources may come from; an empty list allows nothing."""

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._folders = [parse_place(prefix) for prefix in prefixes]

    def check(self, uri: str) -> Place:
        """Where `uri` leads, symbolic links followed; ForbiddenUri when that is in no allowed place.

        The answer for a forbidden file is the same whether it exists or not. Hard links are not looked through.
        """
        place = parse_place(uri)
        for folder in self._folders:
            if not place.inside(folder):
                continue
            if place.scheme == "s3":
                return place
            real = Place("file", "", os.path.realpath(place.path))
            if real.inside(Place("file", "", os.path.realpath(folder.path))):
                return real
        raise ForbiddenUri("the source is not in a place that sources may come from", detail={"uri": uri[:200]})

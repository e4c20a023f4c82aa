"""Sources of jobs: what is known of them before they are read, and getting them onto the local disk."""

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from cluster.errors import ForbiddenUri, ObjectChanged, ObjectMissing, SourceChanged, SourceMissing
from cluster.settings import StorageSettings
from cluster.storage.base import Check, unwatched
from cluster.storage.cache import SourceCache
from cluster.storage.local import fingerprint
from cluster.storage.os_errors import typed_os_error
from cluster.storage.urls import AllowedSources, Place, parse_place

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


@dataclass(frozen=True, slots=True)
class SourceObject:
    """A source that exists, without having been read."""

    uri: str
    size_bytes: int
    etag: str  # another one as soon as the object is written or replaced


class Sources:
    """Access to sources in the `allowed` places; anywhere when None, for a person at a terminal.

    Downloaded files stay on the disk until `close`, or until this object is gone.
    """

    def __init__(self, settings: StorageSettings, allowed: AllowedSources | None) -> None:
        self._settings = settings
        self._allowed = allowed
        self._cache = SourceCache(settings.source_cache_dir, settings.source_cache_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files that `fetch` gave."""
        self._cache.release()

    def place(self, uri: str) -> Place:
        """Where `uri` leads; ForbiddenUri when it names no file, or none in an allowed place."""
        place = self._allowed.check(uri) if self._allowed is not None else parse_place(uri)
        if place.path in ("", "/") or place.path.endswith("/"):
            raise ForbiddenUri("the URI names a folder, not a file", detail={"uri": uri})
        return place

    def open(self, uri: str) -> SourceObject:
        """The object's facts (one HEAD); ForbiddenUri, SourceMissing or a StorageError."""
        place = self.place(uri)
        if place.scheme == "file":
            found = _stat(place)
            return SourceObject(uri, found.st_size, fingerprint(found))
        from cluster.storage.s3_errors import typed

        try:
            with typed(uri):
                head = self._client().head_object(Bucket=place.bucket, Key=place.path)
        except ObjectMissing as error:
            raise SourceMissing(f"there is no object {uri}", detail={"uri": uri}) from error
        return SourceObject(uri, head["ContentLength"], head["ETag"].strip('"'))

    def fetch(self, uri: str, etag: str, check: Check = unwatched) -> Path:
        """The source as a file of this machine, to be read only; SourceChanged when it is not `etag` any more.

        A file is used where it lies. An S3 object is downloaded once per machine, by whoever asks first; `check` is
        called again and again meanwhile.
        """
        return Path(self.fetched(uri, etag, check))

    def fetched(self, uri: str, etag: str, check: Check) -> str:
        """`fetch` for who has very many: the name of the file, without a `Path` (see `cluster.storage.local`)."""
        place = self.place(uri)
        if place.scheme == "file":
            if fingerprint(_stat(place)) != etag:
                raise SourceChanged(f"{uri} was changed after the job was accepted", detail={"uri": uri})
            return place.path
        name = hashlib.sha256(f"{uri}\n{etag}".encode()).hexdigest()[:40]
        suffix = Path(place.path).suffix
        name += suffix.lower() if _SUFFIX.fullmatch(suffix) else ""
        return os.fspath(self._cache.fetch(name, lambda path: self._download(uri, place, etag, path, check), check))

    def head(self, uri: str, length: int) -> bytes:
        """The first `length` bytes of the source, or all that it has."""
        return self.part(uri, 0, length)

    def part(self, uri: str, start: int, length: int) -> bytes:
        """Bytes [start, start + length) of the source, which must begin within it; fewer where it ends before."""
        place = self.place(uri)
        if place.scheme == "file":
            _stat(place)
            try:
                with open(place.path, "rb") as file:
                    file.seek(start)
                    return file.read(length)
            except OSError as error:
                raise typed_os_error(error, place.path) from error
        from cluster.storage.s3_errors import typed

        try:
            with typed(uri):
                found = self._client().get_object(
                    Bucket=place.bucket, Key=place.path, Range=f"bytes={start}-{start + length - 1}"
                )
                data: bytes = found["Body"].read()
        except ObjectMissing as error:
            raise SourceMissing(f"there is no object {uri} any more", detail={"uri": uri}) from error
        return data

    def _download(self, uri: str, place: Place, etag: str, path: Path, check: Check) -> None:
        from cluster.storage.s3_errors import typed
        from cluster.storage.s3_parts import download

        target: dict[str, Any] = {"Bucket": place.bucket, "Key": place.path}
        try:
            with typed(uri):
                download(self._client(), target, path, f'"{etag}"', check)
        except ObjectMissing as error:
            raise SourceMissing(f"there is no object {uri} any more", detail={"uri": uri}) from error
        except ObjectChanged as error:
            raise SourceChanged(f"{uri} was changed after the job was accepted", detail={"uri": uri}) from error

    def _client(self) -> Any:
        from cluster.storage.s3 import client_for

        return client_for(self._settings)


def source_of(source: str, settings: StorageSettings) -> SourceObject:
    """The file or URI that a person at a terminal named."""
    uri = source if _SCHEME.match(source) else file_uri(Path(source))
    with Sources(settings, allowed=None) as sources:
        return sources.open(uri)


def file_uri(path: Path) -> str:
    """The URI of a local file, its links resolved."""
    return "file://" + quote(os.fsencode(os.path.realpath(path)))


def _stat(place: Place) -> os.stat_result:
    path = place.path
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceMissing(f"there is no file {path}", detail={"path": path}) from error
    except OSError as error:
        raise typed_os_error(error, path) from error
    if not stat.S_ISREG(found.st_mode):
        # A pipe or device would be waited for, or read for ever.
        raise SourceMissing(f"{path} is not a file", detail={"path": str(path)})
    return found

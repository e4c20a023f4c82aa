"""Storage in a folder of this machine (or one that is mounted on all of them).

An object is a file under its key. Its SHA-256 is kept in an extended attribute where the file system has them; the
content type is not kept: the manifest names it.

Keys become texts here and no `Path`: Python 3.12 interns each part of one for good, 120 bytes for every name that an
engine or a dispatcher ever saw.
"""

import hashlib
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from cluster.errors import (
    ChecksumMismatch,
    InvalidKey,
    ObjectMissing,
    StorageRefused,
    StorageUnavailable,
)
from cluster.storage.base import OCTETS, StoredObject, checked_folder, checked_key
from cluster.storage.os_errors import typed_os_errors

TEMP = ".tmp"  # no key begins with a dot; there only while something is written
_TEMP_NAME = re.compile("[0-9a-f]{32}")
COPY_BYTES = 1024 * 1024
SHA256_ATTRIBUTE = "user.farm.sha256"
# A folder that was just made can be pruned by a delete next to it; a second try has always been enough.
PLACE_ATTEMPTS = 8
# A writer that ends can take the folder away from one that begins; sixteen busy ones have needed two tries.
TEMP_ATTEMPTS = 64


class LocalStorage:
    """Objects as files under `root`, which is made when it is missing."""

    def __init__(self, root: Path, *, base_url: str) -> None:
        self._root = os.fspath(root)
        self._temp = os.path.join(self._root, TEMP)
        self._base_url = base_url.rstrip("/")
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageRefused(f"the folder {root} cannot be used: {error.strerror}") from error

    def put_file(
        self,
        key: str,
        path: Path,
        *,
        content_type: str = OCTETS,
        cache_control: str | None = None,
    ) -> StoredObject:
        """See `Storage.put_file`."""
        with path.open("rb") as source:
            return self._put(key, iter(lambda: source.read(COPY_BYTES), b""))

    def put_bytes(
        self,
        key: str,
        data: bytes,
        *,
        content_type: str = OCTETS,
        cache_control: str | None = None,
        if_absent: bool = False,
    ) -> StoredObject:
        """See `Storage.put_bytes`."""
        return self._put(key, [data], if_absent)

    def get_file(self, key: str, path: Path, *, sha256: str | None = None) -> StoredObject:
        """See `Storage.get_file`."""
        temp = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
        try:
            with self._open(key) as source, temp.open("xb") as target, typed_os_errors(path):
                found = _stored(key, source.fileno())
                actual = _copy(iter(lambda: source.read(COPY_BYTES), b""), target.write)
                target.flush()
            if (sha256 or found.sha256) not in (None, actual):
                raise ChecksumMismatch(f"{self._path(key)} is not what was written", detail={"sha256": actual})
            temp.replace(path)
        finally:
            temp.unlink(missing_ok=True)
        return found

    def get_bytes(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """See `Storage.get_bytes`."""
        with self._open(key) as file, typed_os_errors(self._path(key)):
            file.seek(start)
            return file.read() if length is None else file.read(length)

    def stat(self, key: str) -> StoredObject | None:
        """See `Storage.stat`."""
        try:
            with self._open(key) as file:
                return _stored(key, file.fileno())
        except ObjectMissing:
            return None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """See `Storage.list`."""
        folder = checked_folder(prefix)
        path = os.path.join(self._root, folder)
        with typed_os_errors(path):
            yield from _walk(path, folder)

    def delete(self, key: str) -> None:
        """See `Storage.delete`."""
        path = self._path(key)
        with suppress(ObjectMissing, InvalidKey), typed_os_errors(path):
            os.unlink(path)
        self._prune(os.path.dirname(path))

    def delete_prefix(self, prefix: str) -> None:
        """See `Storage.delete_prefix`; readers see all of the folder or nothing."""
        folder = checked_folder(prefix)
        if not folder:
            raise InvalidKey("deleting everything at once is not offered")
        path = os.path.join(self._root, folder.rstrip("/"))

        def aside(temp: str) -> str:
            if Path(path).is_dir():
                os.rename(path, temp)
            return temp

        with typed_os_errors(path):
            if not Path(path).is_dir():  # unlike os.path, it says so when it cannot tell
                return
            shutil.rmtree(self._in_temp(aside), ignore_errors=True)
            self._drop_temp()
        self._prune(os.path.dirname(path))

    def local_path(self, key: str) -> Path | None:
        """See `Storage.local_path`; ObjectMissing when there is no such object."""
        if self.stat(key) is None:
            raise ObjectMissing(f"there is no object {self._path(key)}", detail={"key": key})
        return Path(self._path(key))

    def url(self, key: str) -> str:
        """See `Storage.url`."""
        return f"{self._base_url}/{quote(checked_key(key))}"

    def sweep_unfinished(self, older_than_s: float, is_ours: Callable[[str], bool]) -> int:
        """See `Storage.sweep_unfinished`; what is unfinished has no key yet, only a name that nobody else gives."""
        removed = 0
        for path in Path(self._temp).iterdir() if os.path.isdir(self._temp) else ():
            with suppress(OSError):
                if not _TEMP_NAME.fullmatch(path.name) or path.lstat().st_mtime > time.time() - older_than_s:
                    continue
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed += 1
        self._drop_temp()
        return removed

    def _path(self, key: str) -> str:
        return os.path.join(self._root, checked_key(key))

    def _open(self, key: str) -> BinaryIO:
        path = self._path(key)
        with typed_os_errors(path):
            try:
                file = open(path, "rb")  # noqa: SIM115 - closed by whoever asked
            except (IsADirectoryError, NotADirectoryError) as error:
                raise ObjectMissing(f"there is no object {path}", detail={"key": key}) from error
        return file

    def _in_temp[T](self, make: Callable[[str], T]) -> T:
        """What `make` makes under a fresh name on the file system of `root`, whoever removes the folder meanwhile."""
        for _ in range(TEMP_ATTEMPTS):
            with suppress(FileNotFoundError):
                return make(os.path.join(self._temp, uuid.uuid4().hex))
            self._make_folder(self._root)
            with suppress(FileExistsError, FileNotFoundError):
                os.mkdir(self._temp)
        raise StorageUnavailable(f"{self._temp} is removed as often as it is made")

    def _drop_temp(self) -> None:
        """Leave no empty folder in what a person looks at; another writer's file keeps it there."""
        with suppress(OSError):
            os.rmdir(self._temp)

    def _put(self, key: str, parts: Iterable[bytes], if_absent: bool = False) -> StoredObject:
        path = self._path(key)
        with typed_os_errors(path):
            file = self._in_temp(lambda temp: open(temp, "xb"))  # noqa: SIM115 - closed below
        temp = file.name
        try:
            with typed_os_errors(path), file:
                sha256 = _copy(parts, file.write)
                with suppress(OSError):  # a file system without extended attributes
                    os.setxattr(file.fileno(), SHA256_ATTRIBUTE, sha256.encode())
                file.flush()
                os.fsync(file.fileno())
                self._place(temp, path, if_absent)
                return _stored(key, file.fileno())
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temp)
            self._drop_temp()

    def _place(self, temp: str, path: str, if_absent: bool) -> None:
        """Give the finished file its name, durably."""
        for _ in range(PLACE_ATTEMPTS):
            self._make_folder(os.path.dirname(path))
            try:
                # link() is the one call that fails when the name is taken; rename() replaces.
                os.link(temp, path) if if_absent else os.replace(temp, path)
            except FileNotFoundError:
                continue
            _sync_folder(os.path.dirname(path))
            return
        raise StorageUnavailable(f"{os.path.dirname(path)} is removed as often as it is made")

    def _make_folder(self, folder: str) -> None:
        missing = []
        while not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for path in reversed(missing):
            with suppress(FileNotFoundError):
                try:
                    os.mkdir(path)
                except FileExistsError:
                    if not stat.S_ISDIR(os.stat(path).st_mode):  # one look: a folder may be gone again by a second
                        raise
                _sync_folder(os.path.dirname(path))

    def _prune(self, folder: str) -> None:
        """Remove folders that became empty, so that they do not pile up over years."""
        with suppress(OSError):
            while folder != self._root:
                os.rmdir(folder)
                folder = os.path.dirname(folder)


def _copy(parts: Iterable[bytes], write: Callable[[bytes], object]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
        write(part)
    return digest.hexdigest()


def _stored(key: str, fd: int) -> StoredObject:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise InvalidKey(f"{key} is not a file", detail={"key": key})
    sha256 = None
    with suppress(OSError):
        sha256 = os.getxattr(fd, SHA256_ATTRIBUTE).decode()
    return StoredObject(key, found.st_size, found.st_mtime, sha256)


def fingerprint(found: os.stat_result) -> str:
    """A cheap name for a file's content that changes when the file is written or replaced."""
    return f"{found.st_size:x}-{found.st_mtime_ns:x}-{found.st_ino:x}"


def _walk(folder: str, prefix: str) -> Iterator[StoredObject]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{prefix}{entry.name}/")
            continue
        with suppress(FileNotFoundError):
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                yield StoredObject(f"{prefix}{entry.name}", found.st_size, found.st_mtime, None)


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

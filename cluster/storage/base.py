"""What every storage can do, and which names it can hold.

All methods are synchronous and thread-safe, and raise only `cluster.errors.StorageError`.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster.errors import InvalidKey

Check = Callable[[], None]
"""Called now and then by what takes long; it raises to end it."""

OCTETS = "application/octet-stream"
MAX_KEY_BYTES = 900  # S3 allows 1024, the storage's own prefix included
MAX_SEGMENT_BYTES = 200  # file systems allow 255 for a name, temporary suffixes included


def unwatched() -> None:
    """The check of whoever waits to the end."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as storage knows it."""

    key: str
    bytes: int
    modified_s: float  # Unix time of the last write, by the storage's clock
    sha256: str | None  # as it was written, in hex; None in listings and for objects that others wrote


class Storage(Protocol):
    """Objects under keys such as ``org/media/revision/manifest.json``.

    An object appears whole or not at all. A `prefix` names a folder: ``a/b`` holds ``a/b/c``, not ``a/bc``.
    """

    def put_file(
        self,
        key: str,
        path: Path,
        *,
        content_type: str = OCTETS,
        cache_control: str | None = None,
    ) -> StoredObject:
        """Store the file at `path`. Durable on return."""
        ...

    def put_bytes(
        self,
        key: str,
        data: bytes,
        *,
        content_type: str = OCTETS,
        cache_control: str | None = None,
        if_absent: bool = False,
    ) -> StoredObject:
        """Store `data`, as `put_file` does; ObjectExists when `if_absent` and somebody was first."""
        ...

    def get_file(self, key: str, path: Path, *, sha256: str | None = None) -> StoredObject:
        """Copy the object to `path`, which appears whole; ChecksumMismatch when its bytes are not `sha256`."""
        ...

    def get_bytes(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Bytes [start, start + length) of the object, fewer where it ends before."""
        ...

    def stat(self, key: str) -> StoredObject | None:
        """The object's facts, None when there is none."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """The objects in the folder `prefix` and below, "" is everything; in no promised order (servers differ)."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; fine when there is none."""
        ...

    def delete_prefix(self, prefix: str) -> None:
        """Remove the folder `prefix` and all below it; the empty prefix is refused."""
        ...

    def local_path(self, key: str) -> Path | None:
        """The object as a file of this machine, to be read only; None when the storage is elsewhere."""
        ...

    def url(self, key: str) -> str:
        """The address that a player or a person would use for the object."""
        ...

    def sweep_unfinished(self, older_than_s: float, is_ours: Callable[[str], bool]) -> int:
        """Remove what interrupted writes of keys that are ours, older than `older_than_s`, left; the number removed."""
        ...


def checked_key(key: str) -> str:
    """`key`, when every storage can hold it; InvalidKey otherwise.

    Relative, ``/`` between names, no empty name, none that begins with a dot (which covers ``..`` and the storage's
    own folders), no control characters or backslashes, at most 900 bytes and 200 per name.
    """
    problem = _problem(key)
    if problem is not None:
        raise InvalidKey(f"the key {key[:100]!r} {problem}")
    return key


def _problem(key: str) -> str | None:
    if any(ord(char) < 0x20 or ord(char) == 0x7F or 0xD800 <= ord(char) <= 0xDFFF or char == "\\" for char in key):
        return "has a control character, half a character or a backslash"
    if len(key.encode()) > MAX_KEY_BYTES:
        return f"is longer than {MAX_KEY_BYTES} bytes"
    for name in key.split("/"):
        if not name:
            return "has an empty part"
        if name.startswith("."):
            return "has a part that begins with a dot"
        if len(name.encode()) > MAX_SEGMENT_BYTES:
            return f"has a part of more than {MAX_SEGMENT_BYTES} bytes"
    return None


def checked_folder(prefix: str) -> str:
    """`prefix` as a folder name with exactly one slash at its end; "" stays ""."""
    name = prefix.removesuffix("/")
    return f"{checked_key(name)}/" if name else ""


def sha256_of(path: Path) -> str:
    """SHA-256 of the file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

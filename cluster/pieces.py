"""What the steps before the last one have stored: fetched and checked, or forgotten, so that it is made again."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import ChecksumMismatch, ObjectMissing, ResultsDamaged
from cluster.storage import Storage
from cluster.storage.base import sha256_of

FETCHES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """One stored media file of a job."""

    key: str
    sha256: str
    facts_key: str  # of the object that says that the step which made it is done


def read_facts(key: str, storage: Storage) -> Any:
    """The facts stored under `key`; ResultsDamaged when they are not there, or no facts."""
    try:
        return json.loads(storage.get_bytes(key))
    except ObjectMissing as error:
        raise ResultsDamaged("facts of a finished step are missing", detail={"keys": [key]}) from error
    except ValueError as error:
        storage.delete(key)
        raise ResultsDamaged("facts of a finished step are damaged", detail={"keys": [key]}) from error


def fetch(pieces: Sequence[Piece], folder: Path, storage: Storage) -> list[Path]:
    """Local files of `pieces`; ResultsDamaged when some are not what was stored: those are forgotten."""
    found = find(pieces, folder, storage)
    damaged = [piece for piece, path in zip(pieces, found, strict=True) if path is None]
    for piece in damaged:
        storage.delete(piece.facts_key)  # first, because it says that there is nothing to do
        storage.delete(piece.key)
    if damaged:
        raise ResultsDamaged(
            f"{len(damaged)} of {len(pieces)} stored results were damaged or missing",
            detail={"keys": [piece.key for piece in damaged[:20]]},
        )
    return [path for path in found if path is not None]


def find(pieces: Sequence[Piece], folder: Path, storage: Storage) -> list[Path | None]:
    """Local files of `pieces`; None for those that are missing or not what was stored."""

    def one(piece: Piece) -> Path | None:
        try:
            return local_file(piece.key, folder, storage, piece.sha256)
        except (ObjectMissing, ChecksumMismatch):
            return None

    with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
        return list(pool.map(one, pieces))


def local_file(key: str, folder: Path, storage: Storage, sha256: str | None = None) -> Path:
    """The object as a file: in place where storage is a folder of this machine, else downloaded into `folder`.

    ChecksumMismatch when its bytes are not `sha256`.
    """
    here = storage.local_path(key)
    if here is None:
        path = folder / hashlib.sha256(key.encode()).hexdigest()  # a key may be longer than the name of a file
        storage.get_file(key, path, sha256=sha256)
        return path
    if sha256 is not None and sha256_of(here) != sha256:
        raise ChecksumMismatch(f"{here} is not what was written", detail={"key": key})
    return here

"""Reading back what manifests list: sizes and SHA-256 of every artifact, of one item or of all below a place."""

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from cluster.errors import ChecksumMismatch, InvalidKey, ObjectMissing
from cluster.publish import MANIFEST
from cluster.storage import Storage
from cluster.storage.base import sha256_of
from cluster.work import SCRATCH

READ_BYTES = 8 * 1024 * 1024  # at a time, of each artifact that is read: nothing is kept on a disk
AT_ONCE = 8
AHEAD = 64  # artifacts that wait their turn: a place may hold millions


@dataclass(frozen=True, slots=True)
class Listed:
    """An artifact as its manifest has it; `problem` when that says nothing of use."""

    key: str
    sha256: str = ""
    bytes: int = 0
    problem: str | None = None


@dataclass(slots=True)
class Verified:
    """What was looked at; `damaged` says of each key below the place what is wrong with it."""

    manifests: int = 0
    artifacts: int = 0
    damaged: dict[str, str] = field(default_factory=dict)


def verify_below(storage: Storage) -> Verified:
    """Read everything that is listed by the manifest of `storage`'s root, or else by all manifests below it.

    A manifest that cannot be read is damaged itself. ObjectMissing when there is none; StorageError when storage does
    not answer.
    """
    told = Verified()
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="verify") as pool:
        waiting: deque[tuple[Listed, Future[str | None]]] = deque()
        for listed in _listed(storage, told):
            waiting.append((listed, pool.submit(_damage, listed, storage)))
            if len(waiting) >= AHEAD:
                _note(told, *waiting.popleft())
        for one in waiting:
            _note(told, *one)
    if not told.manifests:
        raise ObjectMissing(f"there is no {MANIFEST} in or below it")
    return told


def _note(told: Verified, listed: Listed, found: "Future[str | None]") -> None:
    if (problem := found.result()) is not None:
        told.damaged[listed.key] = problem


def _listed(storage: Storage, told: Verified) -> Iterator[Listed]:
    for key in _manifests(storage):
        told.manifests += 1
        for listed in _artifacts(key, storage):
            told.artifacts += listed.problem is None
            yield listed


def _manifests(storage: Storage) -> Iterator[str]:
    if storage.stat(MANIFEST) is not None:
        yield MANIFEST
        return
    for found in storage.list():
        if found.key.endswith(f"/{MANIFEST}") and not found.key.startswith(f"{SCRATCH}/"):
            yield found.key


def _artifacts(manifest: str, storage: Storage) -> Iterator[Listed]:
    folder = manifest.removesuffix(MANIFEST)
    try:
        listed = json.loads(storage.get_bytes(manifest))["artifacts"]
        found = [Listed(folder + str(a["path"]), str(a["sha256"]), int(a["bytes"])) for a in listed]
    except (ValueError, KeyError, TypeError):
        yield Listed(manifest, problem=f"is not a {MANIFEST} of the farm")
        return
    except ObjectMissing:  # taken down between the listing and now
        yield Listed(manifest, problem="missing")
        return
    yield from found


def _damage(listed: Listed, storage: Storage) -> str | None:
    """What is wrong with one artifact, None when nothing is."""
    if listed.problem is not None:
        return listed.problem
    try:
        found = storage.stat(listed.key)
        if found is None:
            return "missing"
        if found.bytes != listed.bytes:
            return f"{found.bytes} bytes instead of {listed.bytes}"
        return None if _sha256(listed, storage) == listed.sha256 else "its bytes are not those published"
    except ObjectMissing:
        return "missing"
    except (ChecksumMismatch, InvalidKey) as error:
        return error.public_message


def _sha256(listed: Listed, storage: Storage) -> str:
    if (here := storage.local_path(listed.key)) is not None:
        return sha256_of(here)
    digest = hashlib.sha256()
    for start in range(0, listed.bytes, READ_BYTES):
        digest.update(storage.get_bytes(listed.key, start=start, length=min(READ_BYTES, listed.bytes - start)))
    return digest.hexdigest()

"""Working folders on the local disk that do not outlive the process that made them.

Beside every folder lies a lock file, held for as long as the folder is in use: whoever can take the lock knows that its
owner is dead. Process ids would not do, because containers that share a disk count them each for itself.
"""

import errno
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import SettingsInvalid, StorageUnavailable
from pipelines.errors import MediaError, ScratchFull

LOCK = ".lock"
NO_ROOM_BYTES = 1_000_000  # what is smaller than a segment is no room
_NAME = re.compile(r"farm-[0-9a-f]{32}")  # others may keep their own folders here


@contextmanager
def workdir(root: Path) -> Iterator[Path]:
    """A fresh folder under `root`, removed at the end whatever happens; SettingsInvalid when there can be none."""
    root = root.absolute()
    path = root / f"farm-{uuid.uuid4().hex}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = _make(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ScratchFull(f"no room left in {root} (FARM_SCRATCH_DIR)") from error
        raise SettingsInvalid(f"FARM_SCRATCH_DIR: no folder can be made in {root}: {error.strerror}") from error
    try:
        yield path
    finally:
        _remove(path, lock)


@contextmanager
def typed_disk_errors(root: Path) -> Iterator[None]:
    """Every OSError inside is one of the working disk at `root`: ScratchFull, or StorageUnavailable."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ScratchFull(f"no space is left below {root}: free some or set FARM_SCRATCH_DIR") from error
        raise StorageUnavailable(f"the working disk failed: {error.strerror or error}") from error


@contextmanager
def blamed_on_full_disk(root: Path) -> Iterator[None]:
    """Whatever a media process reports or dies of while no room is left at `root` is ScratchFull.

    Libraries seldom say so: FFmpeg's MP4 writer crashes when it is used again after it found no room, the packager only
    fails.
    """
    try:
        yield
    except MediaError as error:
        if isinstance(error, ScratchFull) or shutil.disk_usage(root).free > NO_ROOM_BYTES:
            raise
        raise ScratchFull(
            f"no space is left below {root}: free some or set FARM_SCRATCH_DIR",
            detail={"instead_of": error.code, **error.detail},
        ) from error


def sweep_dead(root: Path) -> int:
    """Remove the folders of processes that were killed; the number removed."""
    removed = 0
    for name in {found.name.removesuffix(LOCK) for found in root.glob("farm-*")}:
        path = root / name
        if not _NAME.fullmatch(name):
            continue
        try:
            lock = _try_lock(path)
        except OSError:  # no room for the file, or another user's folder: somebody else's to tidy up
            continue
        if lock is not None:
            removed += path.exists()
            _remove(path, lock)
    return removed


def _make(path: Path) -> int:
    """Make the folder; its lock comes first and goes last, so that a folder in use is never without."""
    while (lock := _try_lock(path)) is None:
        pass  # a sweep holds it for a moment, to find that there is nothing to remove yet
    try:
        path.mkdir(mode=0o700)
    except OSError:
        _remove(path, lock)
        raise
    return lock


def _remove(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    _lock_path(path).unlink(missing_ok=True)
    os.close(lock)


def _try_lock(path: Path) -> int | None:
    """The descriptor that holds the lock of the folder `path` until it is closed; None while somebody else has it."""
    file = _lock_path(path)
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    taken = False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A lock on a file that was removed meanwhile protects nothing: somebody may hold its successor.
        taken = file.stat().st_ino == os.fstat(fd).st_ino
    except (BlockingIOError, FileNotFoundError):
        pass
    finally:
        if not taken:
            os.close(fd)
    return fd if taken else None


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}{LOCK}")

"""Downloaded sources on the local disk, shared by all processes of the machine.

Every file has a lock file beside it. Readers hold it shared, a download or a removal holds it alone: a file in use is
never removed, and a process that is killed lets go by dying.
"""

import fcntl
import os
import random
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cluster.errors import StorageFull, StorageUnavailable
from cluster.storage.base import Check, unwatched

LOCK_WAIT_S = 3600.0  # somebody else's download; the job's own deadline is usually shorter
FETCH_ATTEMPTS = 8


class SourceCache:
    """Files under `folder`; those nobody uses are removed, longest unused first, down to `max_bytes`.

    What was fetched stays until `release`, or until this object is gone.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._held: dict[str, int] = {}  # the shared locks, by name
        weakref.finalize(self, _close_all, self._held)

    def fetch(self, name: str, download: Callable[[Path], None], check: Check = unwatched) -> Path:
        """The file `name`, made by `download` when it is not there; kept until `release`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / name
        if name in self._held:
            return path
        for _ in range(FETCH_ATTEMPTS):
            shared = self._lock(name, fcntl.LOCK_SH, check)
            if path.exists():
                os.utime(path)  # the time of last use
                if self._held.setdefault(name, shared) != shared:
                    os.close(shared)  # another thread was as fast
                return path
            os.close(shared)
            alone = self._lock(name, fcntl.LOCK_EX, check)
            try:
                if not path.exists():
                    self._download(path, download)
            finally:
                os.close(alone)
        raise StorageUnavailable(f"{path} is removed as often as it is downloaded")

    def release(self) -> None:
        """Let go of every file that was fetched."""
        _close_all(self._held)

    def _download(self, path: Path, download: Callable[[Path], None]) -> None:
        part = path.with_name(f"{path.name}.part")
        part.unlink(missing_ok=True)
        try:
            download(part)
            part.replace(path)
        except StorageFull:
            self._sweep(0)  # so that the next attempt finds room
            raise
        finally:
            part.unlink(missing_ok=True)
        self._sweep(self._max_bytes)

    def _sweep(self, max_bytes: int) -> None:
        """Remove what nobody uses until at most `max_bytes` are left."""
        found = []
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):
                if path.suffix != ".lock":
                    found.append((path.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= max_bytes:
                return
            if self._remove(path):
                total -= size

    def _remove(self, path: Path) -> bool:
        name = path.name.removesuffix(".part")
        fd = self._try_lock(name, fcntl.LOCK_EX)
        if fd is None:
            return False
        try:
            path.unlink(missing_ok=True)
            self._lock_path(name).unlink(missing_ok=True)
        finally:
            os.close(fd)
        return True

    def _lock_path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"

    def _lock(self, name: str, mode: int, check: Check) -> int:
        deadline = time.monotonic() + LOCK_WAIT_S
        pause_s = 0.01
        while True:
            check()
            fd = self._try_lock(name, mode)
            if fd is not None:
                return fd
            if time.monotonic() > deadline:
                raise StorageUnavailable(f"{self._folder / name} was locked for {LOCK_WAIT_S:.0f} s")
            time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 (jitter, no secret)
            pause_s = min(0.5, pause_s * 2)

    def _try_lock(self, name: str, mode: int) -> int | None:
        path = self._lock_path(name)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, mode | fcntl.LOCK_NB)
            # A lock on a file that was removed meanwhile protects nothing: somebody may hold its successor.
            if path.stat().st_ino == os.fstat(fd).st_ino:
                return fd
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(fd)
        return None


def _close_all(held: dict[str, int]) -> None:
    while held:
        os.close(held.popitem()[1])

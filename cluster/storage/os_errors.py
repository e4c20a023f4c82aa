"""Errors of the operating system as ours."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import (
    InvalidKey,
    ObjectExists,
    ObjectMissing,
    StorageError,
    StorageFull,
    StorageRefused,
    StorageUnavailable,
)


@contextmanager
def typed_os_errors(path: Path | str) -> Iterator[None]:
    """Every OSError inside becomes a StorageError that names the path."""
    try:
        yield
    except OSError as error:
        raise typed_os_error(error, path) from error


def typed_os_error(error: OSError, path: Path | str) -> StorageError:
    """The StorageError that says what `error`, met at `path`, means."""
    detail = {"path": str(path), "errno": errno.errorcode.get(error.errno or 0, "?")}
    match error.errno:
        case errno.ENOENT:
            return ObjectMissing(f"there is no object {path}", detail=detail)
        case errno.EEXIST:
            return ObjectExists(f"{path} exists already", detail=detail)
        case errno.ENOSPC | errno.EDQUOT:
            return StorageFull(f"no room left to write {path} ({_free_bytes(Path(path))} bytes free)", detail=detail)
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return StorageRefused(f"{path}: {error.strerror}", detail=detail)
        case errno.ENOTDIR | errno.EISDIR | errno.ENAMETOOLONG:
            return InvalidKey(f"{path}: {error.strerror}", detail=detail)
        case _:
            return StorageUnavailable(f"{path}: {error.strerror}", detail=detail)


def _free_bytes(path: Path) -> int:
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free

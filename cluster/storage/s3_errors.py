"""Which of our errors each error of boto3 is."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError

from cluster.errors import (
    ChecksumMismatch,
    InvalidKey,
    ObjectExists,
    ObjectMissing,
    StorageError,
    StorageFull,
    StorageRefused,
    StorageUnavailable,
)

_BY_CODE: dict[str, type[StorageError]] = {
    "NoSuchKey": ObjectMissing,
    "PreconditionFailed": ObjectExists,
    "BadDigest": ChecksumMismatch,
    "InvalidDigest": ChecksumMismatch,
    "XAmzContentSHA256Mismatch": ChecksumMismatch,
    "XAmzContentChecksumMismatch": ChecksumMismatch,
    "KeyTooLongError": InvalidKey,
    "InsufficientStorage": StorageFull,
    "QuotaExceeded": StorageFull,
    "XMinioStorageFull": StorageFull,
    "RequestTimeout": StorageUnavailable,
    "RequestTimeTooSkewed": StorageRefused,
    "ConditionalRequestConflict": StorageUnavailable,  # two conditional writes at once: neither has won yet
    "OperationAborted": StorageUnavailable,
}
_BY_STATUS: dict[int, type[StorageError]] = {
    404: ObjectMissing,
    408: StorageUnavailable,
    412: ObjectExists,
    429: StorageUnavailable,
    507: StorageFull,
}
# What no later attempt can change: the machine has no (usable) credentials, or we asked nonsense.
_REFUSED = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.ParamValidationError,
    boto.NoRegionError,
)


@contextmanager
def typed(uri: str) -> Iterator[None]:
    """Every error of boto3 inside becomes a StorageError that names `uri`."""
    try:
        yield
    except ClientError as error:
        raise _from_answer(error, uri) from error
    except BotoCoreError as error:
        kind = StorageRefused if isinstance(error, _REFUSED) else StorageUnavailable
        raise kind(f"{uri}: {error}", detail={"uri": uri}) from error
    except OSError as error:  # of the local file that is sent or written
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        name = Path(str(error.filename or uri))
        raise StorageFull(f"no room left to write {name}", detail={"path": str(name)}) from error


def _from_answer(error: ClientError, uri: str) -> StorageError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    by_status = StorageUnavailable if status >= 500 else StorageRefused
    kind = _BY_CODE.get(code) or (StorageRefused if code == "NoSuchBucket" else _BY_STATUS.get(status, by_status))
    return kind(f"{uri}: {code} (HTTP {status})", detail={"uri": uri, "s3_code": code, "status": status})

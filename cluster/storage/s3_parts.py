"""Large objects to and from S3 in parts, some at a time.

The functions raise boto3's own errors; the caller types them.
"""

import base64
import hashlib
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from cluster.errors import ChecksumMismatch, ObjectChanged
from cluster.storage.base import Check, unwatched

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART_BYTES = 16 * 1024 * 1024
MAX_PARTS = 9_000  # S3 takes 10,000
PARALLEL = 4  # times PART_BYTES of memory
BODY_ATTEMPTS = 4  # the client's own retries end where the body begins


class UploadGone(Exception):
    """The server knows no such upload: it was completed by an attempt whose answer was lost, or swept."""


def upload(client: "S3Client", target: dict[str, Any], path: Path, size: int, headers: dict[str, Any]) -> None:
    """Send the file at `path` as one object; on any error nothing of it stays.

    Each part carries its SHA-256; afterwards the server must report the checksum that these make together.
    """
    part_bytes = max(PART_BYTES, -(-size // MAX_PARTS))
    created = client.create_multipart_upload(**target, ChecksumAlgorithm="SHA256", **headers)
    upload_id = created["UploadId"]

    def send(number: int) -> tuple[dict[str, Any], bytes]:
        with path.open("rb") as file:
            data = os.pread(file.fileno(), part_bytes, (number - 1) * part_bytes)
        digest = hashlib.sha256(data).digest()
        checksum = base64.b64encode(digest).decode()
        answer = client.upload_part(**target, UploadId=upload_id, PartNumber=number, Body=data, ChecksumSHA256=checksum)
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}, digest

    try:
        sent = _in_parallel(send, range(1, -(-size // part_bytes) + 1))
        _complete(client, target, upload_id, [part for part, _ in sent])
    except BaseException:
        with suppress(ClientError, BotoCoreError):
            client.abort_multipart_upload(**target, UploadId=upload_id)
        raise
    _check_composite(client, target, [digest for _, digest in sent])


def _complete(client: "S3Client", target: dict[str, Any], upload_id: str, parts: list[dict[str, Any]]) -> None:
    whole: Any = {"Parts": parts}
    try:
        client.complete_multipart_upload(**target, UploadId=upload_id, MultipartUpload=whole)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchUpload":
            raise UploadGone from error
        raise


def _check_composite(client: "S3Client", target: dict[str, Any], digests: list[bytes]) -> None:
    """Compare the whole object's checksum with that of the parts as they were sent."""
    expected = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode()
    stored = client.head_object(**target, ChecksumMode="ENABLED").get("ChecksumSHA256", "")
    # A server without composite checksums reports none, or one of another kind.
    if stored.endswith(f"-{len(digests)}") and stored != f"{expected}-{len(digests)}":
        client.delete_object(**target)
        raise ChecksumMismatch(f"s3://{target['Bucket']}/{target['Key']} was not stored as it was sent")


def download(
    client: "S3Client", target: dict[str, Any], path: Path, etag: str | None = None, check: Check = unwatched
) -> Any:
    """Write the object to `path`; the answer's headers come back. With `etag`, only that version of it.

    ObjectChanged when another version appears, also in the middle; what `check` raises, before any part.
    """
    with path.open("xb") as file:
        first, data = _get(client, target, 0, PART_BYTES, etag)
        os.pwrite(file.fileno(), data, 0)
        size, version = total_bytes(first), first["ETag"]

        def fetch(start: int) -> None:
            check()
            _, part = _get(client, target, start, min(start + PART_BYTES, size), version)
            _write_all(file.fileno(), part, start)

        _in_parallel(fetch, range(PART_BYTES, size, PART_BYTES))
        file.flush()
        os.fsync(file.fileno())
    if path.stat().st_size != size:
        raise ObjectChanged(f"s3://{target['Bucket']}/{target['Key']} did not come whole")
    return first


def read(client: "S3Client", target: dict[str, Any], start: int, end: int | None) -> bytes:
    """Bytes [start, end) of the object, fewer where it ends before."""
    return _get(client, target, start, end, None)[1]


def total_bytes(answer: Any) -> int:
    """The size of the whole object, from the headers of a HEAD or of a GET of some of it."""
    if "ContentRange" in answer:
        return int(answer["ContentRange"].rpartition("/")[2])
    return int(answer["ContentLength"])


def _get(
    client: "S3Client", target: dict[str, Any], start: int, end: int | None, etag: str | None
) -> tuple[Any, bytes]:
    """One range, tried again when the connection breaks while the body comes."""
    condition: dict[str, Any] = {"IfMatch": etag} if etag else {}
    wanted = f"bytes={start}-{'' if end is None else end - 1}"
    for attempt in range(1, BODY_ATTEMPTS + 1):
        try:
            answer = client.get_object(**target, Range=wanted, **condition)
            return answer, answer["Body"].read()  # which raises when it ends before its ContentLength
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 416:  # the object ends before `start`
                return client.head_object(**target), b""
            if status == 412:
                raise ObjectChanged(f"s3://{target['Bucket']}/{target['Key']} was replaced") from error
            raise
        except BotoCoreError:
            if attempt == BODY_ATTEMPTS:
                raise
        time.sleep(0.1 * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311 (jitter, no secret)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _in_parallel[R](work: Callable[[int], R], items: range) -> list[R]:
    """`work` of every item, a few at a time, in the order of `items`; the first error ends the rest."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        futures: list[Future[R]] = [pool.submit(work, item) for item in items]
        wait(futures, return_when=FIRST_EXCEPTION)
        for future in futures:
            if future.done() and not future.cancelled() and future.exception() is not None:
                pool.shutdown(cancel_futures=True)
                future.result()
        return [future.result() for future in futures]

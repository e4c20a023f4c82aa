"""Storage in an S3 bucket: AWS, or any server that speaks its language.

Every write carries its SHA-256, which the server checks, and a mark of its own: an answer lost on the way makes the
client repeat a conditional write, and the mark tells "somebody else was first" from "that was me".
"""

import base64
import functools
import hashlib
import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import boto3
from botocore.client import Config

from cluster.errors import ChecksumMismatch, InvalidKey, ObjectExists, StorageRefused
from cluster.settings import StorageSettings
from cluster.storage import s3_parts
from cluster.storage.base import OCTETS, StoredObject, checked_folder, checked_key, sha256_of
from cluster.storage.s3_errors import typed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DELETE_BATCH = 1000  # S3's limit for one DeleteObjects call


def client_for(settings: StorageSettings) -> "S3Client":
    """The process's client for these settings; clients are thread-safe, and dear to make."""
    secret = settings.s3_secret_access_key
    return _client(
        settings.s3_endpoint,
        settings.s3_region,
        settings.s3_access_key_id,
        secret.get_secret_value() if secret else None,
    )


@functools.cache
def _client(endpoint: str | None, region: str, key_id: str | None, secret: str | None) -> "S3Client":
    config = Config(
        connect_timeout=5,
        read_timeout=60,
        # "standard": exponential back-off with jitter, also on SlowDown; at most about 7 s of waiting.
        retries={"mode": "standard", "total_max_attempts": 4},
        # Names like bucket.127.0.0.1 do not resolve; AWS itself wants them.
        s3={"addressing_style": "path" if endpoint else "auto"},
        # We send SHA-256 ourselves; the client's own CRC32 trailers are unknown to some servers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=32,
    )
    # A session of our own: the default session is shared, and not thread-safe while it makes a client.
    session = boto3.session.Session(aws_access_key_id=key_id, aws_secret_access_key=secret, region_name=region)
    try:
        return session.client("s3", endpoint_url=endpoint, config=config)
    except ValueError as error:
        raise StorageRefused(f"the S3 settings cannot be used: {error}") from None


def bucket_url(bucket: str, settings: StorageSettings) -> str:
    """The address under which the bucket's objects are, for a client that may read them."""
    if settings.s3_endpoint:
        return f"{settings.s3_endpoint}/{bucket}"
    return f"https://{bucket}.s3.{settings.s3_region}.amazonaws.com"


class S3Storage:
    """Objects in `bucket` under `prefix` (no slashes at its ends; may be empty)."""

    def __init__(self, client: "S3Client", bucket: str, prefix: str, *, base_url: str) -> None:
        self._client = client
        self._bucket = bucket
        self._base = f"{prefix}/" if prefix else ""
        self._base_url = base_url.rstrip("/")

    def put_file(
        self,
        key: str,
        path: Path,
        *,
        content_type: str = OCTETS,
        cache_control: str | None = None,
    ) -> StoredObject:
        """See `Storage.put_file`; above 16 MiB in parts, some at a time."""
        size = path.stat().st_size
        if size <= s3_parts.PART_BYTES:
            return self.put_bytes(key, path.read_bytes(), content_type=content_type, cache_control=cache_control)
        written = _Written(sha256_of(path), content_type, cache_control)
        try:
            with typed(self._uri(key)):
                s3_parts.upload(self._client, self._target(key), path, size, written.headers)
        except s3_parts.UploadGone:
            self._unless_mine(key, written)
        found = self._required(key)
        if found.bytes != size or found.sha256 != written.sha256:
            raise ChecksumMismatch(f"{self._uri(key)} was not stored as it was sent", detail={"key": key})
        return found

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
        digest = hashlib.sha256(data)
        written = _Written(digest.hexdigest(), content_type, cache_control)
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {}
        checksum = base64.b64encode(digest.digest()).decode()
        try:
            with typed(self._uri(key)):
                self._client.put_object(
                    **self._target(key), Body=data, ChecksumSHA256=checksum, **written.headers, **condition
                )
        except ObjectExists:
            return self._unless_mine(key, written)
        now_s = datetime.now(UTC).timestamp()
        return StoredObject(key, len(data), now_s, written.sha256)

    def get_file(self, key: str, path: Path, *, sha256: str | None = None) -> StoredObject:
        """See `Storage.get_file`; large objects in parts, some at a time."""
        target = self._target(key)
        temp = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
        try:
            with typed(self._uri(key)):
                head = s3_parts.download(self._client, target, temp)
            found = _stored(key, head)
            actual = sha256_of(temp)
            expected = sha256 or found.sha256
            if expected not in (None, actual):
                raise ChecksumMismatch(
                    f"{self._uri(key)} is not what was written", detail={"key": key, "sha256": actual}
                )
            temp.replace(path)
        finally:
            temp.unlink(missing_ok=True)
        return found

    def get_bytes(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """See `Storage.get_bytes`."""
        if length == 0:
            self._required(key)
            return b""
        end = None if length is None else start + length
        with typed(self._uri(key)):
            return s3_parts.read(self._client, self._target(key), start, end)

    def stat(self, key: str) -> StoredObject | None:
        """See `Storage.stat`."""
        with typed(self._uri(key)):
            try:
                return _stored(key, self._client.head_object(**self._target(key)))
            except self._client.exceptions.ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                    return None
                raise

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """See `Storage.list`."""
        with typed(self._uri(prefix)):
            for item in self._items(checked_folder(prefix)):
                key = item["Key"][len(self._base) :]
                yield StoredObject(key, item["Size"], item["LastModified"].timestamp(), None)

    def delete(self, key: str) -> None:
        """See `Storage.delete`."""
        with typed(self._uri(key)):
            self._client.delete_object(**self._target(key))

    def delete_prefix(self, prefix: str) -> None:
        """See `Storage.delete_prefix`."""
        folder = checked_folder(prefix)
        if not folder:
            raise InvalidKey("deleting everything at once is not offered")
        with typed(self._uri(prefix)):
            for batch in itertools.batched(self._items(folder), DELETE_BATCH):
                self._delete([item["Key"] for item in batch])

    def local_path(self, key: str) -> Path | None:
        """Always None: the objects are elsewhere."""
        checked_key(key)
        return None

    def url(self, key: str) -> str:
        """See `Storage.url`."""
        return f"{self._base_url}/{quote(checked_key(key))}"

    def sweep_unfinished(self, older_than_s: float, is_ours: Callable[[str], bool]) -> int:
        """See `Storage.sweep_unfinished`; an upload's age counts from its beginning.

        Other clients may be uploading to the same bucket, also below this storage's prefix: theirs are left alone.
        """
        before = datetime.now(UTC) - timedelta(seconds=older_than_s)
        removed = 0
        with typed(self._uri("")):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._base
            )
            for page in pages:
                for upload in page.get("Uploads", []):
                    if upload["Initiated"] <= before and is_ours(upload["Key"][len(self._base) :]):
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        removed += 1
        return removed

    def _target(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._base + checked_key(key)}

    def _uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._base}{key}"

    def _items(self, folder: str) -> Iterator[Any]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._base + folder)
        for page in pages:
            yield from page.get("Contents", [])

    def _delete(self, names: Iterable[str]) -> None:
        doomed: Any = {"Objects": [{"Key": name} for name in names], "Quiet": True}
        answer = self._client.delete_objects(Bucket=self._bucket, Delete=doomed)
        for failure in answer.get("Errors", []):
            raise StorageRefused(f"s3://{self._bucket}/{failure.get('Key')} was not deleted: {failure.get('Code')}")

    def _required(self, key: str) -> StoredObject:
        with typed(self._uri(key)):
            return _stored(key, self._client.head_object(**self._target(key)))

    def _unless_mine(self, key: str, written: "_Written") -> StoredObject:
        """The object, when it is this very write whose answer was lost; ObjectExists otherwise."""
        with typed(self._uri(key)):
            head = self._client.head_object(**self._target(key))
        if head.get("Metadata", {}).get("write") != written.mark:
            raise ObjectExists(f"{self._uri(key)} exists already", detail={"key": key})
        return _stored(key, head)


class _Written:
    """The headers of one write, with a mark that no other write has."""

    def __init__(self, sha256: str, content_type: str, cache_control: str | None) -> None:
        self.sha256 = sha256
        self.mark = uuid.uuid4().hex
        self.headers: dict[str, Any] = {
            "ContentType": content_type,
            "Metadata": {"sha256": sha256, "write": self.mark},
            **({"CacheControl": cache_control} if cache_control else {}),
        }


def _stored(key: str, head: Any) -> StoredObject:
    """The facts of a HEAD or GET answer."""
    return StoredObject(
        key=key,
        bytes=s3_parts.total_bytes(head),
        modified_s=head["LastModified"].timestamp(),
        sha256=head.get("Metadata", {}).get("sha256"),
    )

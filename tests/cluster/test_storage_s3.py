"""What only the storage in a bucket has to be careful with: a network, a server, credentials."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import (
    ChecksumMismatch,
    InvalidKey,
    ObjectChanged,
    ObjectExists,
    StorageRefused,
    StorageUnavailable,
)
from cluster.jobs.model import new_id
from cluster.storage import Storage, open_storage, s3_parts
from cluster.storage.s3 import client_for
from cluster.sweep import is_farms_key
from tests.support.ports import free_ports
from tests.support.proxy import Proxy, proxying
from tests.support.seaweed import SECRET_KEY, Seaweed

pytestmark = pytest.mark.s3
LARGE = 40_000_000


@pytest.fixture
def proxy(seaweed: Seaweed) -> Iterator[Proxy]:
    with proxying(seaweed.endpoint) as one:
        yield one


@pytest.fixture
def behind_proxy(seaweed: Seaweed, proxy: Proxy, s3_uri: str) -> Storage:
    return open_storage(s3_uri, seaweed.settings(s3_endpoint=proxy.endpoint))


def once(method: bytes, fate: str | int, *, with_: bytes = b"") -> Callable[[bytes], str | int | None]:
    """A Proxy.spoil that spoils the answer to the first request of that kind."""
    left = [1]

    def spoil(line: bytes) -> str | int | None:
        if left and line.startswith(method) and with_ in line:
            left.pop()
            return fate
        return None

    return spoil


def test_what_a_browser_must_know_is_stored_with_the_object(seaweed: Seaweed, s3_uri: str, tmp_path: Path) -> None:
    storage = open_storage(s3_uri, seaweed.settings())
    (tmp_path / "large").write_bytes(bytes(LARGE))
    kept: dict[str, Any] = {"content_type": "video/mp4", "cache_control": "public, max-age=31536000, immutable"}
    storage.put_bytes("small", b"x", **kept)
    storage.put_file("large", tmp_path / "large", **kept)
    client = seaweed.client()
    for name in ("small", "large"):
        bucket, _, prefix = s3_uri.removeprefix("s3://").partition("/")
        head = client.head_object(Bucket=bucket, Key=f"{prefix}/{name}")
        assert (head["ContentType"], head["CacheControl"]) == (kept["content_type"], kept["cache_control"])
    client.close()


def test_a_write_whose_answer_is_lost_is_not_mistaken_for_somebody_elses(behind_proxy: Storage, proxy: Proxy) -> None:
    proxy.spoil = once(b"PUT ", "drop")
    assert behind_proxy.put_bytes("once", bytes(10), if_absent=True).bytes == 10
    assert len([line for line in proxy.lines if line.startswith(b"PUT ")]) > 1, "nothing was lost"
    with pytest.raises(ObjectExists):
        behind_proxy.put_bytes("once", bytes(10), if_absent=True)


def test_a_large_file_whose_last_answer_is_lost_is_stored(behind_proxy: Storage, proxy: Proxy, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(bytes(LARGE))
    proxy.spoil = once(b"POST ", "drop", with_=b"uploadId")
    assert behind_proxy.put_file("large", tmp_path / "in").bytes == LARGE
    sent = [line for line in proxy.lines if line.startswith(b"POST ") and b"uploadId" in line]
    assert len(sent) > 1, "nothing was lost"


@pytest.mark.parametrize("break_after", [100, 5_000_000])
def test_a_download_goes_on_when_the_connection_breaks_in_the_middle(
    behind_proxy: Storage, proxy: Proxy, tmp_path: Path, break_after: int
) -> None:
    data = bytes(range(256)) * (LARGE // 256)
    (tmp_path / "in").write_bytes(data)
    behind_proxy.put_file("a", tmp_path / "in")
    proxy.spoil = once(b"GET ", break_after)
    behind_proxy.get_file("a", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    proxy.spoil = once(b"GET ", break_after)
    assert behind_proxy.get_bytes("a") == data


@pytest.mark.parametrize("size", [1000, LARGE])
def test_bytes_that_change_on_the_way_are_not_stored(
    behind_proxy: Storage, proxy: Proxy, tmp_path: Path, size: int
) -> None:
    (tmp_path / "in").write_bytes(b"\0" * (size - 4) + b"good")
    proxy.corrupt = lambda data: data.replace(b"good", b"evil")
    with pytest.raises(ChecksumMismatch):
        behind_proxy.put_file("a", tmp_path / "in")
    assert behind_proxy.stat("a") is None


def test_an_upload_that_fails_leaves_no_parts_to_be_paid_for(
    seaweed: Seaweed, s3_uri: str, behind_proxy: Storage, proxy: Proxy, tmp_path: Path
) -> None:
    (tmp_path / "in").write_bytes(bytes(LARGE))
    proxy.spoil = lambda line: "drop" if b"partNumber=2" in line else None
    with pytest.raises(StorageUnavailable):
        behind_proxy.put_file("a", tmp_path / "in")
    assert unfinished(seaweed, s3_uri) == []


OURS = [f"scratch/{new_id()}/0123456789abcdef/frames.i64", "acme/clip.1/0123456789abcdef/mp4/720p.mp4"]
OTHERS = [
    "backup.tar",
    "dumps/db/2026-11-24/all.sql",
    "acme/clip.1/original.mov",
    "scratch/renders/a.exr",
    "scratch/renders/0123456789abcdef/a.exr",
    f"uploads/scratch/{new_id()}/a.mov",
]


@pytest.mark.parametrize("prefix", ["", "media/farm"])
def test_uploads_of_dead_writers_are_swept_by_age_and_those_of_other_clients_are_left(
    seaweed: Seaweed, prefix: str
) -> None:
    bucket = f"shared-{uuid.uuid4().hex[:8]}"
    uri = f"s3://{bucket}/{prefix}".rstrip("/")
    storage, base = open_storage(uri, seaweed.settings()), f"{prefix}/" if prefix else ""
    client = seaweed.client()
    client.create_bucket(Bucket=bucket)
    for key in OURS + OTHERS:
        client.create_multipart_upload(Bucket=bucket, Key=base + key)
    client.close()
    assert storage.sweep_unfinished(3600, is_farms_key) == 0
    assert len(unfinished(seaweed, uri)) == len(OURS + OTHERS)
    assert storage.sweep_unfinished(-60, is_farms_key) == len(OURS)
    assert sorted(unfinished(seaweed, uri)) == sorted(base + key for key in OTHERS)


def unfinished(seaweed: Seaweed, s3_uri: str) -> list[str]:
    bucket, _, prefix = s3_uri.removeprefix("s3://").partition("/")
    client = seaweed.client()
    found = client.list_multipart_uploads(Bucket=bucket, Prefix=f"{prefix}/" if prefix else "").get("Uploads", [])
    client.close()
    return [upload["Key"] for upload in found]


def test_an_object_replaced_during_its_download_is_never_a_mixture(
    seaweed: Seaweed, s3_uri: str, proxy: Proxy, tmp_path: Path
) -> None:
    settings = seaweed.settings()
    storage = open_storage(s3_uri, settings)
    (tmp_path / "1").write_bytes(b"1" * LARGE)
    (tmp_path / "2").write_bytes(b"2" * LARGE)
    storage.put_file("a", tmp_path / "1")
    replaced = threading.Event()

    def replace_after_the_first_part(line: bytes) -> None:
        if line.startswith(b"GET ") and not replaced.is_set():
            replaced.set()
            storage.put_file("a", tmp_path / "2")

    # The first part is answered from the old object; its answer is held back until the new one is there.
    proxy.spoil = replace_after_the_first_part
    bucket, _, prefix = s3_uri.removeprefix("s3://").partition("/")
    client = client_for(seaweed.settings(s3_endpoint=proxy.endpoint))
    with pytest.raises(ObjectChanged):
        s3_parts.download(client, {"Bucket": bucket, "Key": f"{prefix}/a"}, tmp_path / "out")
    assert replaced.is_set()


def test_content_that_belies_its_checksum_is_refused(seaweed: Seaweed, s3_uri: str, tmp_path: Path) -> None:
    storage = open_storage(s3_uri, seaweed.settings())
    bucket, _, prefix = s3_uri.removeprefix("s3://").partition("/")
    client = seaweed.client()
    client.put_object(Bucket=bucket, Key=f"{prefix}/a", Body=b"evil", Metadata={"sha256": "0" * 64})
    client.close()
    with pytest.raises(ChecksumMismatch):
        storage.get_file("a", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_wrong_credentials_and_missing_buckets_are_refusals_that_nobody_repeats(seaweed: Seaweed, s3_uri: str) -> None:
    places = [
        open_storage(s3_uri, seaweed.settings(s3_secret_access_key="wrong-secret")),
        open_storage(s3_uri, seaweed.settings(s3_access_key_id="nobody")),
        open_storage("s3://no-such-bucket/x", seaweed.settings()),
    ]
    for place in places:
        with pytest.raises(StorageRefused) as reading:
            place.get_bytes("a")
        with pytest.raises(StorageRefused) as listing:
            list(place.list())
        for caught in (reading, listing):
            assert not caught.value.retryable
            for secret in ("wrong-secret", SECRET_KEY):
                assert secret not in str(caught.value.to_wire())


def test_a_server_that_is_not_there_is_said_so_within_seconds(seaweed: Seaweed) -> None:
    storage = open_storage("s3://bucket/x", seaweed.settings(s3_endpoint=f"http://127.0.0.1:{free_ports(1)[0]}"))
    started = time.monotonic()
    with pytest.raises(StorageUnavailable) as caught:
        storage.get_bytes("a")
    assert caught.value.retryable
    assert time.monotonic() - started < 20


def test_the_whole_bucket_is_never_deleted_by_an_empty_name(seaweed: Seaweed, bucket: str) -> None:
    with pytest.raises(InvalidKey):
        open_storage(f"s3://{bucket}", seaweed.settings()).delete_prefix("")


def test_addresses_lead_to_the_server_to_aws_or_to_the_cdn(seaweed: Seaweed) -> None:
    assert open_storage("s3://bucket/p x", seaweed.settings()).url("a") == f"{seaweed.endpoint}/bucket/p%20x/a"
    aws = seaweed.settings(s3_endpoint=None, s3_region="eu-west-1")
    assert open_storage("s3://bucket", aws).url("a") == "https://bucket.s3.eu-west-1.amazonaws.com/a"
    cdn = seaweed.settings(storage_uri="s3://bucket/out", public_url="https://cdn.example.com/v/")
    assert open_storage("s3://bucket/out/", cdn).url("a/b") == "https://cdn.example.com/v/a/b"
    assert open_storage("s3://bucket/scratch", cdn).url("a") == f"{seaweed.endpoint}/bucket/scratch/a"

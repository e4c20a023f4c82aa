"""Sources: known before they are read, read from one copy per machine, and never another version."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from cluster.errors import ForbiddenUri, SourceChanged, SourceMissing, StorageFull, StorageRefused
from cluster.media_process import Cancelled, Watch
from cluster.settings import StorageSettings
from cluster.storage.cache import SourceCache
from cluster.storage.sources import Sources, file_uri, source_of
from cluster.storage.urls import AllowedSources
from tests.support.proxy import Proxy, proxying
from tests.support.seaweed import Seaweed

SIZE = 20_000_000


@pytest.fixture
def settings(tmp_path: Path) -> StorageSettings:
    return StorageSettings(data_dir=tmp_path / "data")


@pytest.fixture
def proxy(seaweed: Seaweed) -> Iterator[Proxy]:
    with proxying(seaweed.endpoint) as one:
        yield one


@pytest.fixture
def s3_settings(seaweed: Seaweed, proxy: Proxy, tmp_path: Path) -> StorageSettings:
    """Settings of a machine with a cache of its own, whose requests the proxy sees."""
    return seaweed.settings(s3_endpoint=proxy.endpoint, source_cache_dir=tmp_path / "cache")


@pytest.fixture
def upload(seaweed: Seaweed, bucket: str) -> Iterator[Callable[..., str]]:
    """Puts bytes into the bucket; their URI comes back."""
    client = seaweed.client()

    def put(data: bytes, key: str | None = None) -> str:
        key = key or f"uploads/{uuid.uuid4().hex}.MP4"
        client.put_object(Bucket=bucket, Key=key, Body=data)
        return f"s3://{bucket}/{key}"

    yield put
    client.close()


def downloads(proxy: Proxy) -> int:
    return len([line for line in proxy.lines if line.startswith(b"GET ")])


def test_a_file_is_used_where_it_lies(settings: StorageSettings, tmp_path: Path) -> None:
    path = tmp_path / "ä #1 100%.mp4"
    path.write_bytes(b"12345")
    found = source_of(str(path), settings)
    assert found.size_bytes == 5
    with Sources(settings, AllowedSources([tmp_path.as_uri()])) as sources:
        assert sources.open(found.uri) == found
        assert sources.fetch(found.uri, found.etag) == path.resolve()
    assert not settings.source_cache_dir.exists()


def test_a_person_may_name_a_path_from_where_they_stand(
    settings: StorageSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert source_of("a.mp4", settings).uri == source_of(f"file://{tmp_path}/a.mp4", settings).uri
    odd = os.fsencode(tmp_path) + b"/\xff\xfe.mp4"
    Path(os.fsdecode(odd)).write_bytes(b"x")
    found = source_of(os.fsdecode(odd), settings)
    assert found.uri.isascii()
    with Sources(settings, None) as sources:
        assert os.fsencode(sources.fetch(found.uri, found.etag)) == os.path.realpath(odd)


@pytest.mark.parametrize("change", ["rewritten", "replaced", "touched"])
def test_a_file_that_changed_since_is_not_read(settings: StorageSettings, tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"12345")
    found = source_of(str(path), settings)
    if change == "rewritten":
        path.write_bytes(b"123456")
    elif change == "replaced":
        (tmp_path / "b").write_bytes(b"54321")
        os.utime(tmp_path / "b", ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
        (tmp_path / "b").replace(path)
    else:
        os.utime(path, (1, 1))
    with Sources(settings, None) as sources, pytest.raises(SourceChanged):
        sources.fetch(found.uri, found.etag)


def test_what_is_not_a_file_is_no_source(settings: StorageSettings, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with Sources(settings, None) as sources:
        for path in (tmp_path / "nothing", tmp_path, tmp_path / "pipe", Path("/dev/zero"), tmp_path / "pipe" / "x"):
            with pytest.raises(SourceMissing):
                sources.open(file_uri(path))
        for uri in ("file:///", "s3://bucket", "s3://bucket/", "s3://bucket/folder/", f"{tmp_path.as_uri()}/"):
            with pytest.raises(ForbiddenUri):
                sources.open(uri)


def test_a_forbidden_uri_is_refused_before_anybody_is_asked(
    s3_settings: StorageSettings, proxy: Proxy, upload: Callable[..., str]
) -> None:
    uri = upload(b"secret", key=f"private/{uuid.uuid4().hex}")
    with Sources(s3_settings, AllowedSources([uri.rpartition("/private/")[0] + "/uploads/"])) as sources:
        for call in (lambda: sources.open(uri), lambda: sources.fetch(uri, "etag")):
            with pytest.raises(ForbiddenUri):
                call()
    assert proxy.lines == []


@pytest.mark.s3
def test_a_source_in_a_bucket_is_downloaded_once_per_machine(
    s3_settings: StorageSettings, proxy: Proxy, upload: Callable[..., str]
) -> None:
    data = os.urandom(SIZE)
    uri = upload(data)
    found = source_of(uri, s3_settings)
    assert found.size_bytes == SIZE

    def fetch(_: int) -> Path:
        with Sources(s3_settings, None) as sources:
            path = sources.fetch(uri, found.etag)
            assert path.read_bytes() == data
            return path

    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(fetch, range(8)))
    assert len(paths) == 1
    assert paths.pop().suffix == ".mp4"
    assert downloads(proxy) == 2  # the two parts of 16 MiB and the rest, once


@pytest.mark.s3
def test_a_source_that_was_replaced_is_not_read(s3_settings: StorageSettings, upload: Callable[..., str]) -> None:
    uri = upload(b"old" * 1000)
    found = source_of(uri, s3_settings)
    upload(b"new" * 1000, key=uri.split("/", 3)[3])
    with Sources(s3_settings, None) as sources, pytest.raises(SourceChanged):
        sources.fetch(uri, found.etag)
    assert [path for path in s3_settings.source_cache_dir.iterdir() if path.suffix != ".lock"] == []


@pytest.mark.s3
def test_a_missing_source_and_a_refusal_are_told_apart(s3_settings: StorageSettings, bucket: str) -> None:
    with pytest.raises(SourceMissing):
        source_of(f"s3://{bucket}/uploads/nothing.mp4", s3_settings)
    with Sources(s3_settings, None) as sources, pytest.raises(SourceMissing):
        sources.fetch(f"s3://{bucket}/uploads/nothing.mp4", "etag")
    wrong = s3_settings.model_copy(update={"s3_secret_access_key": SecretStr("wrong")})
    with pytest.raises(StorageRefused):
        source_of(f"s3://{bucket}/uploads/nothing.mp4", wrong)


@pytest.mark.s3
def test_a_broken_download_is_not_taken_for_a_source(
    s3_settings: StorageSettings, proxy: Proxy, upload: Callable[..., str]
) -> None:
    data = os.urandom(SIZE)
    uri = upload(data)
    found = source_of(uri, s3_settings)
    breaks = [5_000_000, 300, 4_000_000]
    proxy.spoil = lambda line: breaks.pop() if breaks and line.startswith(b"GET ") else None
    with Sources(s3_settings, None) as sources:
        assert sources.fetch(uri, found.etag).read_bytes() == data
    assert breaks == []


@pytest.mark.s3
def test_a_download_ends_soon_after_it_is_no_longer_wanted(
    s3_settings: StorageSettings, proxy: Proxy, upload: Callable[..., str]
) -> None:
    uri = upload(os.urandom(SIZE))
    found = source_of(uri, s3_settings)
    watch = Watch()
    proxy.spoil = lambda line: watch.cancelled.set() if line.startswith(b"GET ") else None
    with Sources(s3_settings, None) as sources, pytest.raises(Cancelled):
        sources.fetch(uri, found.etag, watch.check)
    assert downloads(proxy) == 1, "the second part was not asked for"
    assert [path for path in s3_settings.source_cache_dir.iterdir() if path.suffix != ".lock"] == []


def test_waiting_for_another_process_s_download_ends_too(tmp_path: Path) -> None:
    watch = Watch()

    def slow(path: Path) -> None:
        waiting = pool.submit(SourceCache(tmp_path, 10**6).fetch, "a", writes(1), watch.check)
        watch.cancelled.set()
        with pytest.raises(Cancelled):
            waiting.result(10)
        path.write_bytes(b"whole")

    with ThreadPoolExecutor(1) as pool:
        assert SourceCache(tmp_path, 10**6).fetch("a", slow).read_bytes() == b"whole"


def writes(size: int) -> Callable[[Path], None]:
    def download(path: Path) -> None:
        path.write_bytes(bytes(size))

    return download


def names(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir() if path.suffix != ".lock"}


def test_the_cache_drops_what_was_not_used_for_longest(tmp_path: Path) -> None:
    cache = SourceCache(tmp_path, max_bytes=250)
    for age, name in ((300, "a"), (200, "b")):
        cache.fetch(name, writes(100))
        os.utime(tmp_path / name, (1_000_000 - age, 1_000_000 - age))
    cache.release()
    cache.fetch("a", writes(100))  # used again: now b is the older one
    cache.release()
    cache.fetch("c", writes(100))
    assert names(tmp_path) == {"a", "c"}


def test_the_cache_never_drops_what_somebody_reads(tmp_path: Path) -> None:
    reader, other = SourceCache(tmp_path, max_bytes=250), SourceCache(tmp_path, max_bytes=250)
    for name in ("a", "b"):
        reader.fetch(name, writes(100))
    other.fetch("c", writes(100))
    other.fetch("d", writes(100))
    assert names(tmp_path) == {"a", "b", "c", "d"}
    reader.release()
    other.fetch("e", writes(100))
    assert names(tmp_path) == {"c", "d", "e"}
    del other  # whoever is gone holds nothing
    reader.fetch("f", writes(100))
    assert len(names(tmp_path)) == 2


def test_a_lock_on_a_file_that_was_just_removed_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening a lock file and locking it, a removal may have unlinked it: that lock would protect nothing."""
    reader, other = SourceCache(tmp_path, max_bytes=1000), SourceCache(tmp_path, max_bytes=1)
    reader.fetch("a", writes(10))
    reader.release()
    flock, removals = fcntl.flock, [tmp_path / "a.lock"]

    def after_a_removal(fd: int, mode: int) -> None:
        if removals:
            removals.pop().unlink()
        flock(fd, mode)

    monkeypatch.setattr(fcntl, "flock", after_a_removal)
    reader.fetch("a", writes(10))
    assert removals == []
    other.fetch("b", writes(10))
    assert names(tmp_path) == {"a", "b"}


READ_AND_HOLD = """
import sys, time
from pathlib import Path
from cluster.storage.cache import SourceCache
def download(path):
    path.write_bytes(bytes(50))
    print("downloading", flush=True)
    time.sleep(60 if sys.argv[2] == "slow" else 0)
cache = SourceCache(Path(sys.argv[1]), 1000)
cache.fetch("a", download)
print("holding", flush=True)
time.sleep(60)
"""


def holder(folder: Path, speed: str, until: bytes) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", READ_AND_HOLD, str(folder), speed], stdout=subprocess.PIPE)
    assert process.stdout is not None
    while (line := process.stdout.readline()) != until + b"\n":
        assert line, "the process ended"
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert process.stdout is not None
    process.stdout.close()


def test_a_reader_in_another_process_holds_its_source_until_it_dies(tmp_path: Path) -> None:
    process = holder(tmp_path, "fast", b"holding")
    cache = SourceCache(tmp_path, max_bytes=10)
    cache.fetch("b", writes(50))
    cache.release()
    assert names(tmp_path) == {"a", "b"}
    kill(process)
    cache.fetch("c", writes(50))
    assert names(tmp_path) == {"c"}


def test_a_download_that_was_killed_is_begun_anew_by_the_next(tmp_path: Path) -> None:
    process = holder(tmp_path, "slow", b"downloading")
    waiting = threading.Event()
    cache = SourceCache(tmp_path, max_bytes=1000)

    def fetch() -> Any:
        waiting.set()
        return cache.fetch("a", writes(77))

    with ThreadPoolExecutor(1) as pool:
        path = pool.submit(fetch)
        assert waiting.wait(10)
        with pytest.raises(TimeoutError):
            path.result(0.3)  # the lock is the other's, and half a file is not a source
        kill(process)
        assert path.result(10).stat().st_size == 77
    assert names(tmp_path) == {"a"}


def test_a_full_disk_makes_the_cache_give_up_what_nobody_reads(tmp_path: Path) -> None:
    cache = SourceCache(tmp_path, max_bytes=1000)
    cache.fetch("a", writes(100))
    cache.release()

    def full(path: Path) -> None:
        path.write_bytes(b"half")
        raise StorageFull("no room")

    with pytest.raises(StorageFull):
        cache.fetch("b", full)
    assert names(tmp_path) == set()

"""What every storage promises: the same tests on a folder and on a real S3 server."""

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.errors import ChecksumMismatch, InvalidKey, ObjectExists, ObjectMissing
from cluster.storage import Storage

LARGE = 41_000_001  # three parts of 16 MiB on S3, the last one odd


def write(path: Path, size: int) -> bytes:
    data = os.urandom(size)
    path.write_bytes(data)
    return data


def keys_in(storage: Storage, prefix: str = "") -> list[str]:
    return sorted(item.key for item in storage.list(prefix))


def test_bytes_come_back_with_their_size_and_checksum(storage: Storage) -> None:
    put = storage.put_bytes("org/media/a.bin", b"hello", content_type="text/plain")
    assert storage.get_bytes("org/media/a.bin") == b"hello"
    found = storage.stat("org/media/a.bin")
    assert found is not None
    assert (found.bytes, found.sha256) == (5, hashlib.sha256(b"hello").hexdigest())
    assert put.sha256 == found.sha256


@pytest.mark.parametrize("size", [0, 1, 16 * 1024 * 1024, LARGE])
def test_a_file_of_any_size_comes_back_whole(storage: Storage, tmp_path: Path, size: int) -> None:
    data = write(tmp_path / "in", size)
    put = storage.put_file("folder/file.mp4", tmp_path / "in", cache_control="max-age=60")
    assert (put.bytes, put.sha256) == (size, hashlib.sha256(data).hexdigest())
    storage.get_file("folder/file.mp4", tmp_path / "out", sha256=put.sha256)
    assert (tmp_path / "out").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_a_range_ends_where_the_object_ends(storage: Storage) -> None:
    storage.put_bytes("a", b"0123456789")
    assert storage.get_bytes("a", start=2, length=3) == b"234"
    assert storage.get_bytes("a", start=8, length=100) == b"89"
    assert storage.get_bytes("a", start=7) == b"789"
    assert storage.get_bytes("a", start=10, length=5) == b""
    assert storage.get_bytes("a", start=0, length=0) == b""


def test_a_missing_object_is_missing_in_every_way(storage: Storage, tmp_path: Path) -> None:
    storage.put_bytes("folder/there", b"x")
    for key in ("nothing", "folder", "folder/there/below"):
        assert storage.stat(key) is None
        with pytest.raises(ObjectMissing):
            storage.get_bytes(key)
        with pytest.raises(ObjectMissing):
            storage.get_bytes(key, start=0, length=0)
        with pytest.raises(ObjectMissing):
            storage.get_file(key, tmp_path / "out")
        storage.delete(key)
    assert not (tmp_path / "out").exists()
    assert storage.get_bytes("folder/there") == b"x"


def test_writing_again_replaces(storage: Storage) -> None:
    storage.put_bytes("a", b"one")
    storage.put_bytes("a", b"two")
    assert storage.get_bytes("a") == b"two"


def test_an_object_written_only_once_keeps_its_first_content(storage: Storage) -> None:
    storage.put_bytes("manifest.json", b"first", if_absent=True)
    with pytest.raises(ObjectExists):
        storage.put_bytes("manifest.json", b"second", if_absent=True)
    assert storage.get_bytes("manifest.json") == b"first"


def test_of_many_that_write_only_once_exactly_one_wins(storage: Storage) -> None:
    together = threading.Barrier(16)

    def write_mine(number: int) -> int | None:
        together.wait(30)
        try:
            storage.put_bytes("prize", str(number).encode(), if_absent=True)
        except ObjectExists:
            return None
        return number

    with ThreadPoolExecutor(16) as pool:
        winners = [number for number in pool.map(write_mine, range(16)) if number is not None]
    assert [storage.get_bytes("prize")] == [str(number).encode() for number in winners]


def test_readers_see_an_old_or_a_new_object_but_never_half_of_one(storage: Storage) -> None:
    storage.put_bytes("a", b"0" * 300_000)
    stop = threading.Event()
    broken: list[bytes] = []

    def read() -> None:
        while not stop.is_set():
            data = storage.get_bytes("a")
            if len(data) != 300_000 or len(set(data)) != 1:
                broken.append(data)

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for number in range(20):
            storage.put_bytes("a", str(number % 10).encode() * 300_000)
        stop.set()
        for reader in readers:
            reader.result(30)
    assert broken == []


def test_a_copy_that_is_not_what_was_expected_is_refused_and_leaves_no_file(storage: Storage, tmp_path: Path) -> None:
    storage.put_bytes("a", b"something else")
    with pytest.raises(ChecksumMismatch):
        storage.get_file("a", tmp_path / "out", sha256=hashlib.sha256(b"this").hexdigest())
    assert not (tmp_path / "out").exists()


def test_a_listing_is_of_one_folder_and_all_below_it(storage: Storage) -> None:
    keys = ["a", "b/c", "b/c-d", "b/c/d", "b/c0", "b-x/y", "b0", "ä/ö", "z"]
    keys.remove("b/c")  # no file system has a file and a folder of one name
    for key in keys:
        storage.put_bytes(key, key.encode())
    assert keys_in(storage) == sorted(keys)
    assert keys_in(storage, "b") == keys_in(storage, "b/") == ["b/c-d", "b/c/d", "b/c0"]
    assert list(storage.list("nothing")) == []
    sizes = {item.key: item.bytes for item in storage.list()}
    assert sizes == {key: len(key.encode()) for key in keys}


def test_a_listing_longer_than_a_page_is_whole(storage: Storage) -> None:
    keys = [f"many/{number:04d}" for number in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: storage.put_bytes(key, b""), keys))
    assert keys_in(storage, "many") == keys
    storage.delete_prefix("many")
    assert list(storage.list("many")) == []


def test_deleting_a_folder_leaves_its_neighbours(storage: Storage) -> None:
    for key in ("m/1/a", "m/1/b/c", "m/10/a", "m/1x"):
        storage.put_bytes(key, b"x")
    storage.delete_prefix("m/1")
    assert keys_in(storage) == ["m/10/a", "m/1x"]
    storage.delete_prefix("m/1")
    with pytest.raises(InvalidKey):
        storage.delete_prefix("")


def test_deleting_one_object_leaves_the_others(storage: Storage) -> None:
    storage.put_bytes("a/b", b"x")
    storage.put_bytes("a/c", b"x")
    storage.delete("a/b")
    storage.delete("a/b")
    assert keys_in(storage) == ["a/c"]


def test_writing_goes_on_while_folders_around_it_are_deleted(storage: Storage) -> None:
    def write_some(number: int) -> None:
        for turn in range(15):
            storage.put_bytes(f"scratch/{number}/{turn}/x", b"x")
            storage.delete_prefix(f"scratch/{number}/{turn}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_some, range(4)))
    assert list(storage.list()) == []


BAD_KEYS = ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", ".hidden", "a/.tmp/b", "a\0b", "a\nb", "a\\b", "a\ud800"]


@pytest.mark.parametrize("key", [*BAD_KEYS, "x" * 201, "/".join(["y" * 100] * 10)])
def test_a_key_that_some_storage_cannot_hold_is_refused_by_all(storage: Storage, tmp_path: Path, key: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: storage.put_bytes(key, b"x"),
        lambda: storage.get_bytes(key),
        lambda: storage.get_file(key, tmp_path / "out"),
        lambda: storage.stat(key),
        lambda: storage.delete(key),
        lambda: storage.delete_prefix(key),
        lambda: storage.url(key),
        lambda: storage.local_path(key),
    ]
    if key == "a/":
        del calls[5]  # a folder may be named with its slash
    for call in calls:
        with pytest.raises(InvalidKey):
            call()


def test_keys_with_spaces_percents_and_letters_of_all_kinds_are_kept_as_they_are(storage: Storage) -> None:
    keys = ["a b/c+d", "100%/50%25", "ünï/日本語.mp4", "q?x=1#y", 'it\'s "quoted"&<>', "~tilde", "e\u0301 and \u00e9"]
    for key in keys:
        storage.put_bytes(key, key.encode())
    for key in keys:
        assert storage.get_bytes(key) == key.encode()
    assert keys_in(storage) == sorted(keys)


def test_an_address_is_one_that_a_browser_can_ask_for(storage: Storage) -> None:
    assert storage.url("a b/ü#?.mp4").endswith("/a%20b/%C3%BC%23%3F.mp4")

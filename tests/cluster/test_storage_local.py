"""What only the storage in a folder has to be careful with."""

import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.errors import ChecksumMismatch, ObjectMissing, StorageFull, StorageRefused
from cluster.settings import StorageSettings
from cluster.storage import Storage, open_storage
from cluster.sweep import is_farms_key


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "a folder"


@pytest.fixture
def local(root: Path) -> Storage:
    return open_storage(root.as_uri(), StorageSettings(data_dir=root))


def test_an_object_is_a_plain_file_that_nobody_needs_to_copy(local: Storage, root: Path) -> None:
    local.put_bytes("hls/master.m3u8", b"#EXTM3U")
    assert local.local_path("hls/master.m3u8") == root / "hls" / "master.m3u8"
    assert (root / "hls" / "master.m3u8").read_bytes() == b"#EXTM3U"
    with pytest.raises(ObjectMissing):
        local.local_path("hls/other.m3u8")


def test_damage_on_the_disk_is_noticed_when_the_object_is_fetched(local: Storage, root: Path, tmp_path: Path) -> None:
    if local.put_bytes("a", b"good").sha256 is None:
        pytest.skip("this file system keeps no extended attributes")
    with (root / "a").open("r+b") as file:
        file.write(b"evil")
    with pytest.raises(ChecksumMismatch):
        local.get_file("a", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders_that_became_empty_do_not_pile_up(local: Storage, root: Path) -> None:
    local.put_bytes("scratch/job/chunk/a.mp4", b"x")
    local.put_bytes("scratch/job/chunk/b.mp4", b"x")
    local.delete("scratch/job/chunk/a.mp4")
    assert (root / "scratch" / "job" / "chunk").is_dir()
    local.delete("scratch/job/chunk/b.mp4")
    assert list(root.iterdir()) == []


def test_only_what_was_stored_stays_in_the_folder(local: Storage, root: Path) -> None:
    local.put_bytes("hls/master.m3u8", b"#EXTM3U")
    local.put_bytes("manifest.json", b"{}")
    assert sorted(path.name for path in root.iterdir()) == ["hls", "manifest.json"]
    local.delete_prefix("hls")
    assert [path.name for path in root.iterdir()] == ["manifest.json"]


def test_writers_do_not_take_the_ground_from_under_each_other(
    local: Storage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # waiting for a disk would keep them apart

    def write(number: int) -> None:
        local.put_bytes(f"scratch/{number}", b"x")
        if number % 5 == 0:
            local.put_bytes(f"doomed/{number}/file", b"x")
            local.delete_prefix(f"doomed/{number}")

    with ThreadPoolExecutor(8) as writers:
        list(writers.map(write, range(1000)))
    assert len(list(local.list())) == 1000
    assert [path.name for path in root.iterdir()] == ["scratch"]


def test_the_folder_may_be_emptied_by_somebody_else(local: Storage, root: Path) -> None:
    local.put_bytes("a/b", b"x")
    subprocess.run(["rm", "-rf", root], check=True)
    local.put_bytes("a/b", b"y")
    assert local.get_bytes("a/b") == b"y"


def test_a_place_that_cannot_be_a_folder_is_named_when_it_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageRefused, match="file/below"):
        open_storage((tmp_path / "file" / "below").as_uri(), StorageSettings(data_dir=tmp_path))


WRITE_SLOWLY = """
import sys, time
from pathlib import Path
from cluster.storage import local
def slow(parts, write):
    for _ in range(1000):
        write(b"x" * 100_000)
        print("writing", flush=True)
        time.sleep(0.01)
local._copy = slow
local.LocalStorage(Path(sys.argv[1]), base_url="").put_bytes("big/object", b"")
"""


def test_a_writer_that_is_killed_leaves_no_object_and_its_remains_are_swept(local: Storage, root: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITE_SLOWLY, str(root)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    for _ in range(3):
        assert writer.stdout.readline() == b"writing\n"
    assert list(local.list()) == []
    writer.send_signal(signal.SIGKILL)
    writer.wait(10)
    writer.stdout.close()
    assert list(local.list()) == []
    assert local.sweep_unfinished(60, is_farms_key) == 0
    (remains,) = (root / ".tmp").iterdir()
    somebody_elses = root / ".tmp" / "notes.txt"
    somebody_elses.touch()
    long_ago = time.time() - 3600
    for path in (remains, somebody_elses):
        os.utime(path, (long_ago, long_ago))
    assert local.sweep_unfinished(60, is_farms_key) == 1
    assert list((root / ".tmp").iterdir()) == [somebody_elses]


FILL = """
import pickle, sys
from pathlib import Path
from cluster.errors import StorageFull
from cluster.storage.local import LocalStorage
storage = LocalStorage(Path(sys.argv[1]) / "storage", base_url="")
storage.put_bytes("fits", b"x" * 1000)
try:
    storage.put_bytes("does/not/fit", b"x" * 2_000_000)
except StorageFull as error:
    assert storage.stat("does/not/fit") is None, "half an object"
    assert not (Path(sys.argv[1]) / "storage" / ".tmp").exists(), "the remains fill the disk"
    storage.put_bytes("fits, too", b"x" * 1000)
    sys.stdout.buffer.write(pickle.dumps(error))
"""


def test_a_full_disk_is_named_with_its_free_bytes_and_what_was_stored_stays(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=1m none "$1" && exec "{sys.executable}" -c "$2" "$1"'
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", tmp_path, FILL], capture_output=True
    )
    if b"unshare" in done.stderr or b"mount:" in done.stderr:
        pytest.skip(f"no small file system can be made here: {done.stderr.decode()[:100]}")
    assert done.returncode == 0, done.stderr.decode()
    error = pickle.loads(done.stdout)
    assert isinstance(error, StorageFull)
    assert error.retryable
    assert "does/not/fit" in error.public_message
    assert "bytes free" in error.public_message

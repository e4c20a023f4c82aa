"""Working folders end with their process."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cluster import scratch
from cluster.scratch import blamed_on_full_disk, sweep_dead, workdir
from pipelines.errors import DecoderCrashed, ScratchFull

HOLDS = (
    "import pathlib, sys\n"
    "from cluster.scratch import workdir\n"
    "with workdir(pathlib.Path(sys.argv[1])) as folder:\n"
    "    (folder / 'chunk.mp4').write_bytes(b'half')\n"
    "    print(folder.name, flush=True)\n"
    "    sys.stdin.read()\n"
)


def folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir()]


def test_a_working_folder_is_gone_afterwards_also_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), workdir(tmp_path) as folder:  # noqa: PT012 - the block is the point
        (folder / "chunk.mp4").write_bytes(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_living_process_uses_is_kept_and_what_a_killed_one_left_is_swept(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with holder, workdir(tmp_path) as mine:
        assert holder.stdout is not None
        theirs = tmp_path / holder.stdout.readline().strip()
        assert sweep_dead(tmp_path) == 0
        assert sorted(folders(tmp_path)) == sorted([mine, theirs])
        holder.kill()
        holder.wait()
        assert (theirs / "chunk.mp4").exists(), "a killed process cleans nothing up"
        assert sweep_dead(tmp_path) == 1
        assert folders(tmp_path) == [mine]
    assert list(tmp_path.iterdir()) == [], "no lock file stays either"


def test_a_folder_without_a_lock_is_nobodys_and_a_folder_of_another_name_is_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / f"farm-{'0' * 32}").mkdir()
    (tmp_path / f"farm-{'1' * 32}.lock").touch()
    others = [tmp_path / "farm-data", tmp_path / "work"]
    for path in others:
        path.mkdir()
    assert sweep_dead(tmp_path) == 1
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_a_folder_that_is_just_being_made_is_not_swept(tmp_path: Path) -> None:
    done = threading.Event()

    def sweep() -> None:
        while not done.is_set():
            sweep_dead(tmp_path)

    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    try:
        for _ in range(300):
            with workdir(tmp_path) as folder:
                (folder / "chunk.mp4").write_bytes(b"half")
                assert (folder / "chunk.mp4").exists()
    finally:
        done.set()
        for sweeper in sweepers:
            sweeper.join()
    assert list(tmp_path.iterdir()) == []


def test_a_crash_while_no_room_is_left_is_the_disks_and_else_the_medias(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DecoderCrashed), blamed_on_full_disk(tmp_path):
        raise DecoderCrashed("SIGSEGV")
    monkeypatch.setattr(scratch, "NO_ROOM_BYTES", 2**62)
    with pytest.raises(ScratchFull) as full, blamed_on_full_disk(tmp_path):
        raise DecoderCrashed("SIGSEGV", detail={"native": "writing"})
    assert full.value.retryable
    assert full.value.detail == {"instead_of": "decoder_crashed", "native": "writing"}

"""Working folders end with their process."""

import subprocess
import sys
from pathlib import Path

import pytest

from cluster.scratch import sweep_dead, workdir


def test_a_working_folder_is_gone_afterwards_also_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), workdir(tmp_path) as folder:  # noqa: PT012 - the block is the point
        (folder / "chunk.mp4").write_bytes(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_uses_is_not(tmp_path: Path) -> None:
    script = (
        "import os, signal, pathlib, sys\n"
        "from cluster.scratch import workdir\n"
        "with workdir(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'chunk.mp4').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, timeout=30)
    assert len(list(tmp_path.iterdir())) == 1, "a killed process cleans nothing up"
    with workdir(tmp_path) as mine:
        assert sweep_dead(tmp_path) == 1
        assert list(tmp_path.iterdir()) == [mine]


def test_a_pid_that_now_belongs_to_another_process_does_not_keep_a_dead_ones_folder(tmp_path: Path) -> None:
    (tmp_path / "farm-1-123456789-old").mkdir()  # pid 1 lives, but it did not start at that tick
    assert sweep_dead(tmp_path) == 1

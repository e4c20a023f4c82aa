"""Records that send pictures to DALI, and GPU processes that misbehave."""

import os
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from textwrap import dedent

import pytest
from PIL import Image

from pipelines.images.capability import ImageSpeed, Speed, save, versions_here
from pipelines.images.gpu_server import NO_GPU

SIZE = (800, 600)
MEGAPIXELS = SIZE[0] * SIZE[1] / 1e6

NAUGHTY = """
    #!{python}
    import os, signal, sys, time
    from pipelines.__main__ import main
    import pipelines.images.turn_batch as turn_batch

    sys.argv = sys.argv[3:]  # without -s -m
    finish = turn_batch.finish
    held = []

    def naughty(opened, rendered):
        name = os.path.basename(opened.request.source_path)
        if name == "crash.jpg":
            os.kill(os.getpid(), signal.SIGSEGV)
        if name == "slow.jpg":
            while not os.path.exists(os.path.join(os.path.dirname(opened.request.source_path), "go")):
                time.sleep(0.05)
        if name == "hang.jpg":
            time.sleep(60)
        if name == "hungry.jpg":
            held.append(b"x" * 1_500_000_000)
            time.sleep(5)
        if name == "forge.jpg":
            for fd in range(3, 64):
                try:
                    os.write(fd, b'{{"picture":{{"number":99,"cpu":"forged"}}}}\\n')
                except OSError:
                    pass
        return finish(opened, rendered)

    turn_batch.finish = naughty
    main()
"""


def save_record(path: Path, *, device: str = NO_GPU, batch: int = 1) -> ImageSpeed:
    """A record of this machine that says that DALI pays for photos of SIZE, in batches of `batch` and more."""
    speeds = (Speed("cpu", MEGAPIXELS, 1, 1.0, 1.0), Speed("dali", MEGAPIXELS, batch, 2.0, 1.0))
    cores = len(os.sched_getaffinity(0))
    record = ImageSpeed(device, cores, "web", "2026-11-27T12:00:00+00:00", versions_here(), 64, 1.0, speeds)
    save(record, path)
    return record


def save_slow_record(path: Path) -> None:
    """One that says that the processors are faster."""
    record = save_record(path)
    save(replace(record, speeds=tuple(replace(speed, images_per_s=1.0) for speed in record.speeds)), path)


def misbehave(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have GPU processes misbehave for pictures of certain names: see NAUGHTY. `slow.jpg` waits for a file `go`."""
    script = folder / "naughty.py"
    script.write_text(dedent(NAUGHTY).strip().format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def photo(path: Path) -> Path:
    """A sound JPEG of SIZE."""
    Image.linear_gradient("L").resize(SIZE).convert("RGB").save(path, "JPEG", subsampling=2)
    return path


def truncated(path: Path) -> Path:
    """A JPEG that ends early."""
    content = photo(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def lying(path: Path) -> Path:
    """A JPEG with a sound header, which names a table that the file does not have."""
    content = photo(path).read_bytes()
    frame = content.index(b"\xff\xc0\x00\x11\x08")
    luma_table = frame + 12
    path.write_bytes(content[:luma_table] + b"\x03" + content[luma_table + 1 :])
    return path


def with_alpha(path: Path) -> Path:
    """A PNG that the gate keeps from DALI."""
    file = BytesIO()
    Image.new("RGBA", (64, 64), (200, 0, 0, 100)).save(file, "PNG")
    path.write_bytes(file.getvalue())
    return path

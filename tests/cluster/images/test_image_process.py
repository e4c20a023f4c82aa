"""The prepared media process of pictures: what one picture does to it is no other picture's matter."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
import pytest
from PIL import Image

from cluster.images.process import ImageProcess
from cluster.media_process import Cancelled, Watch
from ladders.catalog import load_preset
from pipelines.confine import ProcessLimits
from pipelines.errors import (
    DecoderCrashed,
    LimitExceeded,
    MediaError,
    MediaProcessFailed,
    MediaTimeout,
    TruncatedMedia,
)
from pipelines.images.limits import ImageLimits
from pipelines.images.request import ImageRequest, ImageResult

LIMITS = ProcessLimits(wall_s=20.0, stall_s=20.0, memory_bytes=4_000_000_000, cpu_s=60, file_bytes=100_000_000)
AVATAR = load_preset("avatar").model_dump(mode="json")["image"]

NAUGHTY = """
    import os, signal, sys, time
    import pipelines.images.server as server

    turn = server.turn_image

    def naughty(request):
        name = os.path.basename(request.source_path)
        if name == "crash.jpg":
            os.kill(os.getpid(), signal.SIGSEGV)
        if name == "hang.jpg":
            time.sleep(60)
        if name in ("forge.jpg", "twice.jpg"):
            line = b'{"error":{"code":"not_media","message":"forged"},"cost":{"cpu_s":0,"peak_rss_bytes":0}}\\n'
            if name == "forge.jpg":
                line = b'{"ended":{"exit":0,"said":"forged"}}\\n'
            for fd in range(3, 64):
                try:
                    os.write(fd, line)
                except OSError:
                    pass
            if name == "forge.jpg":
                os._exit(0)
        if name == "flood.jpg":
            for fd in range(3, 64):
                try:
                    while True:
                        os.write(fd, b"x" * 65536)
                except OSError:
                    pass
        if name == "child.jpg" and os.fork() == 0:
            time.sleep(60)
        return turn(request)

    server.turn_image = naughty
    main()
"""


@pytest.fixture
def naughty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have media processes misbehave for pictures of certain names."""
    script = tmp_path / "naughty.py"
    start = "import sys\nfrom pipelines.__main__ import main\nsys.argv = sys.argv[3:]  # without -s -m\n"
    script.write_text(f"#!{sys.executable}\n{start}{dedent(NAUGHTY)}")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def picture(folder: Path, name: str = "photo.jpg", size: tuple[int, int] = (640, 480)) -> Path:
    path = folder / name
    Image.linear_gradient("L").resize(size).convert("RGB").save(path)
    return path


def turn(process: ImageProcess, path: Path, *, fresh: bool = True, **changes: Any) -> ImageResult:
    out = path.parent / f"{path.name}-{time.monotonic_ns()}"
    out.mkdir()
    limits = {name: getattr(LIMITS, name) for name in LIMITS.__slots__} | changes
    request = ImageRequest(str(path), str(out), AVATAR, ImageLimits())
    answer = process.turn(request, ProcessLimits(**limits), Watch(), fresh=fresh)
    assert 0 < answer.usage.cpu_s < 20
    assert 10_000_000 < answer.usage.peak_rss_bytes < 1_000_000_000
    written = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    assert written == {made.path for made in answer.result.images}
    return answer.result


def below() -> set[int]:
    """The media processes of pictures below this one, prepared or at work."""
    return {child.pid for child in psutil.Process().children(recursive=True) if child.cmdline()[-1:] == ["images"]}


def test_pictures_are_turned_one_after_the_other_by_forks_of_one_process(tmp_path: Path, process: ImageProcess) -> None:
    process.start()
    prepared = below()
    assert len(prepared) == 1
    for _ in range(3):
        assert [made.variant for made in turn(process, picture(tmp_path)).images] == ["s150", "s150", "s300", "s300"]
    assert prepared < below()


def test_a_refusal_keeps_its_type_across_the_border(tmp_path: Path, process: ImageProcess) -> None:
    path = picture(tmp_path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(TruncatedMedia):
        turn(process, path)


@pytest.mark.usefixtures("naughty")
def test_a_native_crash_is_that_pictures_error_and_the_next_one_is_turned_by_the_same_process(
    tmp_path: Path, process: ImageProcess
) -> None:
    process.start()
    prepared = below()
    with pytest.raises(DecoderCrashed, match="SIGSEGV"):
        turn(process, picture(tmp_path, "crash.jpg"))
    assert turn(process, picture(tmp_path)).images
    assert prepared < below()


@pytest.mark.usefixtures("naughty")
def test_a_picture_that_hangs_is_given_up_and_nothing_of_it_is_left(tmp_path: Path, process: ImageProcess) -> None:
    process.start()
    prepared = below()
    path = picture(tmp_path, "hang.jpg")
    began = time.monotonic()
    with pytest.raises(MediaTimeout, match="1 s"):
        turn(process, path, wall_s=1.0)
    assert time.monotonic() - began < 5.0
    assert below() == prepared
    assert turn(process, picture(tmp_path)).images


@pytest.mark.usefixtures("naughty")
@pytest.mark.parametrize("name", ["forge.jpg", "twice.jpg"])
def test_a_picture_cannot_answer_for_one_of_another_batch(name: str, tmp_path: Path, process: ImageProcess) -> None:
    with pytest.raises(MediaError):
        turn(process, picture(tmp_path, name))
    assert turn(process, picture(tmp_path)).facts.width == 640


@pytest.mark.parametrize("recipe", ["avatar", "web"])
def test_pictures_for_every_library_are_turned_at_once_after_the_start(
    recipe: str, tmp_path: Path, process: ImageProcess
) -> None:
    alpha, white, moving = tmp_path / "alpha.png", tmp_path / "white.jpg", tmp_path / "moving.gif"
    Image.new("RGBA", (300, 200), (200, 0, 0, 90)).save(alpha)
    Image.new("RGB", (300, 200), "white").save(white)  # ends in one colour: libvips has a second look
    frames = [Image.new("P", (300, 200), number) for number in range(3)]
    frames[0].save(moving, save_all=True, append_images=frames[1:])
    image = load_preset(recipe).model_dump(mode="json")["image"]
    for source in (alpha, white, moving):
        out = tmp_path / f"{source.name}.out"
        out.mkdir()
        assert process.turn(ImageRequest(str(source), str(out), image, ImageLimits()), LIMITS, Watch()).result.images


@pytest.mark.usefixtures("naughty")
def test_a_picture_that_talks_without_end_is_not_listened_to(tmp_path: Path, process: ImageProcess) -> None:
    with pytest.raises(MediaProcessFailed):
        turn(process, picture(tmp_path, "flood.jpg"))
    assert turn(process, picture(tmp_path)).images


@pytest.mark.usefixtures("naughty")
def test_what_a_picture_has_started_ends_with_its_batch(tmp_path: Path, process: ImageProcess) -> None:
    process.start()
    prepared = below()
    turn(process, picture(tmp_path, "child.jpg"))
    first = below() - prepared
    assert len(first) == 2, "the batch and the child that it left"
    turn(process, picture(tmp_path))
    assert not first & below()


def test_the_pictures_of_a_batch_share_a_process_and_the_next_batch_has_another(
    tmp_path: Path, process: ImageProcess
) -> None:
    process.start()
    prepared = below()
    assert len(psutil.Process(next(iter(prepared))).threads()) == 1, "a thread would not survive the fork"
    turn(process, picture(tmp_path))
    first = below() - prepared
    turn(process, picture(tmp_path), fresh=False)
    assert below() - prepared == first
    turn(process, picture(tmp_path))
    assert not (below() - prepared) & first


def test_a_killed_process_is_an_error_once_and_is_started_again(tmp_path: Path, process: ImageProcess) -> None:
    process.start()
    (pid,) = below()
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=5)
    assert turn(process, picture(tmp_path)).images
    assert below()
    assert pid not in below()


def test_a_cancelled_picture_ends_at_once(tmp_path: Path, process: ImageProcess) -> None:
    process.start()
    watch = Watch()
    threading.Timer(0.3, watch.cancelled.set).start()
    large = picture(tmp_path, "large.png", (6000, 6000))
    archive = load_preset("archive").model_dump(mode="json")["image"]
    out = tmp_path / "out"
    out.mkdir()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        process.turn(ImageRequest(str(large), str(out), archive, ImageLimits()), LIMITS, watch)
    assert time.monotonic() - began < 2.0
    assert below() == set()


def test_memory_is_bounded_for_each_picture(tmp_path: Path, process: ImageProcess) -> None:
    large = picture(tmp_path, "large.png", (8000, 8000))
    with pytest.raises(LimitExceeded, match="memory"):
        turn(process, large, memory_bytes=150_000_000)
    assert turn(process, picture(tmp_path)).images

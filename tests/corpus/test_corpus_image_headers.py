"""The header of every picture of the media collection, and of everything hostile, read in a confined child."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UnsupportedMedia
from pipelines.images.header import examine
from pipelines.images.limits import ImageLimits
from pipelines.signatures import HEAD_BYTES, is_picture
from tests.support.corpus import Row, params

pytestmark = pytest.mark.corpus

SECONDS = 10.0
ADDRESS_BYTES = 3_000_000_000
RESIDENT_BYTES = 300_000_000
UNLIMITED = ImageLimits(max_side=70_000, max_pixels=1_000_000_000)
SUFFIXES = {".jpg", ".png", ".gif", ".webp", ".tif", ".heic", ".svg", ".bmp", ".ico", ".sgi", ".psd", ".j2k", ".pcx"}
CODES = {
    "empty_file", "playlist_refused", "not_media", "unsupported_media", "corrupt_media", "truncated_media",
    "limit_exceeded",
}  # fmt: skip
# Sound as far as a header goes: what is wrong with them lies in the packed pixels, for the decoder to find.
ROTTEN_INSIDE = ("mefuzz_0f5b7f736ab8.png", "mefuzz_9ef3d6b04781.png", "pillow_crash-")
CHILD = """
import json, pathlib, sys
from pipelines.errors import RejectedMedia
from pipelines.images.header import examine
from pipelines.images.limits import ImageLimits
try:
    found = {"format": examine(sys.argv[1], ImageLimits()).header.format}
except RejectedMedia as error:
    found = {"code": error.code, "message": error.public_message}
# Not the maximum of getrusage: that one begins with the memory of the process that forked this one.
status = pathlib.Path("/proc/self/status").read_text()
found["resident"] = int(status.partition("VmHWM:")[2].split()[0]) * 1024
print(json.dumps(found))
"""


def examined(path: Path) -> dict[str, Any]:
    """What a child with little memory and time finds in the file."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES)),
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("row", params("image"))
def test_an_ordinary_picture_has_the_header_that_others_read(row: Row) -> None:
    if row.path.suffix == ".jp2":
        with pytest.raises(UnsupportedMedia):
            examine(str(row.path), UNLIMITED)
        return
    started = time.perf_counter()
    found = examine(str(row.path), UNLIMITED).header
    assert time.perf_counter() - started < 1
    if row.size != (0, 0):
        assert (found.width, found.height) == row.size
        assert found.frames == (1 if found.format == "tiff" else row.frames)
    if row.rotation:
        # HEIF turns itself: what its EXIF says is done already.
        assert f"exif{found.orientation}" == (row.rotation if found.format not in ("heif", "avif") else "exif1")
    assert is_picture(row.path.read_bytes()[:HEAD_BYTES])


@pytest.mark.parametrize("row", params("hostile"))
def test_a_hostile_file_has_a_header_or_a_refusal_and_costs_little(row: Row, connections: list[object]) -> None:
    found = examined(row.path)
    assert found["resident"] < RESIDENT_BYTES
    assert "format" in found or found["code"] in CODES
    if row.path.suffix in SUFFIXES and row.strict and not row.path.name.startswith(ROTTEN_INSIDE):
        assert ("format" in found) == (row.expected == "ok"), found
    assert not connections, "an address inside the file was followed"


@pytest.mark.parametrize("row", params("video", "audio"))
def test_video_and_audio_are_told_from_pictures(row: Row) -> None:
    head = row.path.read_bytes()[:HEAD_BYTES]
    assert not is_picture(head)

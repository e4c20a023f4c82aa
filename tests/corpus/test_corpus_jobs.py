"""Every file of the media collection as a whole job: a proven, packaged ladder, or one typed error."""

import time
from pathlib import Path
from typing import Any

import av
import pytest

from cluster.farm_settings import FarmSettings
from cluster.local import run_local
from ladders.images import Avif, ImagePart, ImageVariant, Jpeg, Png, Webp
from ladders.model import H264, AudioPart, AudioRendition, Packaging, Recipe, Rung, Stills, VideoPart
from pipelines.errors import MediaError, RejectedMedia
from tests.support.corpus import Row, params

pytestmark = [pytest.mark.corpus, pytest.mark.slow]

# The path of a job, not the speed of an encoder, is what is tried on two hundred files.
QUICK = Recipe(
    name="quick",
    video=VideoPart(
        codec=H264(preset="ultrafast"), rungs=(Rung(name="360p", width=640, height=360, crf=28),), gop_seconds=1.0
    ),
    audio=AudioPart(renditions=(AudioRendition(name="64k", bitrate_bps=64_000),)),
    packaging=Packaging(segment_seconds=2.0, mp4=("360p",)),
    stills=Stills(),
    image=ImagePart(
        variants=(
            ImageVariant(name="w600", width=600, height=600, formats=(Webp(), Jpeg()), animation="keep"),
            ImageVariant(name="square", width=150, height=150, fit="cover", crop="attention", formats=(Avif(), Png())),
        )
    ),
    vmaf="off",
)
HOSTILE_S = 30.0
POINTING = ("hls_", "dash_", "ffconcat_", "dref_")  # files that name other files as their media


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FarmSettings:
    monkeypatch.setenv("FARM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path / "scratch"))
    return FarmSettings.load()


def job(row: Row, out: Path, settings: FarmSettings) -> dict[str, Any] | MediaError:
    try:
        return run_local(str(row.path), QUICK, out.as_uri(), settings=settings)
    except MediaError as error:
        return error


@pytest.mark.parametrize("row", params("video", "audio"))
def test_an_ordinary_file_becomes_a_proven_package(row: Row, tmp_path: Path, settings: FarmSettings) -> None:
    made = job(row, tmp_path / "out", settings)
    if isinstance(made, MediaError):
        assert not row.strict, f"{made.code}: {made} {made.detail}"
        assert isinstance(made, RejectedMedia)
        return
    report = made["report"]
    assert len(report["renditions"]) == (row.kind == "video")
    assert all(rendition["proof"]["ok"] for rendition in report["renditions"])
    assert len(report["audio"]) == len([codec for codec in row.audio.split(",") if codec])
    with av.open(str(tmp_path / "out" / "hls" / "master.m3u8")) as playlist:
        assert next(playlist.decode()) is not None
    assert list((tmp_path / "scratch").iterdir()) == [], "nothing is left on the working disk"


@pytest.mark.parametrize("row", params("image"))
def test_an_ordinary_picture_becomes_its_variants(row: Row, tmp_path: Path, settings: FarmSettings) -> None:
    made = job(row, tmp_path / "out", settings)
    if isinstance(made, MediaError):
        assert not row.strict, f"{made.code}: {made} {made.detail}"
        assert isinstance(made, RejectedMedia)
        return
    assert {image["path"] for image in made["report"]["images"]} == {
        "images/w600.webp", "images/w600.jpg", "images/square.avif", "images/square.png",
    }  # fmt: skip
    assert list((tmp_path / "scratch").iterdir()) == [], "nothing is left on the working disk"


@pytest.mark.parametrize("row", params("hostile"))
def test_a_hostile_file_ends_in_a_result_or_a_refusal_in_time(
    row: Row, tmp_path: Path, settings: FarmSettings, connections: list[object]
) -> None:
    started = time.monotonic()
    made = job(row, tmp_path / "out", settings)
    assert time.monotonic() - started < HOSTILE_S
    if isinstance(made, MediaError):
        assert isinstance(made, RejectedMedia), f"{made.code}: {made} {made.detail}"
        assert made.code not in ("decoder_crashed", "media_timeout"), made.detail
    if row.strict:
        assert isinstance(made, MediaError) == (row.expected != "ok"), f"expected {row.expected}, got {made}"
    assert not connections, "an address inside the file was followed"
    if row.path.name.startswith(POINTING):
        assert isinstance(made, MediaError), "another file's pictures cannot be told from its own: nothing may come out"
    published = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert b"root:x:0:0" not in published, "another file's content is in an output"

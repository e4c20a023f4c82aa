"""Cut anywhere, joined again, nothing lost: every kind of source, in 1, 2, 4 and 7 chunks, compared frame by frame.

The chunks are encoded without loss, so the joined file must decode to the very frames and times of the source.
"""

from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from tests.support.chunks import encode_and_join, pictures, planned, shown, timed_pictures
from tests.support.hidden_frames import with_hidden_frames
from tests.support.media import clip, folder, remuxed

CUTS = (1, 2, 4, 7)
SMALL: dict[str, Any] = {"width": 96, "height": 64, "frames": 75, "gop": 20}
UNEVEN_MS = tuple(accumulate([0] + [33 + number * 37 % 60 for number in range(74)]))
WRAP = (1 << 33) - 90_000  # one second before MPEG-TS's clock starts again


def open_gop(**changes: Any) -> Path:
    """H.264 whose B frames before a key frame refer across it."""
    return clip(**SMALL, bframes=3, open_gop=True, **changes)


def intra_refresh(**changes: Any) -> Path:
    """H.264 with one key frame, which afterwards renews itself column by column."""
    params = ("x264-params", "keyint=20:bframes=0:intra-refresh=1")
    return clip(**SMALL, options=(("preset", "veryfast"), params), **changes)


def beheaded(path: Path, packets: int) -> Path:
    """The stream of `path` as MPEG-TS without its first packets, as a recorder that starts in the middle gets it."""
    target = folder() / f"{path.stem}-without-{packets}.ts"
    with av.open(str(path)) as source, av.open(str(target), "w", format="mpegts") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if number >= packets and packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    return target


SOURCES: dict[str, Callable[[], Path]] = {
    "h264 open gop mp4": open_gop,
    "h264 open gop mkv": lambda: remuxed(open_gop(), "mkv"),
    "h264 open gop ts": lambda: remuxed(open_gop(), "ts"),
    "h264 open gop fragmented mp4": lambda: remuxed(open_gop(), "mp4", movflags="frag_keyframe+empty_moov"),
    "h264 open gop recorded from the middle": lambda: beheaded(open_gop(suffix="ts"), 7),
    "h264 closed gop mp4": lambda: clip(**SMALL),
    "h264 without b frames flv": lambda: clip(**SMALL, bframes=0, suffix="flv"),
    "edit list that hides the first frames": lambda: clip(**SMALL, pts=tuple(range(-7, 68)), time_base=Fraction(1, 30)),
    "start at ten seconds mp4": lambda: clip(**SMALL, pts=tuple(range(300, 375)), time_base=Fraction(1, 30)),
    "start at ten seconds mkv": lambda: clip(
        **SMALL, suffix="mkv", pts=tuple(range(300, 375)), time_base=Fraction(1, 30)
    ),
    "variable rate mp4": lambda: open_gop(pts=UNEVEN_MS, time_base=Fraction(1, 1000)),
    "variable rate mkv": lambda: clip(**SMALL, suffix="mkv", pts=UNEVEN_MS, time_base=Fraction(1, 1000)),
    "single key frame": lambda: clip(**SMALL | {"gop": 1000}),
    "intra refresh mp4": intra_refresh,
    "intra refresh ts": lambda: remuxed(intra_refresh(), "ts"),
    "intra refresh recorded from the middle": lambda: beheaded(intra_refresh(suffix="ts"), 5),
    "hevc with skipped leading frames mp4": lambda: clip(**SMALL, codec="hevc", bframes=3, open_gop=True),
    "hevc with skipped leading frames ts": lambda: remuxed(clip(**SMALL, codec="hevc", bframes=3, open_gop=True), "ts"),
    "hevc recorded from the middle": lambda: beheaded(
        clip(**SMALL, codec="hevc", bframes=3, open_gop=True, suffix="ts"), 7
    ),
    "vp8 hidden frames": lambda: with_hidden_frames("vp8"),
    "vp9 hidden frames": lambda: with_hidden_frames("vp9"),
    "vp9 hidden frames in packets of their own": lambda: with_hidden_frames("vp9", packed=False),
    "av1 one key frame": lambda: clip(**SMALL | {"gop": 1000}, codec="av1"),
    "mpeg-2 interlaced ts": lambda: clip(**SMALL, codec="mpeg2video", suffix="ts", interlaced="top"),
    "mpeg-2 program stream": lambda: clip(**SMALL, codec="mpeg2video", suffix="mpg"),
    "mpeg-4 with b frames avi": lambda: clip(**SMALL, codec="mpeg4", suffix="avi"),
    "prores": lambda: clip(**SMALL | {"frames": 40}, codec="prores", suffix="mov", pix_fmt="yuv422p10le"),
    "motion jpeg avi": lambda: clip(**SMALL | {"frames": 40}, codec="mjpeg", suffix="avi", pix_fmt="yuvj420p"),
    "ts whose clock starts again": lambda: clip(
        **SMALL, suffix="ts", pts=tuple(WRAP + 3000 * n for n in range(75)), time_base=Fraction(1, 90_000)
    ),
    "raw h264": lambda: clip(**SMALL, suffix="h264"),
    "h264 in avi": lambda: clip(**SMALL, suffix="avi"),
    "one frame": lambda: clip(**SMALL | {"frames": 1}),
}
NOT_CUT = {"raw h264": "its frames carry no times", "h264 in avi": "its frames carry wrong times"}


@pytest.mark.parametrize("name", SOURCES)
def test_joined_chunks_decode_to_the_frames_and_times_of_the_source(name: str, tmp_path: Path) -> None:
    path = SOURCES[name]()
    expected = timed_pictures(path)
    assert len(expected) >= 50 or name in ("one frame", "prores", "motion jpeg avi")
    for chunks in CUTS:
        video = planned(path, chunks=chunks)
        joined = encode_and_join(video, tmp_path / str(chunks))
        found = timed_pictures(joined.path)
        assert [digest for _, digest in found] == [digest for _, digest in expected], f"{chunks} chunks"
        if name not in NOT_CUT:
            assert [at for at, _ in found] == [at for at, _ in expected], f"{chunks} chunks"
        assert sum(chunk.concealed_frames for chunk in joined.chunks) == 0
        assert len(joined.chunks) == (1 if name in NOT_CUT or name == "one frame" else len(video.video.chunks))
        assert video.video.why_not_chunkable == NOT_CUT.get(name)


@pytest.mark.parametrize("name", ["variable rate mp4", "h264 open gop ts", "edit list that hides the first frames"])
@pytest.mark.parametrize("chunks", [1, 4])
def test_at_a_constant_rate_the_joined_frames_are_those_of_the_frame_map(
    name: str, chunks: int, tmp_path: Path
) -> None:
    path = SOURCES[name]()
    source = pictures(path)
    video = planned(path, chunks=chunks, timing="constant")
    joined = encode_and_join(video, tmp_path)
    assert pictures(joined.path) == [source[number] for number in shown(video.rows, video.index)]
    times = [at for at, _ in timed_pictures(joined.path)]
    assert times == [number / video.video.frame_rate for number in range(len(video.rows))]


@pytest.mark.parametrize("suffix", ["ts", "mp4"])
def test_deinterlaced_chunks_are_the_same_as_one_deinterlaced_whole(suffix: str, tmp_path: Path) -> None:
    path = clip(**SMALL, codec="mpeg2video", suffix=suffix, interlaced="top")
    whole = encode_and_join(planned(path, chunks=1, deinterlace=True), tmp_path / "whole")
    cut = encode_and_join(planned(path, chunks=7, deinterlace=True), tmp_path / "cut")
    assert pictures(cut.path) == pictures(whole.path)
    assert pictures(whole.path) != pictures(path), "nothing was deinterlaced"


def test_the_sources_of_the_matrix_have_the_traits_that_they_are_named_for() -> None:
    def packets(name: str) -> list[Any]:
        with av.open(str(SOURCES[name]())) as container:
            return [packet for packet in container.demux(video=0) if packet.size]

    def shown_frames(name: str) -> int:
        return len(pictures(SOURCES[name]()))

    for hidden in ("vp8 hidden frames", "vp9 hidden frames in packets of their own"):
        assert len(packets(hidden)) > shown_frames(hidden)
    assert any(bytes(packet)[-1] & 0xE0 == 0xC0 for packet in packets("vp9 hidden frames")), "no superframe"
    assert len(packets("h264 open gop recorded from the middle")) > shown_frames(
        "h264 open gop recorded from the middle"
    )
    for middle in ("intra refresh recorded from the middle", "hevc recorded from the middle"):
        assert len(packets(middle)) > shown_frames(middle) + 5
    assert sum(packet.is_discard for packet in packets("edit list that hides the first frames")) == 7
    assert sum(packet.is_keyframe for packet in packets("single key frame")) == 1
    assert all(packet.pts is None for packet in packets("raw h264"))
    assert len({b.pts - a.pts for a, b in pairwise(sorted(packets("variable rate mkv"), key=lambda p: p.pts))}) > 10
    # FFmpeg sees the wrap coming and counts up to it from below zero.
    assert {packet.pts < 0 for packet in packets("ts whose clock starts again")} == {True, False}

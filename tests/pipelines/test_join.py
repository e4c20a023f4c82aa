"""Joining chunks, and every way in which a join is found out not to be what was planned."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import pytest

from pipelines import join as join_module
from pipelines.errors import ProofFailed
from pipelines.join import JoinRequest, RenditionProof
from pipelines.plan import RenditionPlan, VideoPlan
from pipelines.wire import from_wire, to_wire
from tests.support.chunks import Joined, Planned, encode, encode_and_join, encoded_file, join_paths, lossless, planned
from tests.support.media import clip, folder, frame_numbers

SMALL: dict[str, Any] = {"width": 160, "height": 96, "frames": 60, "gop": 20}
CODECS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": (
        "libx264",
        {"preset": "veryfast", "crf": "30", "x264-params": "keyint=10:scenecut=0:open-gop=0:stitchable=1"},
    ),
    "hevc": (
        "libx265",
        {
            "preset": "ultrafast",
            "crf": "32",
            "x265-params": "keyint=10:min-keyint=10:scenecut=0:open-gop=0:pools=none:frame-threads=1:log-level=none",
        },
    ),
    "av1": ("libsvtav1", {"preset": "6", "crf": "5", "g": "10", "svtav1-params": "irefresh-type=2:scd=0:lp=1"}),
}


def encoded_as(codec: Any, **more: str) -> Any:
    """What `planned` makes renditions with; `more` are options of the encoder."""
    encoder, options = CODECS[codec]

    def renditions(video: VideoPlan) -> tuple[RenditionPlan, ...]:
        plan = lossless(160, 96, "yuv420p", 10, color=video.renditions[0].color)
        return (replace(plan, codec=codec, encoder=encoder, options=options | more),)

    return renditions


@cache
def three_chunks() -> tuple[Planned, list[Path]]:
    """A constant-rate video in three chunks of 20 frames, each with two key frames."""
    video = planned(clip(**SMALL), chunks=3, timing="constant", renditions=encoded_as("h264"))
    target = folder() / "three-chunks"
    for chunk in video.video.chunks:
        encode(video, chunk, target)
    return video, [encoded_file(target, chunk) for chunk in video.video.chunks]


def rejoined(tmp_path: Path, paths: list[Path] | None = None, **changes: Any) -> Joined:
    """The three chunks, or others in their place, joined as `changes` of the plan say."""
    video, chunks = three_chunks()
    return join_paths(replace(video, video=replace(video.video, **changes)), [], paths or chunks, tmp_path)


@pytest.mark.parametrize("codec", CODECS)
def test_chunks_of_every_codec_join_to_one_playable_file_with_its_proof(
    codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SVT_LOG", "1")
    video = planned(clip(**SMALL), chunks=3, timing="constant", renditions=encoded_as(codec))
    joined = encode_and_join(video, tmp_path)
    assert frame_numbers(joined.path) == list(range(60))
    proof = joined.proof
    assert (proof.frames, proof.expected_frames, proof.parameter_sets) == (60, 60, 1)
    assert proof.ok
    assert proof.pts_equal
    assert proof.keyframes_on_grid
    assert proof.duration_s == pytest.approx(2.0)
    assert proof.bytes == joined.path.stat().st_size
    assert proof.peak_1s_bitrate_bps >= proof.mean_bitrate_bps > 0
    with av.open(str(joined.path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec_tag == {"h264": "avc1", "hevc": "hvc1", "av1": "av01"}[codec]
        assert stream.average_rate == 30
        packets = [packet for packet in container.demux(stream) if packet.size]
        keys = sorted((packet.pts or 0) * stream.time_base for packet in packets if packet.is_keyframe)
    times = [(packet.dts, packet.pts) for packet in packets]
    assert times == sorted(times, key=lambda time: time[0] or 0)
    assert len({dts for dts, _ in times}) == 60
    assert keys == [Fraction(n, 3) for n in range(6)]


def test_a_join_says_what_its_colours_are(tmp_path: Path) -> None:
    tagged = clip(**SMALL, primaries=5, transfer=1, matrix=5, full_range=False)
    joined = encode_and_join(planned(tagged, chunks=2), tmp_path)
    assert joined.path.read_bytes().count(b"colrnclx") == 1, "for players that read the container only"
    with av.open(str(joined.path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (5, 1, 5, 1)


def test_the_same_chunks_always_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for target in (first, second):
        target.mkdir()
        rejoined(target)
    assert (first / "joined.mp4").read_bytes() == (second / "joined.mp4").read_bytes()


def test_nothing_of_the_source_s_metadata_or_of_the_writer_is_in_a_join(tmp_path: Path) -> None:
    path = clip(**SMALL, metadata=(("location", "+48.8584+002.2945/"), ("title", "Holiday")))
    assert b"Holiday" in path.read_bytes()
    joined = encode_and_join(planned(path, chunks=2), tmp_path)
    data = joined.path.read_bytes()
    for text in (b"48.85", b"Holiday", b"Lavf"):
        assert text not in data


def refused(tmp_path: Path, why: str, paths: list[Path] | None = None, **changes: Any) -> None:
    with pytest.raises(ProofFailed, match=why) as caught:
        rejoined(tmp_path, paths, **changes)
    assert "lossless" in caught.value.public_message, "it names the rendition"
    assert not caught.value.retryable


def test_a_missing_chunk_is_found_out(tmp_path: Path) -> None:
    _, chunks = three_chunks()
    refused(tmp_path, "40 frames instead of 60", chunks[:2])


def test_a_chunk_that_lost_a_frame_is_found_out(tmp_path: Path) -> None:
    _, chunks = three_chunks()
    shorter = tmp_path / "shorter.mp4"
    with av.open(str(chunks[1])) as source, av.open(str(shorter), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet in packets[:-1]:
            packet.stream = stream
            out.mux(packet)
    refused(tmp_path, "59 frames instead of 60", [chunks[0], shorter, chunks[2]])


def test_a_frame_at_another_time_is_found_out(tmp_path: Path) -> None:
    video, chunks = three_chunks()
    rows = [replace(row, pts=row.pts + (row.pts == 33)) for row in video.rows]  # two at 34, none at 33
    moved = replace(video, rows=rows)
    with pytest.raises(ProofFailed, match="frames at other times"):
        join_paths(moved, [], chunks, tmp_path)


def test_a_chunk_of_other_parameter_sets_is_found_out(tmp_path: Path) -> None:
    video, chunks = three_chunks()
    other = planned(
        video.path,
        chunks=3,
        timing="constant",
        renditions=encoded_as("h264", profile="baseline"),
    )
    encode(other, other.video.chunks[1], tmp_path)
    strange = encoded_file(tmp_path, other.video.chunks[1])
    refused(tmp_path, "2 different parameter sets", [chunks[0], strange, chunks[2]])


def test_key_frames_off_the_grid_are_found_out(tmp_path: Path) -> None:
    refused(tmp_path, "key frames elsewhere", gop_frames=20)


def test_a_buffer_that_would_run_dry_is_found_out(tmp_path: Path) -> None:
    video, _ = three_chunks()
    tight = replace(video.video.renditions[0], max_bitrate_bps=1000, buffer_bits=2000)
    refused(tmp_path, "buffer underflows", renditions=(tight,))


def damaged(monkeypatch: pytest.MonkeyPatch, damage: Callable[[list[Any]], None], header_end: bytes = b"") -> None:
    """Have every join write its file, and `damage` change the list of its packets afterwards.

    `header_end` takes the place of the last bytes of the parameter sets.
    """

    def write_and_damage(rendition: Any, *rest: Any) -> None:
        write(rendition, *rest)
        whole = Path(rendition.out_path).rename(f"{rendition.out_path}.whole")
        with av.open(str(whole), format="mp4") as source, av.open(rendition.out_path, "w", format="mp4") as out:
            origin = source.streams.video[0]
            stream = out.add_stream_from_template(origin)
            stream.time_base = origin.time_base
            if header_end:
                whole_header = origin.codec_context.extradata or b""
                stream.codec_context.extradata = whole_header[: -len(header_end)] + header_end
            packets = [packet for packet in source.demux(origin) if packet.size]
            damage(packets)
            for packet in packets:
                packet.stream = stream
                out.mux(packet)

    write = join_module._write
    monkeypatch.setattr(join_module, "_write", write_and_damage)


def nothing(_: list[Any]) -> None:
    """No damage: what comes through copying alone."""


def drop_one(packets: list[Any]) -> None:
    del packets[33]


def move_one(packets: list[Any]) -> None:
    packets[33].pts += 1


def move_all(packets: list[Any]) -> None:
    for packet in packets:
        packet.pts += 512
        packet.dts += 512


def lose_a_key(packets: list[Any]) -> None:
    packets[[n for n, packet in enumerate(packets) if packet.is_keyframe][2]].is_keyframe = False


def invent_a_key(packets: list[Any]) -> None:
    packets[5].is_keyframe = True


def shorten_one(packets: list[Any]) -> None:
    old = packets[33]
    new = av.Packet(bytes(old)[:-4])
    new.pts, new.dts, new.duration, new.time_base = old.pts, old.dts, old.duration, old.time_base
    packets[33] = new


def stretch_the_last(packets: list[Any]) -> None:
    packets[-1].duration += 30 * 512


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (drop_one, "59 frames instead of 60"),
        (move_one, "frames at other times"),
        (move_all, "frames at other times"),
        (lose_a_key, "key frames elsewhere"),
        (invent_a_key, "key frames elsewhere"),
        (shorten_one, "packets of other sizes"),
        (stretch_the_last, r"3\.000 s instead of 2\.000 s"),
    ],
)
def test_a_joined_file_that_is_not_what_was_written_is_found_out(
    damage: Callable[[list[Any]], None], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged(monkeypatch, damage)
    refused(tmp_path, why)


def test_a_joined_file_with_a_header_that_is_not_its_chunks_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = three_chunks()[1][0]
    with av.open(str(chunk)) as container:
        header = container.streams.video[0].codec_context.extradata or b""
    pps_end = header.rindex(b"\x68") + 2  # behind the type of the last unit and a byte of what it says
    damaged(monkeypatch, nothing, bytes([header[pps_end] ^ 1]) + header[pps_end + 1 :])
    refused(tmp_path, "2 different parameter sets")


def test_copying_alone_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged(monkeypatch, nothing)
    assert rejoined(tmp_path).proof.ok


def test_an_empty_chunk_file_is_an_error_and_no_join(tmp_path: Path) -> None:
    _, chunks = three_chunks()
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(av.error.FFmpegError):
        rejoined(tmp_path, [chunks[0], empty, chunks[2]])


def test_a_variable_rate_join_ends_when_its_last_frame_does(tmp_path: Path) -> None:
    path = clip(
        **SMALL | {"frames": 30}, pts=tuple(n * 40 + (n % 3) * 9 for n in range(30)), time_base=Fraction(1, 1000)
    )
    video = planned(path, chunks=3)
    joined = encode_and_join(video, tmp_path)
    assert joined.proof.duration_s == pytest.approx(video.video.duration_s, abs=0.001)


def test_a_first_picture_that_stands_for_long_makes_a_reordered_join_no_longer(tmp_path: Path) -> None:
    pts = (0, *(5000 + n * 40 for n in range(29)))
    path = clip(**SMALL | {"frames": 30}, pts=pts, time_base=Fraction(1, 1000))
    joined = encode_and_join(planned(path, chunks=3, renditions=encoded_as("h264")), tmp_path)
    assert joined.proof.ok
    assert joined.proof.duration_s == pytest.approx(6.16)


def test_requests_and_proofs_survive_the_pipe(tmp_path: Path) -> None:
    video, chunks = three_chunks()
    asked = JoinRequest((), replace(video.video, chunks=()), "frames.i64")
    assert from_wire(JoinRequest, to_wire(asked)) == asked
    shutil.copy(chunks[0], tmp_path)
    proof = rejoined(tmp_path).proof
    assert from_wire(RenditionProof, to_wire(proof)) == proof

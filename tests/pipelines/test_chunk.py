"""One chunk: its files, its report, and sources that break in the middle of it."""

import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from pipelines.chunk import ChunkRequest, encode_chunk
from pipelines.decode import Decoder
from pipelines.encode import RenditionEncoder
from pipelines.errors import CorruptMedia, EncodeFailed
from pipelines.plan import RenditionPlan, VideoPlan
from pipelines.proof import parameter_sets
from pipelines.wire import from_wire, to_wire
from tests.support.chunks import Planned, encode, encode_and_join, encoded_file, lossless, pictures, planned, silent
from tests.support.media import clip, folder, frame_numbers, remuxed

SMALL: dict[str, Any] = {"width": 160, "height": 96, "frames": 60, "gop": 20}


def ladder(video: VideoPlan) -> tuple[RenditionPlan, ...]:
    """The source's size, and half of it."""
    full = video.renditions[0]
    half = lossless(video.source.width // 2, video.source.height // 2, "yuv420p", video.gop_frames, color=full.color)
    return replace(full, name="full"), replace(half, name="half")


def request(video: Planned, chunk: int, folder: Path, **changes: Any) -> ChunkRequest:
    cut = video.video.chunks[chunk]
    rows = video.rows[cut.start_frame : cut.end_frame]
    asked = ChunkRequest(
        source_path=str(video.path),
        video=replace(video.video, chunks=()),
        chunk=cut,
        sources=tuple(row.source for row in rows),
        pts=tuple(row.pts for row in rows),
        out_dir=str(folder),
        threads=1,
    )
    return replace(asked, **changes)


def header(path: Path) -> tuple[bytes, ...]:
    """The parameter sets of a chunk."""
    with av.open(path) as container:
        return parameter_sets("h264", container.streams.video[0].codec_context.extradata or b"")


def damaged(path: Path, broken: range) -> Path:
    """A copy whose packets with these numbers, in file order, hold noise."""
    target = folder() / f"damaged-{broken.start}-{broken.stop}-{path.name}"
    with av.open(str(path)) as source, av.open(str(target), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if not packet.size:
                continue
            if number in broken:
                packet.update(b"\x00\x00\x00\x01\xff" + bytes(number % 251 for number in range(packet.size - 5)))
            packet.stream = stream
            out.mux(packet)
    return target


def test_every_rendition_of_a_chunk_holds_its_frames_from_time_zero(tmp_path: Path) -> None:
    video = planned(clip(**SMALL), chunks=3, renditions=ladder)
    result = encode_chunk(request(video, 1, tmp_path), silent)
    assert [(r.name, r.frames) for r in result.renditions] == [("full", 20), ("half", 20)]
    for made in result.renditions:
        path = tmp_path / f"{made.name}.mp4"
        assert frame_numbers(path) == list(range(20, 40))
        with av.open(path) as container:
            stream = container.streams.video[0]
            times = sorted(
                packet.pts * stream.time_base for packet in container.demux(stream) if packet.pts is not None
            )
            assert times == [Fraction(n, 30) for n in range(20)]
    assert result.decoded_frames >= 20
    assert result.peak_rss_bytes > 10_000_000
    assert result.wall_s > 0


def test_a_rendition_has_the_same_parameter_sets_in_every_chunk_and_another_rendition_has_others(
    tmp_path: Path,
) -> None:
    video = planned(clip(**SMALL), chunks=3, renditions=ladder)
    for chunk in video.video.chunks:
        encode(video, chunk, tmp_path)
    full, half = (
        {header(encoded_file(tmp_path, chunk, name)) for chunk in video.video.chunks} for name in ("full", "half")
    )
    assert len(full) == len(half) == 1
    assert full != half


def test_progress_counts_up_to_all_frames_of_every_rendition(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    encode_chunk(request(planned(clip(**SMALL), chunks=1, renditions=ladder), 0, tmp_path), heard.append)
    assert heard[-1] == {"frames": 60, "frames_done": 60, "renditions": {"full": 60, "half": 60}}
    assert [update["frames_done"] for update in heard] == sorted(update["frames_done"] for update in heard)


def test_progress_is_told_while_frames_before_the_chunk_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.chunk.REPORT_S", 0.0)
    video = planned(clip(**SMALL | {"gop": 1000}), chunks=2)
    heard: list[dict[str, Any]] = []
    encode_chunk(request(video, 1, tmp_path), heard.append)
    assert sum(update["frames_done"] == 0 for update in heard) >= 30


def busy(seconds: float) -> None:
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass


@pytest.mark.parametrize("step", ["_encode", "_drain"])
@pytest.mark.parametrize(("doing", "alive"), [(busy, True), (time.sleep, False)])
def test_an_encoder_that_works_without_taking_or_giving_a_frame_is_told_of_and_one_that_hangs_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, doing: Callable[[float], None], alive: bool
) -> None:
    heard: list[dict[str, Any]] = []
    during: list[int] = []
    original = getattr(RenditionEncoder, step)

    def slow(self: RenditionEncoder, *work: Any) -> None:
        if not during:
            doing(0.5)  # until the queue in front of it is full
            before = len(heard)
            doing(1.5)
            during.append(len(heard) - before)
        original(self, *work)

    monkeypatch.setattr("pipelines.chunk.REPORT_S", 0.1)
    monkeypatch.setattr(RenditionEncoder, step, slow)
    encode_chunk(request(planned(clip(**SMALL), chunks=1), 0, tmp_path), heard.append)
    assert (during[0] >= 3) if alive else (during == [0])


class UndefinedTimes:
    """An encoder's stream that says of decoding times what x265 does of an only frame: what lay in its memory."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def encode(self, frame: av.VideoFrame | None) -> list[Any]:
        packets: list[Any] = self.stream.encode(frame)
        for packet in packets:
            packet.dts = -140_101_833_196_626
        return packets


def test_a_video_of_one_frame_is_written_though_its_encoder_leaves_its_decoding_time_undefined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = RenditionEncoder._open
    monkeypatch.setattr(RenditionEncoder, "_open", lambda *given: UndefinedTimes(original(*given)))
    video = planned(clip(**SMALL | {"frames": 1}), chunks=1)
    encode(video, video.video.chunks[0], tmp_path)
    assert frame_numbers(encoded_file(tmp_path, video.video.chunks[0])) == [0]


def test_requests_and_results_survive_the_pipe(tmp_path: Path) -> None:
    asked = request(planned(clip(**SMALL), chunks=3), 1, tmp_path)
    assert from_wire(ChunkRequest, to_wire(asked)) == asked


def test_more_threads_give_the_same_frames(tmp_path: Path) -> None:
    path = clip(**SMALL, open_gop=True, bframes=3)
    joined = encode_and_join(planned(path, chunks=3), tmp_path, threads=4)
    assert pictures(joined.path) == pictures(path)


def test_a_rendition_has_the_same_bytes_with_more_threads_and_beside_others(tmp_path: Path) -> None:
    def renditions(video: VideoPlan) -> tuple[RenditionPlan, ...]:
        plan = lossless(160, 96, "yuv420p", 10, color=video.renditions[0].color)
        lossy = replace(
            plan, options={"preset": "veryfast", "crf": "28", "x264-params": "keyint=10:scenecut=0:cpu-independent=1"}
        )
        return (lossy, replace(lossy, name="other"))

    both = planned(clip(**SMALL), chunks=1, renditions=renditions)
    alone = replace(both, video=replace(both.video, renditions=both.video.renditions[:1]))
    made = set()
    for number, (video, threads) in enumerate([(both, 1), (both, 8), (alone, 1), (alone, 8)]):
        encode(video, video.video.chunks[0], tmp_path / str(number), threads=threads)
        made.add(encoded_file(tmp_path / str(number), video.video.chunks[0]).read_bytes())
    assert len(made) == 1


def test_a_few_undecodable_frames_are_shown_as_the_frame_before_them_and_counted(tmp_path: Path) -> None:
    path = damaged(clip(**SMALL, codec="mjpeg", suffix="avi", pix_fmt="yuvj420p"), range(25, 28))
    video = planned(clip(**SMALL, codec="mjpeg", suffix="avi", pix_fmt="yuvj420p"), chunks=2)
    joined = encode_and_join(replace(video, path=path), tmp_path)
    assert sum(chunk.concealed_frames for chunk in joined.chunks) == 3
    assert frame_numbers(joined.path) == [24 if n in range(25, 28) else n for n in range(60)]


def test_undecodable_frames_at_the_start_of_a_chunk_show_the_first_one_after_them(tmp_path: Path) -> None:
    whole = clip(**SMALL, codec="mjpeg", suffix="avi", pix_fmt="yuvj420p")
    video = replace(planned(whole, chunks=2), path=damaged(whole, range(30, 32)))
    result = encode(video, video.video.chunks[1], tmp_path)
    assert result.concealed_frames == 2
    numbers = frame_numbers(encoded_file(tmp_path, video.video.chunks[1]))
    assert numbers in ([32, 32, *range(32, 60)], [29, 29, *range(32, 60)])


def test_a_chunk_of_which_too_much_is_missing_is_refused_as_corrupt(tmp_path: Path) -> None:
    whole = clip(**SMALL, codec="mjpeg", suffix="avi", pix_fmt="yuvj420p")
    video = replace(planned(whole, chunks=2), path=damaged(whole, range(30, 45)))
    with pytest.raises(CorruptMedia, match="damaged or missing"):
        encode(video, video.video.chunks[1], tmp_path)


def test_an_encoder_that_refuses_its_options_ends_the_chunk_with_its_name(tmp_path: Path) -> None:
    def broken(video: VideoPlan) -> tuple[RenditionPlan, ...]:
        full, half = ladder(video)
        return full, replace(half, options=half.options | {"preset": "nonsense"})

    video = planned(clip(**SMALL), chunks=1, renditions=broken)
    with pytest.raises(EncodeFailed, match="half"):
        encode_chunk(request(video, 0, tmp_path), silent)


def test_an_encoder_that_fails_midway_ends_the_others_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.filters import RenditionGraph

    whole = RenditionGraph.frame

    def fails(graph: RenditionGraph, shared: Any) -> Any:
        if graph._plan.name == "half" and shared.pts and shared.pts > 5000:
            raise av.error.ExternalError(1, "the encoder gave up")
        return whole(graph, shared)

    monkeypatch.setattr(RenditionGraph, "frame", fails)
    video = planned(clip(**SMALL), chunks=1, renditions=ladder)
    with pytest.raises(EncodeFailed, match="half"):
        encode_chunk(request(video, 0, tmp_path), silent)


def test_a_seek_that_lands_too_late_is_tried_again_further_back() -> None:
    """MPEG-TS does so by itself; here the wish itself is wrong."""
    path = remuxed(clip(**SMALL), "ts")
    video = planned(path, chunks=1)
    pts, keys = video.index.pts, video.index.keys
    with Decoder(str(path), video.video.source, 1) as decoder:
        wanted = [frame.pts for frame in decoder.between(pts[25], pts[30], (keys[0], keys[1], keys[2]))]
    assert wanted == list(pts[25:31])


def test_a_frame_that_no_start_gives_does_not_send_the_decoder_to_the_top_again_and_again() -> None:
    whole = clip(**SMALL | {"gop": 5}, bframes=0)
    video = planned(whole, chunks=1)
    pts, keys = video.index.pts, video.index.keys
    with Decoder(str(whole), video.video.source, 1) as decoder:
        missing = pts[42] + 1  # a time between two frames
        found = [frame.pts for frame in decoder.between(missing, pts[50], keys[2:9])]
    assert found == list(pts[43:51])
    assert decoder.decoded_frames < 40

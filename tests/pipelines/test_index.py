"""The frame index: what a decoder will give, known before the work, and files that are refused early."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from pipelines.errors import CorruptMedia, LimitExceeded, MediaError, TruncatedMedia
from pipelines.facts import VideoFacts
from pipelines.index import SoundPackets, build_index
from pipelines.inspect import InspectRequest, inspect
from pipelines.limits import Limits
from pipelines.plan import FrameIndex
from tests.support.chunks import silent, timed_pictures
from tests.support.media import Sound, clip, folder, joined_ts, remuxed


def facts(path: Path) -> VideoFacts:
    video = inspect(InspectRequest(str(path), Limits(), "video"), silent).info.video
    assert video is not None
    return video


def index(path: Path, limits: Limits | None = None) -> FrameIndex:
    return build_index(str(path), facts(path), limits or Limits())


def cut_short(path: Path, share: float) -> Path:
    target = folder() / f"{path.stem}-cut-{share}{path.suffix}"
    data = path.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def fast_start(path: Path) -> Path:
    return remuxed(path, "mp4", movflags="faststart")


def test_the_index_lists_every_frame_and_every_key_frame() -> None:
    found = index(clip(frames=75, gop=20, open_gop=True, bframes=3))
    assert [pts * found.time_base for pts in found.pts] == [Fraction(n, 30) for n in range(75)]
    assert [key * found.time_base for key in found.keys] == [Fraction(n, 30) for n in (0, 20, 40, 60)]
    assert (found.matching, found.chunkable, found.why_not_chunkable) == ("pts", True, None)
    assert found.last_duration * found.time_base == Fraction(1, 30)


def test_an_mp4_whose_end_is_missing_is_refused_as_truncated() -> None:
    whole = fast_start(clip(frames=90))
    with pytest.raises(TruncatedMedia, match="frames are missing") as caught:
        build_index(str(cut_short(whole, 0.6)), facts(whole), Limits())
    assert 0 < caught.value.detail["frames_missing"] < 90


def test_an_mp4_in_fragments_that_was_cut_between_two_of_them_is_refused_as_truncated() -> None:
    whole = clip(frames=300, width=96, height=64, mux_options=(("movflags", "dash+global_sidx"),))
    data = whole.read_bytes()
    cut = folder() / f"{whole.stem}-cut.mp4"
    cut.write_bytes(data[: data.rfind(b"moof", 0, len(data) // 2) - 4])
    assert len(build_index(str(whole), facts(whole), Limits()).pts) == 300
    with pytest.raises(TruncatedMedia, match=r"of its stated 10\.\d s"):
        build_index(str(cut), facts(cut), Limits())


def test_a_matroska_file_that_ends_long_before_its_stated_duration_is_refused_as_truncated() -> None:
    whole = clip(frames=300, suffix="mkv", width=96, height=64)
    with pytest.raises(TruncatedMedia, match=r"of its stated 10\.0 s"):
        build_index(str(cut_short(whole, 0.5)), facts(whole), Limits())


def test_a_recording_that_was_cut_is_no_truncated_upload() -> None:
    found = index(cut_short(clip(frames=90, suffix="ts"), 0.7))
    assert 40 < len(found.pts) < 90


def test_an_mp4_whose_samples_lie_outside_of_the_file_is_refused(tmp_path: Path) -> None:
    whole = fast_start(clip(frames=30))
    data = bytearray(whole.read_bytes())
    offsets = data.index(b"stco") + 12
    data[offsets : offsets + 4] = (len(data) * 2).to_bytes(4)
    moved = tmp_path / "moved.mp4"
    moved.write_bytes(data)
    with pytest.raises((CorruptMedia, TruncatedMedia)):
        build_index(str(moved), facts(whole), Limits())


def test_more_frames_than_allowed_are_refused() -> None:
    with pytest.raises(LimitExceeded, match="frames"):
        index(clip(frames=60), Limits(max_frames=59))


def test_two_frames_a_day_apart_are_refused_whatever_the_header_says() -> None:
    path = clip(frames=3, pts=(0, 1, 24 * 3600 * 30), time_base=Fraction(1, 30), suffix="mkv", bframes=0)
    with pytest.raises(MediaError) as caught:
        index(path)
    assert caught.value.code == "limit_exceeded"


def test_signs_of_life_are_given_while_packets_are_read_and_while_they_are_decoded() -> None:
    signs: list[None] = []
    path = clip(frames=45, suffix="h264")
    build_index(str(path), facts(path), Limits(), lambda: signs.append(None))
    assert len(signs) >= 45 + 24 + 45, "every packet read, the head decoded, and all decoded"


def test_raw_h264_gets_times_from_its_rate_and_is_counted() -> None:
    found = index(clip(frames=45, suffix="h264"))
    assert found.matching == "ordinal"
    assert not found.chunkable
    assert found.why_not_chunkable == "its frames carry no times"
    assert [round((pts - found.pts[0]) * found.time_base * 30) for pts in found.pts] == list(range(45))


def test_times_that_jump_back_in_the_middle_are_not_believed() -> None:
    first = clip(frames=40, suffix="ts", bframes=0, pts=tuple(900_000 + 3000 * n for n in range(40)),
                 time_base=Fraction(1, 90_000))  # fmt: skip
    second = clip(frames=40, suffix="ts", bframes=0, first_number=40, pts=tuple(3000 * n for n in range(40)),
                  time_base=Fraction(1, 90_000))  # fmt: skip
    path = joined_ts(first, second)
    found = index(path)
    assert (found.matching, found.chunkable) == ("ordinal", False)
    assert len(found.pts) == len(timed_pictures(path))
    steps = {b - a for a, b in pairwise(found.pts)}
    assert steps == {3000}, "made from the frame rate"


def test_the_last_frame_keeps_the_duration_that_the_container_gives_it() -> None:
    source = clip(frames=30, bframes=0)
    held = folder() / "last-frame-held.mp4"
    with av.open(str(source)) as container, av.open(str(held), "w") as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        packets = [packet for packet in container.demux(video=0) if packet.size]
        packets[-1].duration = 60 * (packets[0].duration or 0)
        for packet in packets:
            packet.stream = stream
            out.mux(packet)
    found = index(held)
    assert found.last_duration * found.time_base == 2


def test_a_single_frame_is_shown_for_one_frame_of_its_rate() -> None:
    found = index(clip(frames=1, fps=25))
    assert found.last_duration * found.time_base == Fraction(1, 25)


def test_the_caller_hears_that_the_work_goes_on() -> None:
    path, calls = clip(frames=30), []
    build_index(str(path), facts(path), Limits(), lambda: calls.append(1))
    assert len(calls) >= 30


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_the_end_of_the_sound_is_known_wherever_it_lies(suffix: str) -> None:
    path = clip(suffix=suffix, frames=3, audio=(Sound(seconds=2.0), Sound(seconds=4.0)))
    found = build_index(str(path), facts(path), Limits())
    assert found.sound_end_s - float(found.pts[0] * found.time_base) == pytest.approx(4.0, abs=0.06)


def test_one_damaged_time_does_not_make_hours_of_sound() -> None:
    assert SoundPackets(start_s=0.0, end_s=40_000.0, heard_s=3.0).true_end_s < 4
    assert SoundPackets(start_s=1.0, end_s=4.0, heard_s=3.1).true_end_s == 4.0


def test_sound_that_is_too_long_is_refused_as_a_video_is() -> None:
    path = clip(frames=3, audio=(Sound(seconds=4.0),))
    with pytest.raises(LimitExceeded, match="the sound lasts 4 s"):
        build_index(str(path), facts(path), Limits(max_duration_s=3))

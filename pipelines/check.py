"""Whether a package is whole and plays in step; the packager does not fail on what this finds.

Read back as a player would: manifests, then every segment's packets. Nothing is decoded but the first frames.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pipelines.errors import ProofFailed
from pipelines.playlists import MediaPlaylist, Representation, read_master, read_media_playlist, read_mpd
from pipelines.segments import Scan, index_comes_first, scan_file, scan_segments

TOP_FOLDERS = ("audio", "dash", "hls", "mp4", "video")
MAX_OFFSET_S = Fraction(5, 1000)
EXTINF_ROUNDING_S = Fraction(6, 10_000)  # playlists carry milliseconds


@dataclass(frozen=True, slots=True)
class PackageCheck:
    """What the check saw; a package that fails it raises instead."""

    segments: int  # of each video rendition; of each audio track when there is no video
    longest_segment_s: float
    shortest_segment_s: float  # the last one left out
    start_offset_ms: float  # the largest distance of any track's first frame or sample from 0
    duration_s: float  # of the video; of the longest audio track when there is none


@dataclass(frozen=True, slots=True)
class Packed:
    """One file of ours that must be found in the package again, packet by packet."""

    kind: Literal["video", "audio"]
    name: str
    scan: Scan  # of our file
    mp4: bool = False  # must also be there as a fast-start MP4

    @property
    def folder(self) -> str:
        """Where its segments lie."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Manifests:
    """What players are told, by the folder of each track's segments."""

    media: Mapping[str, MediaPlaylist]  # HLS
    iframes: Mapping[str, MediaPlaylist]
    dash: Mapping[str, Representation]

    def listing(self, folder: str) -> MediaPlaylist | Representation:
        """The exact one where there are both."""
        return self.dash.get(folder) or self.media[folder]


def check_package(
    out_dir: Path,
    tracks: Sequence[Packed],
    *,
    hls: bool,
    dash: bool,
    segment_seconds: float,
    progress: Callable[[str], None],
) -> PackageCheck:
    """Prove the package in `out_dir`. Raises ProofFailed naming what is wrong."""
    manifests = _manifests(out_dir, hls=hls, dash=dash)
    _check_listed(tracks, manifests, hls=hls, dash=dash)
    _check_files(out_dir, tracks, manifests)
    _check_lists_agree(manifests)
    _check_aligned(manifests)
    has_audio = any(track.kind == "audio" for track in tracks)
    scans: dict[str, Scan] = {}
    for track in tracks:
        progress(track.folder)
        packed = hls or dash
        scans[track.folder] = _check_segments(out_dir, track, manifests) if packed else track.scan
        if track.mp4:
            _check_mp4(out_dir / "mp4" / f"{track.name}.mp4", track.scan, has_audio)
    videos = [scans[track.folder] for track in tracks if track.kind == "video"]
    sounds = [scans[track.folder] for track in tracks if track.kind == "audio"]
    offset_s = _check_in_step(videos, sounds)
    if videos and (hls or dash):
        _check_lengths(videos[0], segment_seconds)
    return _summary(videos, sounds, offset_s)


def _manifests(out_dir: Path, *, hls: bool, dash: bool) -> Manifests:
    playlists = _playlists(out_dir) if hls else []
    representations = read_mpd(out_dir / "dash/manifest.mpd") if dash else ()
    return Manifests(
        media={_folder(p.init): p for p in playlists if not p.iframes_only},
        iframes={_folder(p.init): p for p in playlists if p.iframes_only},
        dash={_folder(r.init): r for r in representations},
    )


def _playlists(out_dir: Path) -> list[MediaPlaylist]:
    named = read_master(out_dir / "hls/master.m3u8")
    present = {path.name for path in (out_dir / "hls").glob("*.m3u8")} - {"master.m3u8"}
    if set(named) != present:
        raise ProofFailed(f"the master playlist and the playlists beside it differ: {sorted(set(named) ^ present)}")
    return [read_media_playlist(out_dir / "hls" / name) for name in named]


def _check_listed(tracks: Sequence[Packed], manifests: Manifests, *, hls: bool, dash: bool) -> None:
    wanted = {track.folder for track in tracks}
    videos = {track.folder for track in tracks if track.kind == "video"}
    for listing, asked, what in (
        (manifests.media, wanted if hls else set(), "HLS"),
        (manifests.iframes, videos if hls else set(), "the I-frame playlists"),
        (manifests.dash, wanted if dash else set(), "DASH"),
    ):
        if set(listing) != asked:
            raise ProofFailed(f"{what} has {sorted(listing)} instead of {sorted(asked)}")


def _check_files(out_dir: Path, tracks: Sequence[Packed], manifests: Manifests) -> None:
    """Every file that is named exists, every byte range lies inside, and nothing lies about that nobody names."""
    lists: list[MediaPlaylist | Representation] = [*manifests.media.values(), *manifests.iframes.values()]
    lists += manifests.dash.values()
    named = {name for listing in lists for name in (listing.init, *listing.segments)}
    named |= {f"mp4/{track.name}.mp4" for track in tracks if track.mp4}
    present = {name for name in package_files(out_dir) if not name.endswith((".m3u8", ".mpd"))}
    if missing := sorted(named - present):
        raise ProofFailed(f"{len(missing)} files that the manifests name do not exist, first {missing[0]}")
    if unnamed := sorted(present - named):
        raise ProofFailed(f"{len(unnamed)} files are in no manifest, first {unnamed[0]}")
    for playlist in manifests.iframes.values():
        for name, (length, offset) in zip(playlist.segments, playlist.byte_ranges, strict=True):
            if offset + length > (out_dir / name).stat().st_size:
                raise ProofFailed(f"an I-frame of {name} lies behind the end of the file")


def _check_lists_agree(manifests: Manifests) -> None:
    """HLS and DASH name the same segments with the same durations."""
    for folder in manifests.media.keys() & manifests.dash.keys():
        hls, dash = manifests.media[folder], manifests.dash[folder]
        same_times = len(hls.durations_s) == len(dash.durations_s) and all(
            abs(a - b) <= EXTINF_ROUNDING_S for a, b in zip(hls.durations_s, dash.durations_s, strict=True)
        )
        if hls.segments != dash.segments or not same_times:
            raise ProofFailed(f"HLS and DASH cut {folder} differently")


def _check_aligned(manifests: Manifests) -> None:
    """All video renditions change segments at the same times, so that players can switch there."""
    for listing, what in ((manifests.media, "EXTINF list"), (manifests.iframes, "I-frame list")):
        _check_equal({name: p.durations_s for name, p in listing.items() if name.startswith("video/")}, what)
    videos = {name: (r.starts_s, r.durations_s) for name, r in manifests.dash.items() if r.kind == "video"}
    _check_equal(videos, "SegmentTimeline")


def _check_equal(timelines: Mapping[str, object], what: str) -> None:
    first, *others = sorted(timelines) or [""]
    for name in others:
        if timelines[name] != timelines[first]:
            raise ProofFailed(f"the {what} of {name} differs from that of {first}")


def _check_segments(out_dir: Path, track: Packed, manifests: Manifests) -> Scan:
    """The segments hold exactly the packets of our file, start with key frames, and last as long as is written."""
    folder, source = track.folder, track.scan
    listing = manifests.listing(folder)
    scan = scan_segments([out_dir / name for name in (listing.init, *listing.segments)])
    if scan.packets != source.packets or abs(scan.end_s - source.end_s) > scan.tick_s:
        raise ProofFailed(
            f"{folder} has {scan.packets} packets until {float(scan.end_s):.3f} s,"
            f" its source {source.packets} until {float(source.end_s):.3f} s"
        )
    _check_times(folder, scan, source)
    at = Fraction(0)
    for number, (part, written) in enumerate(zip(scan.parts, listing.durations_s, strict=True), start=1):
        if not part.starts_with_key:
            raise ProofFailed(f"segment {number} of {folder} does not start with a key frame")
        tolerance = scan.tick_s + EXTINF_ROUNDING_S * number
        if abs(part.duration_s - written) > tolerance or abs(part.start_s - at) > tolerance:
            raise ProofFailed(
                f"segment {number} of {folder} plays {float(part.start_s):.3f} + {float(part.duration_s):.3f} s,"
                f" but is listed at {float(at):.3f} + {float(written):.3f} s"
            )
        at += written
    iframes = manifests.iframes.get(folder)
    if iframes is not None and len(iframes.segments) != len(scan.keys_s):
        raise ProofFailed(f"{folder} has {len(scan.keys_s)} key frames, its I-frame playlist {len(iframes.segments)}")
    return scan


def _check_times(name: str, scan: Scan, source: Scan) -> None:
    """Neither the packager nor the fast-start copy changes clocks, so that the ticks themselves are compared."""
    if (scan.tick_s, scan.times_sha256) != (source.tick_s, source.times_sha256):
        raise ProofFailed(f"{name} shows its packets at other times than its source")


def _check_mp4(path: Path, source: Scan, has_audio: bool) -> None:
    scan = scan_file(path)
    if not index_comes_first(path):
        raise ProofFailed(f"mp4/{path.name} has its index behind its media")
    if scan.packets != source.packets or abs(scan.start_s - source.start_s) > MAX_OFFSET_S:
        raise ProofFailed(f"mp4/{path.name} has {scan.packets} frames, its source {source.packets}")
    _check_times(f"mp4/{path.name}", scan, source)
    if scan.streams != 1 + has_audio:
        raise ProofFailed(f"mp4/{path.name} has {scan.streams} tracks")
    if abs(scan.start_s - scan.other_start_s) > MAX_OFFSET_S:
        raise ProofFailed(f"the audio of mp4/{path.name} starts {float(scan.other_start_s):.3f} s off")


def _check_in_step(videos: Sequence[Scan], sounds: Sequence[Scan]) -> Fraction:
    """Everything starts at 0 together, and all videos have the same frames; the largest offset comes back, in s."""
    for scan in videos[1:]:
        if (scan.start_s, scan.packets) != (videos[0].start_s, videos[0].packets):
            raise ProofFailed("the video renditions do not start and end together")
    offset_s = max((abs(scan.start_s) for scan in (*videos, *sounds)), default=Fraction(0))
    if offset_s > MAX_OFFSET_S:
        raise ProofFailed(f"audio or video starts {float(offset_s) * 1000:.1f} ms late or early")
    return offset_s


def _check_lengths(video: Scan, segment_seconds: float) -> None:
    """Segments are as long as was asked for, to within one GOP: they can only end at key frames."""
    gop_s = max(b - a for a, b in pairwise([*video.keys_s, video.end_s]))
    wanted, slack = Fraction(segment_seconds), gop_s + video.tick_s
    lengths = [part.duration_s for part in video.parts]
    if max(lengths) > wanted + slack or min(lengths[:-1], default=wanted) < wanted - slack:
        raise ProofFailed(
            f"segments of {float(min(lengths)):.3f} to {float(max(lengths)):.3f} s instead of {segment_seconds} s"
        )


def _summary(videos: Sequence[Scan], sounds: Sequence[Scan], offset_s: Fraction) -> PackageCheck:
    first = (*videos, *sounds)[0]
    lengths = [part.duration_s for part in first.parts]
    return PackageCheck(
        segments=len(first.parts),
        longest_segment_s=float(max(lengths)),
        shortest_segment_s=float(min(lengths[:-1] or lengths)),
        start_offset_ms=float(offset_s * 1000),
        duration_s=float(max(scan.end_s for scan in videos or sounds)),
    )


def package_files(out_dir: Path) -> list[str]:
    """The package's files, relative to `out_dir`, sorted; others write beside it at the same time."""
    files = [path for top in TOP_FOLDERS for path in (out_dir / top).rglob("*") if path.is_file()]
    return sorted(path.relative_to(out_dir).as_posix() for path in files)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]

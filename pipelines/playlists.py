"""HLS playlists and the DASH manifest: read them back, and mend what the packager leaves.

Measured on Shaka Packager 3.8 with manifests and media in sibling folders: playlists name the media as if they lay
beside it; audio of one language is one DASH adaptation set, so that a player would switch between a film and its
commentary as if they were two bitrates; without video, each language becomes a variant of its own; DEFAULT follows the
language, not the track.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

MPD = "urn:mpeg:dash:schema:mpd:2011"
ROLE_SCHEME = "urn:mpeg:dash:role:2011"
UP = "../"  # from hls/ or dash/ to where video/ and audio/ lie


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """What the manifests say of one audio track."""

    name: str  # its folder under audio/
    label: str
    default: bool
    autoselect: bool  # the one that a player takes for its language
    source: int  # tracks of the same source are bitrates of one another
    group: str  # HLS group: one bitrate of every source


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """One HLS media playlist; paths are relative to the package's root."""

    init: str
    segments: tuple[str, ...]
    durations_s: tuple[Fraction, ...]
    iframes_only: bool
    byte_ranges: tuple[tuple[int, int], ...]  # (length, offset), of I-frame playlists


@dataclass(frozen=True, slots=True)
class Representation:
    """One DASH representation; exact times."""

    kind: str  # video or audio
    init: str
    segments: tuple[str, ...]
    starts_s: tuple[Fraction, ...]
    durations_s: tuple[Fraction, ...]


def mend_hls(folder: Path, tracks: Sequence[AudioTrack], *, has_video: bool) -> None:
    """Make every playlist of `folder` name its media relative to itself, and the master its tracks rightly."""
    for path in sorted(folder.glob("*.m3u8")):
        text = path.read_text()
        if path.name == "master.m3u8":
            text = _mend_master(text, {f"audio-{track.name}.m3u8": track for track in tracks}, has_video)
        else:
            text = re.sub(r'^(?=video/|audio/)|(?<=URI=")(?=video/|audio/)', UP, text, flags=re.MULTILINE)
        path.write_text(text)


def _mend_master(text: str, tracks: dict[str, AudioTrack], has_video: bool) -> str:
    lines = text.splitlines()
    kept: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        playlist = attribute(line, "URI")
        if line.startswith("#EXT-X-MEDIA:TYPE=AUDIO") and playlist in tracks:
            line = _selected(line, tracks[playlist])
        variant = following if line.startswith("#EXT-X-STREAM-INF") else line
        if not has_video and variant in tracks and not tracks[variant].default:
            continue  # another language is reached through the group; as a variant it would be another bitrate
        kept.append(line)
    return "\n".join(kept) + "\n"


def _selected(line: str, track: AudioTrack) -> str:
    bare = re.sub(r",(DEFAULT|AUTOSELECT)=(YES|NO)", "", line)
    yes_or_no = {True: "YES", False: "NO"}
    return f"{bare},DEFAULT={yes_or_no[track.default]},AUTOSELECT={yes_or_no[track.autoselect]}"


def mend_dash(manifest: Path, tracks: Sequence[AudioTrack]) -> None:
    """Point the manifest at its media, and give every source track an adaptation set of its own."""
    ET.register_namespace("", MPD)
    tree = ET.parse(manifest)  # noqa: S314 - our packager wrote it a moment ago
    root = tree.getroot()
    base = ET.Element(f"{{{MPD}}}BaseURL")
    base.text = UP
    root.insert(0, base)
    period = root.find(f"{{{MPD}}}Period")
    assert period is not None, "the packager writes one period"
    by_init = {f"audio/{track.name}/init.mp4": track for track in tracks}
    videos = [s for s in period.findall(f"{{{MPD}}}AdaptationSet") if s.get("contentType") != "audio"]
    audios = [s for s in period.findall(f"{{{MPD}}}AdaptationSet") if s.get("contentType") == "audio"]
    for number, adaptation in enumerate([*videos, *_per_source(audios, by_init)]):
        adaptation.set("id", str(number))  # the packager's numbers follow its threads
        if rate := adaptation.get("frameRate"):
            adaptation.set("frameRate", str(Fraction(rate)))  # 15360/512 is 30
        if number >= len(videos):
            period.append(adaptation)
    for adaptation in audios:
        period.remove(adaptation)
    ET.indent(tree)
    tree.write(manifest, encoding="UTF-8", xml_declaration=True)


def _per_source(adaptations: list[ET.Element], by_init: dict[str, AudioTrack]) -> list[ET.Element]:
    """Adaptation sets that hold the bitrates of one source track each, in the order of the tracks."""
    made: dict[int, ET.Element] = {}
    for adaptation in adaptations:
        for representation in adaptation.findall(f"{{{MPD}}}Representation"):
            track = by_init[_init(representation)]
            if track.source not in made:
                made[track.source] = _empty_like(adaptation, track)
            made[track.source].append(representation)
    order = list(dict.fromkeys(track.source for track in by_init.values()))
    return [made[source] for source in sorted(made, key=order.index)]


def _empty_like(adaptation: ET.Element, track: AudioTrack) -> ET.Element:
    one = deepcopy(adaptation)
    for child in list(one):
        if child.tag in (f"{{{MPD}}}Representation", f"{{{MPD}}}Role"):
            one.remove(child)
    role = ET.Element(f"{{{MPD}}}Role", schemeIdUri=ROLE_SCHEME, value="main" if track.default else "alternate")
    label = ET.Element(f"{{{MPD}}}Label")
    label.text = track.label
    one.insert(0, role)  # the schema's order: Role …, Label, Representation
    one.insert(1, label)
    return one


def _init(representation: ET.Element) -> str:
    template = representation.find(f"{{{MPD}}}SegmentTemplate")
    assert template is not None, "segments are asked for by template"
    return template.get("initialization", "")


def attribute(line: str, name: str) -> str | None:
    found = re.search(rf'[:,]{name}="([^"]*)"', line)
    return found.group(1) if found else None


def read_media_playlist(path: Path) -> MediaPlaylist:
    """One media playlist under ``hls/``."""
    init, segments, durations, ranges = "", [], [], []
    text = path.read_text()
    for line in text.splitlines():
        if line.startswith("#EXT-X-MAP:"):
            init = _from_root(attribute(line, "URI") or "")
        elif line.startswith("#EXTINF:"):
            durations.append(Fraction(line.removeprefix("#EXTINF:").split(",")[0]))
        elif line.startswith("#EXT-X-BYTERANGE:"):
            length, offset = line.removeprefix("#EXT-X-BYTERANGE:").split("@")
            ranges.append((int(length), int(offset)))
        elif line and not line.startswith("#"):
            segments.append(_from_root(line))
    return MediaPlaylist(init, tuple(segments), tuple(durations), "#EXT-X-I-FRAMES-ONLY" in text, tuple(ranges))


def read_master(path: Path) -> tuple[str, ...]:
    """The names of all playlists that the master playlist refers to."""
    lines = path.read_text().splitlines()
    named = [attribute(line, "URI") for line in lines if line.startswith("#")]
    return tuple(dict.fromkeys([*(n for n in named if n), *(line for line in lines if line and line[0] != "#")]))


def read_mpd(path: Path) -> tuple[Representation, ...]:
    """All representations of the DASH manifest."""
    root = ET.parse(path).getroot()  # noqa: S314 - our own file
    base = root.findtext(f"{{{MPD}}}BaseURL") or ""
    found = []
    for adaptation in root.iter(f"{{{MPD}}}AdaptationSet"):
        for representation in adaptation.findall(f"{{{MPD}}}Representation"):
            found.append(_representation(adaptation, representation, base))
    return tuple(found)


def _representation(adaptation: ET.Element, representation: ET.Element, base: str) -> Representation:
    template = representation.find(f"{{{MPD}}}SegmentTemplate")
    assert template is not None, "segments are asked for by template"
    timescale = int(template.get("timescale", "1"))
    starts, durations, at = [], [], 0
    for run in template.iter(f"{{{MPD}}}S"):
        at = int(run.get("t", str(at)))
        for _ in range(int(run.get("r", "0")) + 1):
            starts.append(Fraction(at, timescale))
            durations.append(Fraction(int(run.get("d", "0")), timescale))
            at += int(run.get("d", "0"))
    first = int(template.get("startNumber", "1"))
    media = base + template.get("media", "")
    return Representation(
        kind=adaptation.get("contentType", ""),
        init=_from_root(base + template.get("initialization", "")),
        segments=tuple(_from_root(_numbered(media, first + i)) for i in range(len(starts))),
        starts_s=tuple(starts),
        durations_s=tuple(durations),
    )


def _numbered(template: str, number: int) -> str:
    return re.sub(r"\$Number%0(\d+)d\$", lambda width: f"{number:0{width.group(1)}d}", template)


def _from_root(reference: str) -> str:
    """A path as written in hls/ or dash/, from the package's root; anything else stays as it is, for the check."""
    return reference.removeprefix(UP) if reference.startswith(UP) else f"(beside the manifest) {reference}"

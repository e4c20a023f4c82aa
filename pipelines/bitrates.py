"""The bit rates that a master playlist states, measured on what is published (RFC 8216 §4.1).

Measured on Shaka Packager 3.8: it states the mean of a variant or of its I-frames above their peak, and players plan by
the peak.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path

from pipelines.playlists import MediaPlaylist, attribute, read_media_playlist

LEAST, MOST = Fraction(1, 2), Fraction(3, 2)  # of the longest segment: the runs of segments that a peak is taken over


def state_bitrates(master: Path) -> None:
    """Write the true BANDWIDTH and AVERAGE-BANDWIDTH into every line of `master` that has them."""
    folder = master.parent
    lines = master.read_text().splitlines()
    groups: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("#EXT-X-MEDIA:") and (playlist := attribute(line, "URI")):
            groups.setdefault(attribute(line, "GROUP-ID") or "", []).append(playlist)
    for number, line in enumerate(lines):
        if line.startswith("#EXT-X-I-FRAME-STREAM-INF:"):
            lines[number] = _stated(line, _rates(attribute(line, "URI") or "", folder))
        elif line.startswith("#EXT-X-STREAM-INF:"):
            sound = groups.get(attribute(line, "AUDIO") or "", [])
            lines[number] = _stated(line, _variant(lines[number + 1], sound, folder))
    master.write_text("\n".join(lines) + "\n")


def peak_bps(bits: Sequence[int], durations_s: Sequence[Fraction]) -> Fraction:
    """The highest rate of any run of segments that lasts half to one and a half times the longest of them."""
    longest = max(durations_s)
    peak = Fraction(0)
    for first in range(len(bits)):
        size, lasts = 0, Fraction(0)
        for one, duration in zip(bits[first:], durations_s[first:], strict=True):
            size, lasts = size + one, lasts + duration
            if lasts > MOST * longest:
                break
            if lasts >= LEAST * longest:
                peak = max(peak, size / lasts)
    return peak


def _variant(playlist: str, sound: Sequence[str], folder: Path) -> tuple[Fraction, Fraction]:
    """Peak and mean of a variant with the heaviest track of its sound."""
    tracks = [_rates(track, folder) for track in sound]
    peak, mean = (max((rates[i] for rates in tracks), default=Fraction(0)) for i in (0, 1))
    if playlist in sound:
        return peak, mean
    own = _rates(playlist, folder)
    return own[0] + peak, own[1] + mean


def _rates(name: str, folder: Path) -> tuple[Fraction, Fraction]:
    playlist = read_media_playlist(folder / name)
    bits = [8 * size for size in _sizes(playlist, folder.parent)]
    return peak_bps(bits, playlist.durations_s), sum(bits) / sum(playlist.durations_s, Fraction(0))


def _sizes(playlist: MediaPlaylist, root: Path) -> list[int]:
    if playlist.byte_ranges:
        return [length for length, _ in playlist.byte_ranges]
    return [(root / segment).stat().st_size for segment in playlist.segments]


def _stated(line: str, rates: tuple[Fraction, Fraction]) -> str:
    peak, mean = (ceil(rate) for rate in rates)
    line = re.sub(r"(?<![A-Z-])BANDWIDTH=\d+", f"BANDWIDTH={peak}", line)
    return re.sub(r"AVERAGE-BANDWIDTH=\d+", f"AVERAGE-BANDWIDTH={mean}", line)

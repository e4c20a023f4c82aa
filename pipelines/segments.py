"""What our own media files hold, packet by packet, as a player comes to know them."""

import hashlib
import io
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer

from pipelines.errors import ProofFailed


@dataclass(slots=True)
class Part:
    """One segment; times on the output's clock."""

    start_s: Fraction
    end_s: Fraction
    starts_with_key: bool

    @property
    def duration_s(self) -> Fraction:
        """How long it plays."""
        return self.end_s - self.start_s


@dataclass(slots=True)
class Scan:
    """One track, whole."""

    tick_s: Fraction
    packets: int = 0
    times_sha256: str = ""  # of the presentation times of all packets, in ticks, rising
    start_s: Fraction = Fraction(0)  # of the first frame or sample that is shown
    end_s: Fraction = Fraction(0)
    keys_s: list[Fraction] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    streams: int = 1
    other_start_s: Fraction = Fraction(0)  # of the second track, where there is one; else the same as start_s


class Parts(io.RawIOBase):
    """Files read one after the other as if they were one; a packaged film need not fit into memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self._paths = paths
        self._ends: list[int] = []
        for path in paths:
            self._ends.append((self._ends[-1] if self._ends else 0) + path.stat().st_size)
        self._at = 0
        self._open: tuple[int, BinaryIO] | None = None

    def which(self, offset: int) -> int:
        """The number of the file that holds byte `offset`."""
        return bisect_right(self._ends, offset)

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Bytes from the start of the first file."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte of the whole."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ends[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, not across the border of two files."""
        number = self.which(self._at)
        if number >= len(self._paths):
            return b""
        start = self._ends[number - 1] if number else 0
        if self._open is None or self._open[0] != number:
            self._drop()
            self._open = (number, self._paths[number].open("rb"))
        file = self._open[1]
        file.seek(self._at - start)
        data = file.read(size if size >= 0 else -1)
        self._at += len(data)
        return data

    def close(self) -> None:
        """Close whichever file is open."""
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


def scan_segments(paths: Sequence[Path]) -> Scan:
    """One packaged track: its init segment and all its media segments, in order."""
    with Parts(paths) as parts, av.open(parts, "r", format="mp4") as container:
        scan = _scan(container, parts)
    # What is hidden before the start (an encoder's priming) is in the first segment, but takes none of its time.
    scan.parts[0].start_s = max(scan.parts[0].start_s, scan.start_s)
    return scan


def scan_file(path: Path) -> Scan:
    """One of our progressive MP4s; counts are of its first track."""
    with av.open(str(path)) as container:
        scan = _scan(container, None)
        scan.streams = len(container.streams)
    if scan.streams > 1:
        with av.open(str(path)) as container:
            scan.other_start_s = _second_track_start_s(container)
    scan.parts = [Part(scan.start_s, scan.end_s, starts_with_key=True)]
    return scan


def index_comes_first(path: Path) -> bool:
    """Whether an MP4's moov box lies before its media."""
    with path.open("rb") as file:
        while header := file.read(8):
            size, kind = int.from_bytes(header[:4], "big"), header[4:]
            if kind in (b"moov", b"mdat"):
                return kind == b"moov"
            if size == 1:
                size = int.from_bytes(file.read(8), "big") - 8
            file.seek(size - 8, io.SEEK_CUR)
    return False


def _scan(container: InputContainer, parts: Parts | None) -> Scan:
    stream = container.streams[0]
    tick_s = Fraction(stream.time_base.numerator, stream.time_base.denominator)
    is_video = stream.type == "video"
    # Whole ticks inside the loop: a film has a million packets, and fractions cost ten times as much as reading them.
    end = 0
    times = array("q")
    shown: Fraction | None = None
    keys: list[int] = []
    bounds: dict[int, tuple[int, int, bool]] = {}  # by segment: first and last tick, and whether a key frame leads
    for packet in container.demux(stream):
        if shown is None:
            shown = _shown_s(packet)  # of a short track only the empty packet at the end brings it out
        pts = packet.pts
        if pts is None or not packet.size:
            continue
        times.append(pts)
        until = pts + (packet.duration or 0)
        end = max(end, until)
        if packet.is_keyframe and is_video:
            keys.append(pts)
        if parts is None:
            continue
        number = parts.which(packet.pos or 0)
        first, last, leads = bounds.get(number, (pts, until, packet.is_keyframe))
        bounds[number] = (min(first, pts), max(last, until), leads)
    if shown is None:
        raise ProofFailed("nothing of a file of ours can be decoded")
    return Scan(
        tick_s=tick_s,
        packets=len(times),
        times_sha256=hashlib.sha256(array("q", sorted(times))).hexdigest(),
        start_s=shown,
        other_start_s=shown,
        end_s=end * tick_s,
        keys_s=[key * tick_s for key in keys],
        parts=[Part(first * tick_s, last * tick_s, leads) for first, last, leads in bounds.values()],
    )


def _second_track_start_s(container: InputContainer) -> Fraction:
    for packet in container.demux(container.streams[1]):
        shown = _shown_s(packet)
        if shown is not None:
            return shown
    raise ProofFailed("nothing of a file of ours can be decoded")


def _shown_s(packet: "av.Packet[av.stream.Stream]") -> Fraction | None:
    for frame in packet.decode():
        assert isinstance(frame, av.VideoFrame | av.AudioFrame), "our files hold nothing else"
        assert frame.pts is not None, "our files have times"
        return Fraction(frame.pts * frame.time_base.numerator, frame.time_base.denominator)
    return None

"""The material that benchmarks run on: real pictures, looped to the length they need."""

from fractions import Fraction
from pathlib import Path

import av

ROOT = Path(__file__).resolve().parents[1]
OWN = ROOT / "tests" / "media" / "butterfly_bee_720p.mp4"
# Natural 1080p and 2160p from a camera, in a media collection that may lie beside the checkout.
COLLECTION = ROOT.parent / "shared" / "media" / "video"
CLIPS = {
    1080: COLLECTION / "derived_1080p30_h264_aac_changi_crop.mp4",
    2160: COLLECTION / "editly_changi_portrait4k_hevc.mp4",
}


def natural_clip() -> Path:
    """What is measured when nobody says: 1080p where the collection is there, else the project's own 720p clip."""
    return CLIPS[1080] if CLIPS[1080].exists() else OWN


def clips_by_height(asked: Path) -> dict[str, Path]:
    """What memory is measured on: `asked`, and the 2160p clip where it is there; by the short side of the picture."""
    sources = [asked, *(path for path in (CLIPS[2160],) if path.exists() and path != asked)]
    return {f"{min(size_of(path))}p": path for path in sources}


def size_of(clip: Path) -> tuple[int, int]:
    """(width, height) of its video as it is stored, in pixels."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        return stream.width, stream.height


def looped(source: Path, seconds: float, out: Path) -> Path:
    """`source` repeated whole, without re-encoding, until `seconds` are full; every repeat starts with a key frame."""
    with av.open(str(out), "w") as target:
        streams = {}
        with av.open(str(source)) as container:
            for stream in container.streams:
                if stream.type in ("video", "audio"):
                    streams[stream.index] = target.add_stream_from_template(stream)
        offset = Fraction(0)
        while offset < seconds:
            offset += _append(source, target, streams, offset)
    return out


def _append(
    source: Path, target: av.container.OutputContainer, streams: dict[int, av.stream.Stream], offset: Fraction
) -> Fraction:
    """One repeat; its length in seconds comes back, by the video: every frame as long as the first.

    Not by the last frame's own duration: containers stretch it to the end of the sound, and the loop would have holes.
    """
    shown: list[Fraction] = []
    each = Fraction(0)
    with av.open(str(source)) as container:
        for packet in container.demux():
            if packet.stream.index not in streams or packet.dts is None or packet.pts is None:
                continue
            base = Fraction(packet.time_base.numerator, packet.time_base.denominator)
            if packet.stream.type == "video":
                shown.append(packet.pts * base)
                each = each or (packet.duration or 0) * base
            shift = round(offset / base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    return max(shown) - min(shown) + each

"""Chunks become one rendition: packets are copied, times are made anew, and the file that came of it is proven.

What the chunks hold decides what is written; what the proof says is read back from the joined file alone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.audio_join import JoinTrack, TrackProof, join_track
from pipelines.errors import ProofFailed
from pipelines.frames import unpack_rows
from pipelines.plan import RenditionPlan, VideoPlan
from pipelines.proof import (
    decode_times,
    keys_on_grid,
    parameter_sets,
    peak_bitrate,
    same_times,
    times_in_order,
    vbv_replay,
)
from pipelines.segments import Parts

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet

VBV_START = 1.0  # a player of stored files fills its buffer before it starts; live streams have no such promise


@dataclass(frozen=True, slots=True)
class JoinRendition:
    """What one rendition is joined of, in order, and where the joined MP4 goes."""

    plan: RenditionPlan
    # Each the files that make one MP4: a chunk; or an earlier package's init segment and all its media segments.
    pieces: tuple[tuple[str, ...], ...]
    out_path: str


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """All renditions of one video, and the audio tracks that come out of an earlier package."""

    renditions: tuple[JoinRendition, ...]
    video: VideoPlan | None  # with its frame map, frames.i64; None: there are only tracks
    frames_path: str | None
    tracks: tuple[JoinTrack, ...] = ()


@dataclass(frozen=True, slots=True)
class RenditionProof:
    """What was found in one joined rendition, as a player reads it from its file."""

    name: str
    frames: int
    expected_frames: int
    pts_equal: bool  # to the frame map's, every one
    dts_in_order: bool  # strictly rising, and none after the frame is shown
    sizes_equal: bool  # of every packet, to what the chunks hold
    parameter_sets: int  # different ones among the chunks and the joined file
    keyframes_on_grid: bool
    vbv_underflows: int  # 0 without a bitrate cap
    worst_vbv_bits: int  # missing at the worst underflow
    duration_s: float
    bytes: int
    mean_bitrate_bps: int
    peak_1s_bitrate_bps: int
    ok: bool


@dataclass(frozen=True, slots=True)
class JoinResult:
    """The proofs, in the order of the request."""

    renditions: tuple[RenditionProof, ...]
    tracks: tuple[TrackProof, ...] = ()


@dataclass(slots=True)
class _Coded:
    """The packets of all chunks in coded order, with global times in the plan's time base."""

    pts: list[int] = field(default_factory=list)
    bits: list[int] = field(default_factory=list)
    parameter_sets: set[tuple[bytes, ...]] = field(default_factory=set)


@dataclass(slots=True)
class _Joined:
    """The packets of a joined file that a player shows, in coded order; times in its ticks, edit list applied."""

    tick_s: Fraction
    duration_s: float
    parameter_sets: tuple[bytes, ...]
    pts: list[int] = field(default_factory=list)
    dts: list[int] = field(default_factory=list)
    bits: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)  # pts, by the pictures themselves
    listed_keys: list[int] = field(default_factory=list)  # pts, by the file's index, which is what players seek by


def join(request: JoinRequest, report: Callable[[dict[str, Any]], None]) -> JoinResult:
    """Join everything; raises ProofFailed, naming the rendition or track and what differs, unless all are proven."""
    tracks = tuple(join_track(track) for track in request.tracks)
    video = request.video
    if video is None or request.frames_path is None:
        return JoinResult((), tracks)
    pts = [row.pts for row in unpack_rows(Path(request.frames_path).read_bytes())]
    return JoinResult(tuple(_join_one(rendition, video, pts, report) for rendition in request.renditions), tracks)


def _join_one(
    rendition: JoinRendition, video: VideoPlan, pts: Sequence[int], report: Callable[[dict[str, Any]], None]
) -> RenditionProof:
    name = rendition.plan.name
    coded = _Coded()
    for piece in rendition.pieces:
        _read(piece, rendition.plan, coded, pts, video.time_base)
        report({"stage": "read", "rendition": name, "frames": len(coded.pts)})
    _require(name, _chunk_faults(coded, pts, video))
    dts = decode_times(pts, coded.pts)
    length = round(video.duration_s / video.time_base)
    _write(rendition, video, coded, dts, length, report)
    proof = _proof(rendition, video, pts, coded, _read_back(rendition))
    faults = _faults(proof, video)
    _require(name, faults)
    return replace(proof, ok=not faults)


def _read(piece: Sequence[str], plan: RenditionPlan, coded: _Coded, pts: Sequence[int], time_base: Fraction) -> None:
    """Add what the chunk `piece` holds; it starts at the frame after the last of those before it."""
    start = pts[min(len(coded.pts), len(pts) - 1)]
    with _opened(piece) as chunk:
        stream = chunk.streams.video[0]
        size = (stream.codec_context.width, stream.codec_context.height)
        if size != (plan.width, plan.height):
            _require(plan.name, [f"pictures of {size[0]}×{size[1]} instead of {plan.width}×{plan.height}"])
        coded.parameter_sets.add(parameter_sets(plan.codec, stream.codec_context.extradata or b""))
        scale = Fraction(stream.time_base.numerator, stream.time_base.denominator) / time_base
        for packet in _packets(chunk):
            at = (packet.pts or 0) * scale
            if at.denominator != 1:
                _require(plan.name, [f"a frame of a chunk is at {float(at):.3f} ticks"])
            coded.pts.append(start + int(at))
            coded.bits.append(packet.size * 8)


def _chunk_faults(coded: _Coded, pts: Sequence[int], video: VideoPlan) -> list[str]:
    """What must be right before there can be decode times."""
    if len(coded.pts) != video.frame_count or len(pts) != video.frame_count:
        return [f"{len(coded.pts)} frames instead of {video.frame_count}"]
    return [] if sorted(coded.pts) == list(pts) else ["frames at other times"]


def _faults(proof: RenditionProof, video: VideoPlan) -> list[str]:
    found = {
        f"{proof.frames} frames instead of {video.frame_count}": proof.frames != video.frame_count,
        "frames at other times": not proof.pts_equal,
        "decode times out of order": not proof.dts_in_order,
        "packets of other sizes than the chunks'": not proof.sizes_equal,
        f"key frames elsewhere than on every {video.gop_frames}th frame": not proof.keyframes_on_grid,
        f"{proof.parameter_sets} different parameter sets": proof.parameter_sets != 1,
        f"{proof.vbv_underflows} buffer underflows": proof.vbv_underflows > 0,
        f"{proof.duration_s:.3f} s instead of {video.duration_s:.3f} s": (
            abs(proof.duration_s - video.duration_s) > 1 / video.frame_rate
        ),
    }
    return [what for what, is_so in found.items() if is_so]


def _require(name: str, faults: list[str]) -> None:
    if faults:
        raise ProofFailed(
            f"rendition {name} is not what was planned: {', '.join(faults)}",
            detail={"rendition": name, "faults": faults},
        )


@contextmanager
def _opened(piece: Sequence[str]) -> "Iterator[InputContainer]":
    import av

    with ExitStack() as opened:
        # One file is read without Python between every two reads.
        file = piece[0] if len(piece) == 1 else opened.enter_context(Parts([Path(path) for path in piece]))
        yield opened.enter_context(av.open(file, "r", format="mp4"))


def _packets(chunk: "InputContainer") -> "Iterator[Packet[Any]]":
    return (packet for packet in chunk.demux(chunk.streams.video[0]) if packet.size)


def _write(
    rendition: JoinRendition,
    video: VideoPlan,
    coded: _Coded,
    dts: Sequence[int],
    length: int,
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Copy all packets with their new times; `length` is the whole video's, in ticks."""
    import av

    ends = [*dts[1:], dts[0] + length]  # of every packet's duration: together they are as long as the video
    number = 0
    # bitexact: no writer's name and no date, so that equal input gives equal bytes
    with av.open(rendition.out_path, "w", format="mp4", options={"fflags": "+bitexact"}) as out:
        stream: Any = None
        for piece in rendition.pieces:
            with _opened(piece) as chunk:
                stream = stream or _add_stream(out, chunk, rendition.plan, video)
                for packet in _packets(chunk):
                    packet.stream = stream
                    packet.time_base = video.time_base
                    packet.pts, packet.dts = coded.pts[number], dts[number]
                    packet.duration = max(1, ends[number] - dts[number])
                    out.mux(packet)
                    number += 1
            report({"stage": "write", "rendition": rendition.plan.name, "frames": number})


def _add_stream(out: "OutputContainer", chunk: "InputContainer", plan: RenditionPlan, video: VideoPlan) -> Any:
    # opaque: AV1 has a decoder and an encoder of different names, so its context is copied as it stands.
    stream = out.add_stream_from_template(chunk.streams.video[0], opaque=plan.codec == "av1")
    stream.time_base = video.time_base
    if plan.codec == "hevc":
        stream.codec_context.codec_tag = "hvc1"  # lost in the copy; Apple's players ask for it
    return stream


def _read_back(rendition: JoinRendition) -> _Joined:
    """The joined file, packet by packet."""
    with _opened([rendition.out_path]) as file:
        stream = file.streams.video[0]
        found = _Joined(
            tick_s=Fraction(stream.time_base.numerator, stream.time_base.denominator),
            duration_s=float((stream.duration or 0) * stream.time_base),
            parameter_sets=parameter_sets(rendition.plan.codec, stream.codec_context.extradata or b""),
        )
        listed = {entry.timestamp for entry in stream.index_entries if entry.is_keyframe}
        for packet in _packets(file):
            if packet.pts is None or packet.dts is None or packet.is_discard:
                continue
            found.pts.append(packet.pts)
            found.dts.append(packet.dts)
            found.bits.append(packet.size * 8)
            if packet.is_keyframe:
                found.keys.append(packet.pts)
            if packet.dts in listed:
                found.listed_keys.append(packet.pts)
    return found


def _proof(
    rendition: JoinRendition, video: VideoPlan, pts: Sequence[int], coded: _Coded, found: _Joined
) -> RenditionProof:
    plan, tick_s = rendition.plan, float(found.tick_s)
    underflows, worst = 0, 0
    if plan.max_bitrate_bps and plan.buffer_bits:
        due = [value * tick_s for value in found.dts]
        underflows, worst = vbv_replay(found.bits, due, plan.max_bitrate_bps, plan.buffer_bits, start=VBV_START)
    shown = sorted(zip(found.pts, found.bits, strict=True))
    times = [at for at, _ in shown]
    return RenditionProof(
        name=plan.name,
        frames=len(found.pts),
        expected_frames=video.frame_count,
        pts_equal=same_times(times, found.tick_s, pts, video.time_base),
        dts_in_order=times_in_order(found.dts, found.pts),
        sizes_equal=found.bits == coded.bits,
        parameter_sets=len(coded.parameter_sets | {found.parameter_sets}),
        keyframes_on_grid=all(
            keys_on_grid(sorted(keys), times, video.gop_frames) for keys in (found.keys, found.listed_keys)
        ),
        vbv_underflows=underflows,
        worst_vbv_bits=worst,
        duration_s=found.duration_s,
        bytes=Path(rendition.out_path).stat().st_size,
        mean_bitrate_bps=round(sum(found.bits) / video.duration_s),
        peak_1s_bitrate_bps=peak_bitrate([bits for _, bits in shown], [at * tick_s for at in times]),
        ok=False,
    )

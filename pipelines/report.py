"""The report of a job: what came in, what was made of it, what proves it, what it cost.

It is part of the manifest and is what the API shows; plain values, units in the names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.facts import MediaInfo
from pipelines.plan import AudioTrackPlan, Plan, RenditionPlan, VideoPlan
from pipelines.quality import summarise
from pipelines.version import versions
from pipelines.wire import to_wire

OF_A_RENDITION = ("vmaf", "vmaf_mode", "vmaf_missing", "encode_cpu_s", "chunks", "concealed_frames")
OF_A_TRACK = ("expected_samples", "bitrate_bps", "packets", "lost_packets", "silence_s")


@dataclass(frozen=True, slots=True)
class ChunkFacts:
    """What the chunk step stored beside one chunk of one rendition."""

    number: int
    rendition: str
    encode_cpu_s: float
    decode_cpu_s: float
    concealed_frames: int
    vmaf: tuple[float, ...]
    vmaf_missing: str | None


def build_report(
    plan: Plan,
    chunks: list[ChunkFacts],
    *,
    proofs: list[dict[str, Any]],
    tracks: list[dict[str, Any]],
    package: dict[str, Any],
    stages: dict[str, Any],
    identities: Mapping[str, str],
    taken: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """The report; `proofs` and `tracks` have one entry per rendition and track, `stages` one per kind of process.

    `identities` and `taken` go by folder. What is in `taken` was not made again but proven anew, and what it says there
    is `carried` over, with `reused_from`, the revision that it was made for.
    """
    video = plan.video
    found = {proof["name"]: proof for proof in proofs}
    heard = {proof["name"]: proof for proof in tracks}
    return {
        "kind": "video" if video else "audio",
        "source": source_facts(plan.info),
        "duration_s": plan.duration_s,
        "renditions": [
            _rendition(r, video, found[r.name], _made(r, plan, chunks, taken), identities)
            for r in (video.renditions if video else ())
        ],
        "audio": [_track(track, heard[track.name], taken, identities) for track in plan.audio],
        "package": package,
        "path": _path(video, chunks, taken),
        "stages": stages,
        "versions": versions(),
    }


def carried(kind: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What only making it told of a rendition (`kind` video) or track (audio), from its `entry` in the report of then.

    KeyError when the entry is of another form than those of today.
    """
    if kind == "video":
        return {name: entry[name] for name in OF_A_RENDITION}
    return {name: entry["proof"][name] for name in OF_A_TRACK}


def source_facts(info: MediaInfo) -> dict[str, Any]:
    """The source as the API shows it."""
    facts: dict[str, Any] = to_wire(info)
    if info.video is not None:
        facts["video"] |= {
            "display_width": info.video.display_size[0],
            "display_height": info.video.display_size[1],
            "dynamic_range": info.video.dynamic_range,
        }
    return facts


def _path(
    video: VideoPlan | None, chunks: list[ChunkFacts], taken: Mapping[str, dict[str, Any]]
) -> dict[str, Any] | None:
    if video is None:
        return None
    decoded = {chunk.number: chunk for chunk in chunks}  # one process decoded for all renditions
    concealed = sum(chunk.concealed_frames for chunk in decoded.values())
    if not decoded:
        concealed = taken[f"video/{video.renditions[0].name}"]["concealed_frames"]
    return {
        "lane": "cpu",
        "chunks": len(decoded),
        "why_one_chunk": video.why_not_chunkable,
        "frames": video.frame_count,
        "held_frames": video.held_frames,
        "frame_rate": to_wire(video.frame_rate),
        "concealed_frames": concealed,
        "decode_cpu_s": round(sum(chunk.decode_cpu_s for chunk in decoded.values()), 3),
    }


def _made(
    plan: RenditionPlan, whole: Plan, chunks: list[ChunkFacts], taken: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """What only making a rendition tells of it."""
    earlier = taken.get(f"video/{plan.name}")
    if earlier is not None:
        return earlier
    mine = [chunk for chunk in chunks if chunk.rendition == plan.name]
    scores = [score for chunk in mine for score in chunk.vmaf]
    missing = next((chunk.vmaf_missing for chunk in mine if chunk.vmaf_missing), None)
    return {
        "vmaf": to_wire(summarise(tuple(scores))) if scores else None,
        "vmaf_mode": whole.vmaf,
        "vmaf_missing": None if scores else missing,
        "encode_cpu_s": round(sum(chunk.encode_cpu_s for chunk in mine), 3),
        "chunks": len(mine),
        "concealed_frames": sum(chunk.concealed_frames for chunk in mine),
        "reused_from": None,
    }


def _rendition(
    plan: RenditionPlan,
    video: VideoPlan | None,
    proof: dict[str, Any],
    made: dict[str, Any],
    identities: Mapping[str, str],
) -> dict[str, Any]:
    assert video is not None, "renditions come with a video plan"
    return {
        "name": plan.name,
        "codec": plan.codec,
        "encoder": plan.encoder,
        "width": plan.width,
        "height": plan.height,
        "frame_rate": to_wire(video.frame_rate),
        "frames": proof["frames"],
        "bytes": proof["bytes"],
        "mean_bitrate_bps": proof["mean_bitrate_bps"],
        "peak_1s_bitrate_bps": proof["peak_1s_bitrate_bps"],
        **made,
        "identity": identities[f"video/{plan.name}"],
        "proof": proof,
    }


def _track(
    plan: AudioTrackPlan,
    proof: dict[str, Any],
    taken: Mapping[str, dict[str, Any]],
    identities: Mapping[str, str],
) -> dict[str, Any]:
    folder = f"audio/{plan.name}"
    earlier = {"reused_from": None} | taken.get(folder, {})
    return {
        "name": plan.name,
        "codec": "aac",
        "language": plan.language,
        "title": plan.title,
        "default": plan.default,
        "channels": plan.channels,
        "sample_rate_hz": plan.sample_rate_hz,
        "bitrate_bps": plan.bitrate_bps,
        "reused_from": earlier.pop("reused_from"),
        "identity": identities[folder],
        "proof": earlier | proof,
    }

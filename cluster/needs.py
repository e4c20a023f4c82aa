"""What a step needs of its node beside a lane: memory, and room on the working disk. Estimates, on the safe side."""

from dataclasses import dataclass
from typing import Any

from pipelines.plan import Plan, RenditionPlan

# Peak resident memory of a chunk's media process, fitted to what `python -m benchmarks memory` finds: the `standard`
# ladder of 1080p takes 543 MB and of 2160p 1,961 MB, its HEVC and AV1 sisters of 1080p 1,200 MB. Look-ahead and
# references are so many frames of each rung, a decoder's surfaces so many of the source.
BASE_BYTES = 120_000_000
BYTES_PER_PIXEL = {"h264": 100, "hevc": 280, "av1": 280}
DECODED_BYTES_PER_PIXEL = 30
# Inspecting decodes a few frames, the joining reads packets, sound needs no pictures.
SMALL_BYTES = 300_000_000
# Joined renditions, segments and fast-start files lie side by side.
FINISH_COPIES = 3
CHUNK_HEADROOM = 1.5  # a chunk may be harder than the whole
# Where a recipe caps no bit rate: 0.2 bits a pixel is more than capped CRF 20 took on grain.
BITS_PER_PIXEL = 0.2


@dataclass(frozen=True, slots=True)
class Need:
    """What a step takes of its node, beside a lane, while it runs."""

    memory_bytes: int = 0
    scratch_bytes: int = 0

    @property
    def text(self) -> str:
        """For a message."""
        return f"{self.memory_bytes / 1e9:.1f} GB of memory and {self.scratch_bytes / 1e9:.1f} GB of scratch"


INSPECT = Need(memory_bytes=SMALL_BYTES)
PICTURES = Need(memory_bytes=SMALL_BYTES)


def needs_of(plan: Plan) -> dict[str, Any]:
    """The needs of the plan's steps, as plain values: {"chunk": …, "audio": …, "finish": …}."""
    sound_bytes = int(sum(track.bitrate_bps for track in plan.audio) / 8 * plan.duration_s)
    chunk = all_chunks_bytes = 0
    if plan.video is not None:
        video = plan.video
        source, longest = video.source, max(c.end_frame - c.start_frame for c in video.chunks)
        memory = BASE_BYTES + DECODED_BYTES_PER_PIXEL * source.width * source.height
        memory += sum(BYTES_PER_PIXEL[r.codec] * r.width * r.height for r in video.renditions)
        bits_per_s = sum(_bitrate_bps(r, float(video.frame_rate)) for r in video.renditions)
        all_chunks_bytes = int(bits_per_s / 8 * video.duration_s)
        chunk = int(bits_per_s / 8 * longest / float(video.frame_rate) * CHUNK_HEADROOM)
    else:
        memory = SMALL_BYTES
    return {
        "chunk": {"memory_bytes": memory, "scratch_bytes": chunk},
        "audio": {"memory_bytes": SMALL_BYTES, "scratch_bytes": sound_bytes},
        "finish": {"memory_bytes": SMALL_BYTES, "scratch_bytes": FINISH_COPIES * (all_chunks_bytes + sound_bytes)},
    }


def _bitrate_bps(rendition: RenditionPlan, frame_rate: float) -> float:
    return rendition.max_bitrate_bps or BITS_PER_PIXEL * rendition.width * rendition.height * frame_rate

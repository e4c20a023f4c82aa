"""Is ours as good as the command beside it? VMAF and bytes per rung, both measured by the same foreign FFmpeg."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg

# Ours say which colours they are in, the other side and the source do not: left to itself FFmpeg would convert ours to
# what it takes "unknown" for, and the difference of that conversion would be measured (4 dB of luma).
TAGS = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
EVERY = 6  # of the frames; the same ones on both sides
# Frames are paired by their time at the source's rate: containers count in different ticks, and one side may repeat a
# frame where the other shows it longer.


def vmaf(made: Path, source: Path, width: int, height: int, log: Path) -> float:
    """Mean VMAF of `made`, enlarged to the source's size, over every sixth frame."""
    graph = (
        f"[0:v]{TAGS},fps=source_fps:start_time=0,scale={width}:{height}:flags=bicubic,settb=AVTB[a];"
        f"[1:v]{TAGS},fps=source_fps:start_time=0,settb=AVTB[b];"
        f"[a][b]libvmaf=n_subsample={EVERY}:n_threads=2:log_fmt=json:log_path={log}"
    )
    exe = imageio_ffmpeg.get_ffmpeg_exe()
    # HLS media playlists and plain files alike.
    inputs = ["-allowed_extensions", "ALL"] if made.suffix == ".m3u8" else []
    command = [
        exe,
        "-nostdin",
        "-v",
        "error",
        *inputs,
        "-i",
        str(made),
        "-i",
        str(source),
        "-lavfi",
        graph,
        "-f",
        "null",
        "-",
    ]
    subprocess.run(command, check=True)
    return float(json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"])


def compare(clip: Path, size: tuple[int, int], ours: Path, theirs: Path, rungs: list[str]) -> dict[str, Any]:
    """Per rung: our VMAF minus theirs, and our bytes ÷ theirs (media segments against media data)."""
    found: dict[str, Any] = {}
    for rung in rungs:
        mine = vmaf(ours / "hls" / f"video-{rung}.m3u8", clip, *size, ours / "vmaf.json")
        other = vmaf(theirs / f"{rung}.mp4", clip, *size, ours / "vmaf.json")
        segments = sum(path.stat().st_size for path in (ours / "video" / rung).glob("*"))
        found[rung] = {
            "vmaf": round(mine, 2),
            "vmaf_difference": round(mine - other, 3),
            "bytes_ratio": round(segments / (theirs / f"{rung}.mp4").stat().st_size, 4),
        }
    return found


def encoder_version(file: Path) -> str:
    """What x264 wrote into the stream of itself: both sides should be the same generation."""
    match = re.search(rb"x264 - core (\d+)", file.read_bytes())
    return match[1].decode() if match else "unknown"

"""Download files: one video and one audio track in an MP4 whose index comes first, so that it plays while it loads."""

import heapq
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

OUR_TAGS = {"hevc": "hvc1"}  # hev1, the default, does not play on Apple's devices


def write_faststart(video_path: str, audio_path: str | None, out_path: Path) -> None:
    """Copy the packets of our own files, unchanged, into `out_path`."""
    out_path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        inputs = [opened.enter_context(av.open(path)) for path in (video_path, audio_path) if path is not None]
        # bitexact: no version strings and no creation time
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        output = opened.enter_context(av.open(str(out_path), "w", format="mp4", options=options))
        streams = []
        for container in inputs:
            source = container.streams[0]
            stream = output.add_stream_from_template(source, opaque=True)  # AV1's decoder has no encoder of its name
            stream.metadata.clear()
            stream.metadata["language"] = source.metadata.get("language", "und")
            if source.codec_context.name in OUR_TAGS:
                stream.codec_context.codec_tag = OUR_TAGS[source.codec_context.name]
            streams.append(stream)
        for _, place, packet in heapq.merge(*(_packets(c, place) for place, c in enumerate(inputs))):
            packet.stream = streams[place]
            output.mux(packet)


def _packets(container: InputContainer, place: int) -> Iterator[tuple[float, int, Any]]:
    stream = container.streams[0]
    tick_s = float(stream.time_base)
    for packet in container.demux(stream):
        if packet.size and packet.dts is not None:
            yield packet.dts * tick_s, place, packet

"""One AAC-LC file: channel map, sample rate, encoder, and the exact number of samples."""

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
import av.filter

from pipelines.errors import EncodeFailed
from pipelines.facts import USUAL_LAYOUTS
from pipelines.plan import AudioTrackPlan

AAC_FRAME_SAMPLES = 1024

# A downmix adds up to 2.4 times full scale. Scaling it down for good would cost 7.7 dB of dialogue in every film, so
# the sum is kept at the standard levels (centre and surround at -3 dB, no LFE) and a look-ahead limiter takes the rare
# peaks. limit: -1 dBFS, the headroom that lossy coding needs; level=false: no make-up gain; latency=true: no delay.
DOWNMIX_LIMITER = "limit=0.891:level=false:latency=true"


class Shape:
    """What decoded samples are: sample format, channel layout and rate (Hz)."""

    __slots__ = ("channels", "format", "layout", "rate")

    def __init__(self, frame: av.AudioFrame) -> None:
        self.format = frame.format.name
        self.layout = frame.layout.name
        self.channels = frame.layout.nb_channels
        self.rate = frame.sample_rate

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shape) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def key(self) -> tuple[str, str, int]:
        """All that makes two shapes the same."""
        return (self.format, self.layout, self.rate)


def silence(format_name: str, layout: str, rate: int, samples: int) -> av.AudioFrame:
    """`samples` samples of silence."""
    frame = av.AudioFrame(format=format_name, layout=layout, samples=samples)
    frame.sample_rate = rate
    quiet = b"\x80" if format_name.startswith("u8") else b"\x00"  # unsigned samples rest in the middle
    for plane in frame.planes:
        plane.update(quiet * plane.buffer_size)
    return frame


def naming(shape: Shape) -> tuple[list[tuple[str, str]], int]:
    """The filters that give nameless channels ("6 channels") their usual names, and how many there are then."""
    if not shape.layout.endswith(" channels"):
        return [], shape.channels
    layout = USUAL_LAYOUTS.get(shape.channels, "stereo")  # of more than anybody has a name for, the first two
    count = shape.channels if shape.channels in USUAL_LAYOUTS else 2
    return [("pan", "|".join([layout, *(f"c{i}=c{i}" for i in range(count))]))], count


def mixing(channels_in: int, channels_out: int) -> list[tuple[str, str]]:
    """The filters that turn `channels_in` named channels into `channels_out` (1 or 2)."""
    stereo = ("aformat", "channel_layouts=stereo")
    halves = ("pan", "mono|c0=0.5*c0+0.5*c1")
    if channels_in == channels_out:
        return []
    if channels_in == 1:
        return [("pan", "stereo|c0=c0|c1=c0")]  # FFmpeg's own matrix would make it 9 dB quieter
    if channels_in == 2:
        return [halves]
    downmix = [stereo, ("alimiter", DOWNMIX_LIMITER)]
    return downmix if channels_out == 2 else [*downmix, halves]


class TrackEncoder:
    """Encodes one output track, of exactly as many samples as `finish` is told."""

    def __init__(self, plan: AudioTrackPlan, path: Path, limit: int | None) -> None:
        """`limit` is the most samples that the track may have; None when only the source's end decides."""
        self.plan = plan
        self.path = path
        self._limit = limit
        self._layout = "stereo" if plan.channels == 2 else "mono"
        # bitexact, twice: no version strings in the file nor in its packets, and no creation time. An edit list hides
        # the encoder's priming samples, so that sample 0 plays at 0.
        self._file = av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"})
        options = {"flags": "+bitexact"}
        self._stream = self._file.add_stream("aac", rate=plan.sample_rate_hz, layout=self._layout, options=options)
        self._stream.codec_context.bit_rate = plan.bitrate_bps
        self._stream.metadata["language"] = plan.language
        self._fifo = av.AudioFifo()
        self._graph: av.filter.Graph | None = None
        self._encoded = 0

    def begin(self, shape: Shape) -> None:
        """What follows has this shape (the first call, and whenever a stream changes in its middle)."""
        self._flush_graph()
        graph = av.filter.Graph()
        source = graph.add_abuffer(
            sample_rate=shape.rate, format=shape.format, layout=shape.layout, time_base=Fraction(1, shape.rate)
        )
        rate = self.plan.sample_rate_hz
        named, channels = naming(shape)
        steps = [
            ("aformat", "sample_fmts=fltp"),  # what the encoder takes; also keeps the mix from clipping half way
            *named,
            *mixing(channels, self.plan.channels),
            ("aresample", str(rate)),
            ("aformat", f"sample_fmts=fltp:sample_rates={rate}:channel_layouts={self._layout}"),
        ]
        graph.link_nodes(source, *[graph.add(name, args) for name, args in steps], graph.add("abuffersink"))
        graph.configure()
        self._graph = graph

    def push(self, frame: av.AudioFrame) -> None:
        """Encode what `frame` gives; its pts must follow the last frame's."""
        assert self._graph is not None
        self._graph.push(frame)
        self._pull()

    def pad_to(self, samples: int) -> None:
        """Fill with silence up to output sample `samples`."""
        self._flush_graph()
        missing = samples - self._encoded - self._fifo_samples()
        while missing > 0:
            block = min(missing, self.plan.sample_rate_hz)
            self._write(silence("fltp", self._layout, self.plan.sample_rate_hz, block))
            missing -= block

    def finish(self, samples: int) -> None:
        """Cut or fill to exactly `samples`, and close the file."""
        self.pad_to(samples)
        while (left := samples - self._encoded) > 0:
            frame = self._fifo.read(min(left, AAC_FRAME_SAMPLES), partial=True)
            assert frame is not None
            self._encode(frame)
        self._file.mux(self._stream.encode(None))
        self._file.close()

    def _fifo_samples(self) -> int:
        return self._fifo.samples if self._fifo.samples_written else 0

    def _flush_graph(self) -> None:
        if self._graph is not None:
            self._graph.push(None)
            self._pull()
            self._graph = None

    def _pull(self) -> None:
        assert self._graph is not None
        while True:
            try:
                frame = cast(av.AudioFrame, self._graph.pull())
            except (BlockingIOError, av.EOFError):
                return
            self._write(frame)

    def _write(self, frame: av.AudioFrame) -> None:
        frame.pts = None  # the fifo counts by itself
        self._fifo.write(frame)
        while self._fifo.samples >= AAC_FRAME_SAMPLES and self._may_encode():
            whole = self._fifo.read(AAC_FRAME_SAMPLES)
            assert whole is not None
            self._encode(whole)

    def _may_encode(self) -> bool:
        """Whether one more whole frame fits: a resampler may give a sample more than the track has room for."""
        return self._limit is None or self._encoded + AAC_FRAME_SAMPLES <= self._limit

    def _encode(self, frame: av.AudioFrame) -> None:
        frame.pts = self._encoded
        frame.time_base = Fraction(1, self.plan.sample_rate_hz)
        self._encoded += frame.samples
        self._file.mux(self._stream.encode(frame))


def check_track(plan: AudioTrackPlan) -> None:
    """Really encode a tenth of a second of silence by `plan`. Raises EncodeFailed."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            TrackEncoder(plan, Path(folder) / "check.mp4", None).finish(plan.sample_rate_hz // 10)
        except av.error.FFmpegError as error:
            raise EncodeFailed(f"aac failed on rendition {plan.name}", detail={"native": str(error)}) from error

"""What happens to a picture between decoder and encoder: once for all renditions, then once for each.

A frame that needs nothing passes without being touched or copied. Nothing here changes a frame that somebody else
holds: what comes out of a graph is a new frame, which may share its pixels.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import floor

import av
import av.filter
from av.filter.context import FilterContext
from av.video.frame import VideoFrame

from pipelines.color import MATRICES, PRIMARIES, RANGES, TRANSFERS, is_rgb, sdr_tags, true_tags
from pipelines.plan import ColorTags, RenditionPlan, VideoPlan

Node = tuple[str, str | None]

RANGE_NAMES = {"limited": "tv", "full": "pc"}
TURNS: dict[int, list[Node]] = {
    90: [("transpose", "clock")],
    180: [("hflip", None), ("vflip", None)],
    270: [("transpose", "cclock")],
}
# send_frame: one picture per frame, so that frame numbers hold; interlaced: frames marked progressive stay untouched.
DEINTERLACE = "mode=send_frame:deint=interlaced"
# One pass for gamut, curve and matrix; perceptual keeps highlights apart that a clip would merge.
TONE_MAP = "out_primaries=bt709:out_transfer=bt709:out_color_matrix=bt709:out_range=limited:intent=perceptual"
# The scaler's own change of matrix is off by 2 of 255 and dearer; exactly rounded, it costs three times as much.
MATRIX_ONLY = "iprimaries=bt709:primaries=bt709:itrc=bt709:trc=bt709"  # the same on both sides: nothing but the matrix
RGB_SCALER = "+accurate_rnd+full_chroma_int"  # no other filter turns RGB, so here exactness is worth its price
SCALER = "flags=bicubic"  # sharper than bilinear at the same cost here; lanczos rings for 15 % more


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides which graph a frame needs."""

    width: int
    height: int
    format: str
    aspect: Fraction = Fraction(1)  # of one pixel

    @classmethod
    def of(cls, frame: VideoFrame, aspect: Fraction = Fraction(1)) -> "Shape":
        """The shape of `frame`, whose pixels have this `aspect`."""
        return cls(frame.width, frame.height, frame.format.name, aspect)


class Graph:
    """A chain of filters for frames of one shape; single-threaded, because the caller has threads of its own."""

    def __init__(self, shape: Shape, tags: ColorTags, nodes: list[Node]) -> None:
        graph = av.filter.Graph()
        graph.threads = 1
        self._source = graph.add(
            "buffer",
            video_size=f"{shape.width}x{shape.height}",
            pix_fmt=shape.format,
            time_base="1/1",
            pixel_aspect="1/1",
            colorspace=tags.space,
            range=RANGE_NAMES[tags.range],
        )
        self._sink: FilterContext = graph.add("buffersink")
        graph.link_nodes(self._source, *(graph.add(name, args) for name, args in nodes), self._sink).configure()
        self._graph = graph

    def push(self, frame: VideoFrame | None) -> list[VideoFrame]:
        """The frames that come out when `frame` goes in; None ends the stream."""
        self._source.push(frame)
        out: list[VideoFrame] = []
        while True:
            try:
                out.append(self._sink.pull())  # type: ignore[arg-type]
            except (av.error.BlockingIOError, av.error.EOFError):
                return out


class SourceStage:
    """What every source frame goes through once: deinterlacing, tone map, upright turn.

    A frame whose size or pixel aspect differs from the plan's (the stream changed in the middle) is fitted into the
    planned picture.
    """

    def __init__(self, video: VideoPlan) -> None:
        self._stage, self._source = video.stage, video.source
        self.tags = true_tags(video.source)
        self._out_tags = sdr_tags(self.tags) if video.stage.tone_map else self.tags
        self._shape: Shape | None = None
        self._graph: Graph | None = None
        self._keys: dict[int, int] = {}
        self._pushed = 0

    @property
    def out_tags(self) -> ColorTags:
        """The colours of what comes out."""
        return self._out_tags

    def push(self, key: int, frame: VideoFrame, aspect: Fraction) -> list[tuple[int, VideoFrame]]:
        """The (key, frame) pairs that are ready once `frame` is in; `aspect` is that of its pixels."""
        _tag(frame, self.tags)
        done: list[tuple[int, VideoFrame]] = []
        shape = Shape.of(frame, aspect)
        if shape != self._shape:
            done = self.finish()
            nodes = self._nodes(shape)
            self._graph = Graph(shape, self.tags, nodes) if nodes else None
            self._shape = shape
        if self._graph is None:
            return [*done, (key, frame)]
        self._keys[self._pushed] = key
        frame.pts, frame.time_base = self._pushed, Fraction(1)  # filters keep times, so these say which frame came out
        self._pushed += 1
        return done + self._named(self._graph.push(frame))

    def finish(self) -> list[tuple[int, VideoFrame]]:
        """What was still inside."""
        rest = self._named(self._graph.push(None)) if self._graph is not None else []
        self._graph, self._shape = None, None
        self._keys.clear()
        return rest

    def _named(self, frames: list[VideoFrame]) -> list[tuple[int, VideoFrame]]:
        named = []
        for frame in frames:
            assert frame.pts is not None
            number = frame.pts * Fraction(frame.time_base.numerator, frame.time_base.denominator)
            _tag(frame, self._out_tags)
            named.append((self._keys.pop(int(number)), frame))
        return named

    def _nodes(self, shape: Shape) -> list[Node]:
        stage, source = self._stage, self._source
        nodes: list[Node] = []
        if stage.deinterlace:
            nodes.append(("bwdif", DEINTERLACE))
        planned = Shape(source.width, source.height, shape.format, source.sample_aspect_ratio)
        if shape != planned:
            nodes += _fitted(shape, planned)
        if stage.tone_map:
            nodes += [("scale", f"{stage.width}:{stage.height}:{SCALER}:{TONE_MAP}"), ("format", "yuv420p")]
        nodes += TURNS.get(stage.rotation_deg, [])
        if stage.mirrored:
            nodes.append(("hflip", None))
        return nodes


class RenditionGraph:
    """Size, pixel format, matrix and range of one rendition."""

    def __init__(self, plan: RenditionPlan, tags: ColorTags) -> None:
        self._plan, self._tags = plan, tags
        self._shape: Shape | None = None
        self._graph: Graph

    def frame(self, shared: VideoFrame) -> VideoFrame:
        """A frame of the rendition's own, made from one that all renditions share."""
        shape = Shape.of(shared)
        if shape != self._shape:
            self._graph = Graph(shape, self._tags, self._nodes(shape))
            self._shape = shape
        (frame,) = self._graph.push(shared)
        return frame

    def _nodes(self, shape: Shape) -> list[Node]:
        plan, tags = self._plan, self._tags
        wanted = Shape(plan.width, plan.height, plan.pixel_format)
        if shape == wanted and (tags.space, tags.range) == (plan.color.space, plan.color.range):
            return [("null", None)]
        scale = f"{plan.width}:{plan.height}:out_range={plan.color.range}:{SCALER}"
        if is_rgb(shape.format):
            matrix = {"bt2020nc": "bt2020"}.get(plan.color.space, plan.color.space)  # the scale filter's own word
            return [("scale", f"{scale}{RGB_SCALER}:out_color_matrix={matrix}"), ("format", plan.pixel_format)]
        nodes: list[Node] = [("scale", scale), ("format", plan.pixel_format)]
        if tags.space != plan.color.space:
            nodes.append(("colorspace", f"ispace={tags.space}:space={plan.color.space}:{MATRIX_ONLY}"))
        return nodes


def _tag(frame: VideoFrame, tags: ColorTags) -> None:
    """Say on the frame what its colours are: the scaler goes by it, and refuses tags that it does not know."""
    frame.color_primaries = PRIMARIES[tags.primaries]
    frame.color_trc = TRANSFERS[tags.transfer]
    frame.colorspace = MATRICES["gbr"] if is_rgb(frame.format.name) else MATRICES[tags.space]
    frame.color_range = RANGES[tags.range]


def _fitted(shape: Shape, planned: Shape) -> list[Node]:
    """Scale pictures of `shape` into those of `planned`, with black bars if need be."""
    width, height = planned.width, planned.height
    stretched = shape.width * shape.aspect / planned.aspect
    factor = min(width / stretched, Fraction(height, shape.height))
    inner = [min(limit, max(2, 2 * floor(size * factor / 2 + Fraction(1, 2)))) for limit, size in
             ((width, stretched), (height, Fraction(shape.height)))]  # fmt: skip
    if inner[0] * 50 >= width * 49 and inner[1] * 50 >= height * 49:  # within 2 %: the same picture
        return [("scale", f"{width}:{height}:{SCALER}")]
    return [
        ("scale", f"{inner[0]}:{inner[1]}:{SCALER}"),
        ("pad", f"{width}:{height}:-1:-1"),
    ]

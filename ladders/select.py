"""Which rungs suit a source, and at which frame rate: pure arithmetic on sizes and rates."""

from fractions import Fraction

from ladders.model import Rung, SelectedRung, SourceShape, VideoPart

NEARLY = Fraction(95, 100)
"""A source that is cropped by a few lines still is of its class: 1906×1072 is Full HD to whoever sent it, and 1280×720
would throw away half of its pixels."""

PLAYER_RATES = tuple(
    Fraction(*rate)
    for rate in (
        (25, 2), (15_000, 1001), (15, 1), (24_000, 1001), (24, 1), (25, 1), (30_000, 1001), (30, 1),
        (48, 1), (50, 1), (60_000, 1001), (60, 1), (100, 1), (120_000, 1001), (120, 1),
    )
)  # fmt: skip
"""What to make of a rate that is nearly one of these. Not `pipelines.frames.CAMERA_RATES`, which says what a source may
have been recorded at: nothing is published at 240, and rates below 12.5 stay as they were measured."""
SNAP = Fraction(1, 2000)
"""How far a measured rate may be off to be taken for a standard one: half the gap (0.1 %) between a rate and its
NTSC variant, so that no rate lies near to both."""
SLIGHTLY_OVER = Fraction(105, 100)
"""A source up to 5 % above the highest rate gets that rate: 62.5 (frames of 16 ms) loses one frame of 25 rather than
every second one."""
MAX_DENOMINATOR = 1001
"""Of a rate that is not standard; keeps time scales small, and moves a rate by less than one part in a million."""


def select_rungs(video: VideoPart, source: SourceShape) -> tuple[SelectedRung, ...]:
    """The rungs of `video` that `source` fills, smallest first, each fitted inside its box; never empty.

    The picture is never enlarged (but to 2 pixels, the least that 4:2:0 can hold) and keeps its shape to within a
    pixel. A rung that the source reaches to 95 % is made at the source's size. A source below the lowest rung
    gives one rung at its own size, named after its short side, with that rung's settings.
    """
    chosen: list[SelectedRung] = []
    for rung in video.rungs:
        scale = _scale(rung, source)
        if scale * NEARLY > 1:
            continue
        size = _fit(source, min(scale, Fraction(1)))
        if size not in [(other.width, other.height) for other in chosen]:
            chosen.append(_selected(rung, rung.name, size))
    if not chosen:
        size = _fit(source, Fraction(1))
        chosen.append(_selected(video.rungs[0], f"{min(size)}p", size))
    return tuple(chosen)


def output_frame_rate(source: Fraction, max_rate: int) -> Fraction:
    """The constant rate to make of a source of `source` frames per second: never above `max_rate`.

    A faster source is divided by the smallest whole number, so that frames are dropped evenly. A result within
    0.05 % of a standard rate is that rate: 2997/100 and 29.9999 are container roundings, and as they stand they
    would give time scales that no player has met. Others stay as they are (1000/33 is a screen recorder's 33 ms, and
    making it 30 would drop a frame every three seconds).
    """
    rate = source / -(-source // (max_rate * SLIGHTLY_OVER))
    nearest = min(PLAYER_RATES, key=lambda standard: abs(standard - rate))
    if abs(nearest - rate) <= nearest * SNAP and nearest <= max_rate:
        return nearest
    simple = rate.limit_denominator(MAX_DENOMINATOR)
    return min(simple, Fraction(max_rate)) if simple else rate


def _scale(rung: Rung, source: SourceShape) -> Fraction:
    """The factor that fits the picture into the rung's box, which stands upright for a portrait picture."""
    box = (rung.width, rung.height) if source.width >= source.height else (rung.height, rung.width)
    return min(Fraction(box[0], source.width), Fraction(box[1], source.height))


def _fit(source: SourceShape, scale: Fraction) -> tuple[int, int]:
    return _even(source.width, scale), _even(source.height, scale)


def _even(side: int, scale: Fraction) -> int:
    """The even number nearest to `side` × `scale`, at least 2 and otherwise never above `side`."""
    nearest = int(side * scale / 2 + Fraction(1, 2)) * 2
    return max(2, min(nearest, side - side % 2))


def _selected(rung: Rung, name: str, size: tuple[int, int]) -> SelectedRung:
    width, height = size
    return SelectedRung(name=name, width=width, height=height, crf=rung.crf, max_bitrate_bps=rung.max_bitrate_bps)

"""Where decoded samples belong: an unbroken run of samples from output time 0, whatever the source's clock does."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import av

from pipelines.audio_encode import Shape, silence

# A hole or an overlap shorter than this is a container's rounding or a recorder's jitter, and moving samples for it
# would click. It is just under one AAC frame at 48 kHz, so that a lost packet is never taken for jitter.
JITTER_S = Fraction(20, 1000)
# A clock that jumps back by more than this was set anew (a joined recording): the samples go on where they were.
RESTART_S = Fraction(1)
# Without a picture to stay in step with, a longer hole is a broken clock, not hours of silence to encode.
LONGEST_HOLE_S = Fraction(10)


class Sink(Protocol):
    """What takes the samples (see audio_encode.TrackEncoder)."""

    def begin(self, shape: Shape) -> None:
        """What follows has this shape."""

    def push(self, frame: av.AudioFrame) -> None:
        """The next samples; `frame.pts` counts them in the shape's rate."""

    def pad_to(self, samples: int) -> None:
        """Fill with silence up to this output sample."""


class Timeline:
    """Places the frames of one source stream: trims what lies before 0, fills holes, drops overlaps."""

    def __init__(self, start_s: Fraction, end_s: Fraction | None, sinks: Sequence[tuple[Sink, int]]) -> None:
        """`sinks` are (sink, its output rate in Hz); `end_s` is where the output ends, None where the audio does."""
        self._start_s = start_s
        self._end_s = end_s
        self._sinks = sinks
        self._shape: Shape | None = None
        self._origin_s = Fraction(0)  # output time at which the current shape began
        self._next = 0  # samples since then
        self._shift_s = Fraction(0)  # added to the source's clock after it was set anew
        self._exact = True  # the first frame, and the one after a loss, goes exactly where its clock says
        self.silence_s = Fraction(0)

    @property
    def position_s(self) -> Fraction:
        """Output time up to which samples are placed."""
        return self._origin_s + (Fraction(self._next, self._shape.rate) if self._shape else 0)

    @property
    def full(self) -> bool:
        """Whether the output's end is reached."""
        return self._end_s is not None and self.position_s >= self._end_s

    def lost(self) -> None:
        """A packet could not be decoded: what comes next says by itself how much is missing."""
        self._exact = True

    def feed(self, frame: av.AudioFrame) -> None:
        """Place one decoded frame."""
        if self.full or not frame.samples or not frame.sample_rate:
            return
        shape = Shape(frame)
        if shape != self._shape:
            self._begin(shape)
        gap = self._gap(frame, shape.rate)
        if gap > 0:
            self._fill(gap, shape)
        elif gap < 0:
            if -gap >= frame.samples:
                return
            frame = _without_first(frame, -gap)
        self._push(frame, shape)

    def _begin(self, shape: Shape) -> None:
        self._origin_s = self.position_s
        self._shape = shape
        self._next = 0
        for sink, rate in self._sinks:
            sink.pad_to(round(self._origin_s * rate))  # a resampler's rounding; nothing on the first call
            sink.begin(shape)

    def _gap(self, frame: av.AudioFrame, rate: int) -> int:
        """Samples to insert before `frame`, or minus the samples to drop from it."""
        if frame.pts is None:
            return 0
        time_base = Fraction(frame.time_base.numerator, frame.time_base.denominator)
        at_s = frame.pts * time_base - self._start_s + self._shift_s
        gap_s = at_s - self.position_s
        set_anew = gap_s < -RESTART_S and self.position_s > 0
        if set_anew or (self._end_s is None and gap_s > LONGEST_HOLE_S):
            self._shift_s -= gap_s
            gap_s = Fraction(0)
        if not self._exact and abs(gap_s) < JITTER_S:
            return 0
        self._exact = self._exact and gap_s < 0 and -gap_s * rate >= frame.samples  # still before the start
        return round(gap_s * rate)

    def _fill(self, samples: int, shape: Shape) -> None:
        if self._end_s is not None:
            samples = min(samples, round((self._end_s - self.position_s) * shape.rate) + 1)
        self.silence_s += Fraction(samples, shape.rate)
        while samples > 0:
            block = min(samples, shape.rate)
            self._push(silence(shape.format, shape.layout, shape.rate, block), shape)
            samples -= block

    def _push(self, frame: av.AudioFrame, shape: Shape) -> None:
        frame.pts = self._next
        frame.time_base = Fraction(1, shape.rate)
        self._next += frame.samples
        for sink, _ in self._sinks:
            sink.push(frame)


def _without_first(frame: av.AudioFrame, samples: int) -> av.AudioFrame:
    """`frame` without its first `samples` samples; fewer than it has."""
    fifo = av.AudioFifo()
    frame.pts = None
    fifo.write(frame)
    fifo.read(samples)
    rest = fifo.read()
    assert rest is not None
    rest.sample_rate = frame.sample_rate
    return rest

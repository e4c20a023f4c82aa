"""Sound tracks for made media files: one tone per channel, louder for the first 40 ms of every second."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.stream import Disposition

ENCODERS = {"mp3": "libmp3lame", "opus": "libopus", "vorbis": "libvorbis"}
SYNC_S = 0.04  # length of the louder part of every second


@dataclass(frozen=True)
class Sound:
    """One sound track; channel c of track k plays 440·(k+1) + 100·c Hz."""

    codec: str = "aac"
    layout: str = "stereo"
    rate_hz: int = 48_000
    language: str | None = None
    title: str | None = None
    default: bool | None = None  # None: the first track is
    start_s: float = 0.0
    seconds: float | None = None  # None: as long as the video, or 2 s


class Track:
    """One sound track while it is written."""

    def __init__(self, out: Any, sound: Sound, number: int, video_s: float) -> None:
        self.sound = sound
        self.tone_hz = 440 * (number + 1)
        encoder = ENCODERS.get(sound.codec, sound.codec)
        self.stream: Any = out.add_stream(encoder, rate=sound.rate_hz, layout=sound.layout)
        self.format = self.stream.codec_context.codec.audio_formats[0].name
        self.stream.codec_context.format = self.format
        if sound.language:
            self.stream.metadata["language"] = sound.language
        if sound.title:
            self.stream.metadata["title"] = sound.title
        default = number == 0 if sound.default is None else sound.default
        self.stream.disposition = Disposition.default if default else Disposition(0)
        whole_s = sound.seconds if sound.seconds is not None else video_s
        self.end = round(whole_s * sound.rate_hz)
        self.offset = round(sound.start_s * sound.rate_hz)
        self.done = 0

    def write_until(self, out: Any, time_s: float) -> None:
        """Encode up to `time_s` on the clip's clock."""
        until = min(self.end, round(time_s * self.sound.rate_hz) - self.offset)
        step = self.stream.codec_context.frame_size or 1024
        while self.done < until:
            count = min(step, self.end - self.done)
            out.mux(self.stream.encode(self._frame(self.done, count)))
            self.done += count

    def finish(self, out: Any) -> None:
        """Encode the rest and close."""
        self.write_until(out, (self.end + self.offset) / self.sound.rate_hz)
        out.mux(self.stream.encode(None))

    def _frame(self, start: int, count: int) -> av.AudioFrame:
        rate = self.sound.rate_hz
        time_s = (np.arange(start, start + count) + self.offset) / rate
        loud = np.where(time_s % 1.0 < SYNC_S, 0.8, 0.2)
        channels = self.stream.codec_context.channels
        waves = np.stack([loud * np.sin(2 * np.pi * (self.tone_hz + 100 * c) * time_s) for c in range(channels)])
        plain = av.AudioFrame.from_ndarray(waves.astype(np.float32), format="fltp", layout=self.sound.layout)
        plain.sample_rate = rate
        frame = plain
        if self.format != "fltp":
            resampler = av.AudioResampler(format=self.format, layout=self.sound.layout, rate=rate)
            frame = resampler.resample(plain)[0]
        frame.pts, frame.time_base = start + self.offset, Fraction(1, rate)
        return frame

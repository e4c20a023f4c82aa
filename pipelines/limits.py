"""What a source may be. Checked from its headers, before anything is decoded for output."""

from dataclasses import dataclass

from pipelines.errors import LimitExceeded

SETTING = "FARM_LIMITS__"  # + the field's name in capitals: the variable that an operator sets
CEILING_PIXELS = (
    8192 * 8192
)  # decoders refuse larger pictures whatever the settings say: one 10-bit 4:4:4 frame is 400 MB
CEILING_STREAMS = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds, each inclusive."""

    max_bytes: int = 128_000_000_000
    max_duration_s: float = 6 * 3600.0
    max_width: int = 8192  # px, of the stored and of the shown picture
    max_height: int = 8192
    max_pixels: int = 8192 * 4352  # of one stored picture: 8K UHD and 8192×4320 pass
    max_frame_rate: float = 240.0  # frames per second
    max_frames: int = 2_000_000  # 6 h at 60 frames/s are 1.3 million
    max_streams: int = 64
    max_audio_tracks: int = 16
    max_audio_channels: int = 16  # of one track

    def __post_init__(self) -> None:
        if self.max_pixels > CEILING_PIXELS or self.max_streams > CEILING_STREAMS:
            raise ValueError(
                f"max_pixels can be at most {CEILING_PIXELS} and max_streams at most {CEILING_STREAMS}: "
                "a media process has not the memory for more"
            )

    def check(self, name: str, found: float, what: str) -> None:
        """Raise LimitExceeded when `found` is above the limit `name`; `what` says what was found, for a person."""
        allowed = getattr(self, name)
        if found > allowed:
            raise LimitExceeded(
                f"{what}, more than the {_figure(allowed)} allowed",
                detail={"limit": name, "allowed": allowed, "found": found, "setting": f"{SETTING}{name.upper()}"},
            )


def _figure(value: float) -> str:
    return f"{value:,.3f}".rstrip("0").rstrip(".")

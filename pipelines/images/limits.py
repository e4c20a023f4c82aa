"""What a picture may be. Checked from its header, before a pixel is decoded."""

from dataclasses import dataclass

from pipelines.errors import LimitExceeded

SETTING = "FARM_IMAGE_LIMITS__"  # + the field's name in capitals: the variable that an operator sets


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Upper bounds, each inclusive."""

    max_bytes: int = 200_000_000  # of the source file
    max_pixels: int = 100_000_000  # of one stored picture: cameras of 100 MP pass
    max_side: int = 16_384  # px
    max_frames: int = 2_000  # of an animation
    max_animation_pixels: int = 500_000_000  # frames × pixels, over all frames: 500 of 1000×1000
    max_animation_frame_pixels: int = 25_000_000  # of one frame: decoders hold several, at 4 bytes a pixel
    max_heif_pixels: int = 50_000_000  # of a HEIC or AVIF, whose decoders hold it whole at 14 bytes a pixel; phones: 48
    # Of one AVIF that is made. Of 25 MP of noise, the worst there is, SVT-AV1 needs 2.3 s and 0.5 GB, libaom (alpha,
    # profile) 4.2 s and 1 GB; of 49 MP 5 s and 8.2 s with twice the memory.
    max_avif_pixels: int = 25_000_000
    max_output_bytes: int = 200_000_000  # of all outputs together
    max_s: float = 30.0  # wall clock for one picture

    def check(self, name: str, found: float, what: str) -> None:
        """Raise LimitExceeded when `found` is above the limit `name`; `what` says what was found, for a person."""
        allowed = getattr(self, name)
        if found > allowed:
            raise LimitExceeded(
                f"{what}, more than the {allowed:,} allowed",
                detail={"limit": name, "allowed": allowed, "found": found, "setting": f"{SETTING}{name.upper()}"},
            )

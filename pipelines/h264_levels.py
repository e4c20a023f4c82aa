"""Which H.264 level a rendition needs: what tells a player in advance whether its decoder can keep up."""

from fractions import Fraction

from pipelines.errors import UnsupportedMedia

HIGH = 1.25
"""How much more bitrate and buffer the High profile may have than the table says."""

# Rec. ITU-T H.264, table A-1, from 3.0 on, for no decoder in use does less:
# level, macroblocks a second, macroblocks a frame, kbit/s, kbit of buffer
LEVELS = (
    ("3.0", 40_500, 1_620, 10_000, 10_000),
    ("3.1", 108_000, 3_600, 14_000, 14_000),
    ("3.2", 216_000, 5_120, 20_000, 20_000),
    ("4.0", 245_760, 8_192, 20_000, 25_000),
    ("4.1", 245_760, 8_192, 50_000, 62_500),
    ("4.2", 522_240, 8_704, 50_000, 62_500),
    ("5.0", 589_824, 22_080, 135_000, 135_000),
    ("5.1", 983_040, 36_864, 240_000, 240_000),
    ("5.2", 2_073_600, 36_864, 240_000, 240_000),
    ("6.0", 4_177_920, 139_264, 240_000, 240_000),
    ("6.1", 8_355_840, 139_264, 480_000, 480_000),
    ("6.2", 16_711_680, 139_264, 800_000, 800_000),
)


def h264_level(width: int, height: int, frame_rate: Fraction, bitrate_bps: int, buffer_bits: int) -> str:
    """The lowest level, High profile, for this size (pixels), rate and bitrate; 0 for an unlimited bitrate.

    Raises UnsupportedMedia beyond the highest. Rec. ITU-T H.264, A.3.1 and A.3.3.
    """
    columns, lines = -(-width // 16), -(-height // 16)
    blocks, longest = columns * lines, max(columns, lines)
    for level, blocks_a_second, blocks_a_frame, most_kbps, most_buffer_kbit in LEVELS:
        if (
            blocks <= blocks_a_frame
            and longest * longest <= 8 * blocks_a_frame
            and blocks * frame_rate <= blocks_a_second
            and bitrate_bps <= most_kbps * 1000 * HIGH
            and buffer_bits <= most_buffer_kbit * 1000 * HIGH
        ):
            return level
    raise UnsupportedMedia(
        f"{width}×{height} at {float(frame_rate):g} frames per second is beyond the highest H.264 level"
    )

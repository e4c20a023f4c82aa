"""What the header of a WebP says, animated or not."""

from pathlib import Path

import pytest

from pipelines.errors import (
    CorruptMedia,
    LimitExceeded,
    TruncatedMedia,
)
from pipelines.images.limits import ImageLimits
from tests.support.image_bytes import (
    EXIF_6,
    P3,
    anmf,
    drawn,
    header_of,
    riff,
    seen,
    vp8x,
)

VP8L = b"/" + (63 | 47 << 14).to_bytes(4, "little")


def test_a_webp_tells_size_alpha_and_profile(tmp_path: Path) -> None:
    plain = header_of(tmp_path, drawn().webpsave_buffer())
    assert (plain.format, plain.width, plain.height, plain.has_alpha, plain.frames) == ("webp", 64, 48, False, 1)
    lossless = header_of(tmp_path, drawn(bands=4).webpsave_buffer(lossless=True))
    assert lossless.has_alpha
    found = seen(tmp_path, riff(vp8x((64, 48), 0x20), (b"ICCP", P3), (b"VP8L", VP8L), (b"EXIF", EXIF_6)))
    assert (found.header.orientation, found.header.is_srgb, found.profile) == (6, False, P3)


def test_an_animated_webp_is_counted_and_timed(tmp_path: Path) -> None:
    found = seen(tmp_path, riff(vp8x((64, 48), 0x12), (b"ANIM", bytes(6)), anmf(500), anmf(3), anmf(40)))
    assert (found.header.frames, found.header.has_alpha) == (3, True)
    assert found.duration_s == pytest.approx(0.5 + 0.1 + 0.04)
    with pytest.raises(LimitExceeded):
        seen(tmp_path, riff(vp8x((64, 48), 2), *[anmf(40)] * 5), ImageLimits(max_frames=4))


def test_a_webp_whose_picture_is_not_what_it_claims_is_corrupt(tmp_path: Path) -> None:
    for data in (riff((b"VP8 ", bytes(10))), riff((b"ALPH", bytes(10))), riff(vp8x((9, 9), 0), (b"VP8L", VP8L))):
        with pytest.raises(CorruptMedia):
            seen(tmp_path, data)
    with pytest.raises(TruncatedMedia):
        seen(tmp_path, riff(vp8x((9, 9), 0)))


def test_frames_cannot_hide_behind_other_pieces(tmp_path: Path) -> None:
    others = [(b"junk", b"")] * 1001
    with pytest.raises(CorruptMedia):
        seen(tmp_path, riff(vp8x((64, 48), 2), anmf(40), *others, *[anmf(40)] * 3000))


def test_what_lies_behind_the_end_of_a_webp_is_not_counted(tmp_path: Path) -> None:
    whole = riff(vp8x((64, 48), 2), anmf(40), anmf(40))
    assert header_of(tmp_path, whole + riff((b"ANMF", anmf(40)[1]))[12:]).frames == 2

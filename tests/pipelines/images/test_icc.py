"""Whether a profile means sRGB, decided by its numbers."""

import random
import struct
import tracemalloc

import pytest

from pipelines.images.colors import (
    ADOBE_RGB,
    P3_PRIMARIES,
    SRGB_PRIMARIES,
    Colors,
    coded_colors,
    colors,
    made_profile,
)
from pipelines.images.icc import read_profile
from pipelines.images.libraries import vips
from tests.support.image_bytes import P3, SRGB, drawn


def test_the_profiles_of_libvips_are_told_apart() -> None:
    for name, space, is_srgb in (("srgb", b"RGB ", True), ("p3", b"RGB ", False), ("cmyk", b"CMYK", False)):
        found = read_profile(
            bytes(vips().profile_load(name)) if hasattr(vips(), "profile_load") else b""
        ) or read_profile(drawn(bands=3).icc_export(output_profile=name).get("icc-profile-data"))
        assert found is not None
        assert (found.space, found.is_srgb) == (space, is_srgb)
        assert found.name


def test_a_profile_we_make_is_one_that_a_colour_engine_takes() -> None:
    srgb = drawn(4, 4).linear(1, [200, 100, 50])
    for meant in (Colors(SRGB_PRIMARIES), Colors(P3_PRIMARIES), ADOBE_RGB, Colors(SRGB_PRIMARIES, 1.0)):
        profile = made_profile(meant, "rgb")
        assert profile is not None
        image = srgb.cast("uchar").copy()
        image.set_type(vips().GValue.blob_type, "icc-profile-data", profile)
        pixel = image.icc_transform("srgb", embedded=True)(1, 1)
        if meant.gamma is None and meant.primaries == SRGB_PRIMARIES:
            assert pixel == pytest.approx([200, 100, 50], abs=1)
        elif meant.gamma == 1.0:
            assert pixel == pytest.approx([229, 168, 122], abs=3)  # the same numbers, taken as amounts of light
        else:
            assert pixel[0] > 210  # the same numbers are a stronger red


def test_ours_of_srgb_is_srgb_and_others_are_not() -> None:
    for meant, is_srgb in (
        (Colors(SRGB_PRIMARIES), True),
        (Colors(P3_PRIMARIES), False),
        (Colors(SRGB_PRIMARIES, 2.2), False),
        (ADOBE_RGB, False),
    ):
        found = read_profile(made_profile(meant, "rgb") or b"")
        assert found is not None
        assert found.is_srgb == is_srgb


def test_a_profile_is_for_pictures_of_its_kind() -> None:
    wide, grey = read_profile(P3), read_profile(made_profile(Colors(SRGB_PRIMARIES), "grey") or b"")
    assert wide is not None
    assert grey is not None
    assert (wide.suits("rgb"), wide.suits("indexed"), wide.suits("grey"), wide.suits("cmyk")) == (
        True,
        True,
        False,
        False,
    )
    assert (grey.suits("grey"), grey.is_srgb) == (True, True)


def test_a_name_alone_makes_no_srgb() -> None:
    text = "made from the picture's own tags".encode("utf-16-be")
    named = P3.replace(text, "sRGB IEC61966-2.1               ".encode("utf-16-be"))
    found = read_profile(named)
    assert found is not None
    assert (found.name, found.is_srgb) == ("sRGB IEC61966-2.1", False)


def test_rotten_profiles_are_never_an_error() -> None:
    chance = random.Random(3)
    for _ in range(2000):
        rotten = bytearray(SRGB[: chance.randrange(len(SRGB))] if chance.random() < 0.3 else SRGB)
        for _ in range(chance.randrange(20)):
            rotten[chance.randrange(len(rotten) or 1) :][:1] = bytes((chance.randrange(256),))
            if rotten:
                rotten[chance.randrange(len(rotten))] = chance.randrange(256)
        read_profile(bytes(rotten))
    assert read_profile(b"") is None
    assert read_profile(bytes(500)) is None


def test_code_points_that_mean_srgb_or_nothing_need_no_profile() -> None:
    for points in ((1, 13), (2, 2), (1, 1), (1, 6), (0, 0)):
        assert coded_colors(*points) is None
    assert coded_colors(12, 13) == Colors(P3_PRIMARIES)
    assert coded_colors(1, 8) == Colors(SRGB_PRIMARIES, 1.0)


def test_pictures_brighter_than_white_have_no_profile() -> None:
    for transfer in (16, 18):
        found = coded_colors(9, transfer)
        assert found is not None
        assert found.hdr
        assert made_profile(found, "rgb") is None


def test_primaries_that_are_none_make_no_profile() -> None:
    for primaries in ((0.0,) * 8, (0.3,) * 8, (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.0)):
        found = colors(primaries, None)
        assert found is not None
        assert made_profile(found, "rgb") is None


def test_tags_that_lie_over_each_other_take_no_memory() -> None:
    profile = bytearray(7_900_000)
    profile[36:40], profile[16:20], profile[128:132] = b"acsp", b"RGB ", (200).to_bytes(4, "big")
    for number in range(200):
        name = (b"desc", b"rTRC", b"A2B0")[number] if number < 3 else b"t%03d" % number
        profile[132 + 12 * number : 144 + 12 * number] = struct.pack(">4sII", name, number + 1, len(profile))
    data = bytes(profile)
    tracemalloc.start()
    try:
        read_profile(data)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()

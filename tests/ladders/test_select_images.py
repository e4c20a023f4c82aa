from fractions import Fraction
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ladders.catalog import load_preset
from ladders.images import ImagePart, ImageVariant, SelectedVariant, Webp
from ladders.model import SourceShape
from ladders.select_images import LONGEST_SIDE, select_variants

Size = tuple[int, int]

sides = st.integers(1, 20_000)
sizes = st.tuples(sides, sides)
boxes = st.tuples(st.integers(1, 16_383), st.integers(1, 16_383))


def fitted(
    source: Size, fit: Literal["inside", "cover", "exact"], width: int | None, height: int | None
) -> SelectedVariant:
    variant = ImageVariant(name="wanted", fit=fit, width=width, height=height, formats=(Webp(),))
    (found,) = select_variants(ImagePart(variants=(variant,)), SourceShape(width=source[0], height=source[1]))
    assert found.variant == variant
    return found


@pytest.mark.parametrize(
    ("source", "box", "expected"),
    [
        ((4000, 3000), (1600, 1600), (1600, 1200)),
        ((3000, 4000), (1600, 1600), (1200, 1600)),
        ((4000, 3000), (1600, None), (1600, 1200)),
        ((3000, 4000), (1600, None), (1600, 2133)),
        ((3000, 4000), (None, 1600), (1200, 1600)),
        ((800, 600), (1600, 1600), (800, 600)),  # never enlarged
        ((1600, 1), (800, 800), (800, 1)),
        ((20_000, 3), (150, 150), (150, 1)),  # half of nothing is still a picture
        ((3, 2), (2, 2), (2, 1)),
        ((1001, 1), (1001, None), (1001, 1)),
        ((100, 20_000), (150, None), (82, 16_383)),  # the side that nothing was said of is what WebP can hold
        ((1, 1), (150, 150), (1, 1)),
    ],
)
def test_inside_fits_the_box_and_never_enlarges(
    source: Size, box: tuple[int | None, int | None], expected: Size
) -> None:
    found = fitted(source, "inside", *box)

    assert found.scaled == found.size == expected


@pytest.mark.parametrize(
    ("source", "box", "scaled", "size"),
    [
        ((4000, 3000), (300, 300), (400, 300), (300, 300)),
        ((3000, 4000), (300, 300), (300, 400), (300, 300)),
        ((200, 150), (300, 300), (200, 150), (150, 150)),  # too small: of the wanted shape
        ((1000, 200), (300, 300), (1000, 200), (200, 200)),  # too small in one side only
        ((1000, 200), (300, 150), (750, 150), (300, 150)),
        ((300, 300), (300, 300), (300, 300), (300, 300)),
        ((100, 100), (1600, 900), (100, 100), (100, 56)),
        ((10, 10), (16_383, 1), (10, 10), (10, 1)),
        ((1, 1), (300, 200), (1, 1), (1, 1)),
    ],
)
def test_cover_fills_the_wanted_shape_and_never_enlarges(source: Size, box: Size, scaled: Size, size: Size) -> None:
    found = fitted(source, "cover", *box)

    assert (found.scaled, found.size) == (scaled, size)


@given(sizes, boxes)
def test_exact_has_just_that_size(source: Size, box: Size) -> None:
    found = fitted(source, "exact", *box)

    assert found.scaled == found.size == box


@given(sizes, boxes)
@example((20_000, 1), (1, 16_383))
@example((3, 3), (2, 2))
def test_inside_is_within_the_box_and_the_source_and_reaches_one_of_them(source: Size, box: Size) -> None:
    width, height = fitted(source, "inside", *box).size

    assert 1 <= width <= min(box[0], source[0])
    assert 1 <= height <= min(box[1], source[1])
    assert width == box[0] or height == box[1] or (width, height) == source


@given(sizes, boxes)
def test_inside_keeps_the_shape_to_within_half_a_pixel(source: Size, box: Size) -> None:
    scale = min(Fraction(1), Fraction(box[0], source[0]), Fraction(box[1], source[1]))

    for side, whole in zip(fitted(source, "inside", *box).size, source, strict=True):
        assert abs(side - whole * scale) <= Fraction(1, 2) or side == 1


@given(sizes, st.integers(1, 16_383), st.booleans())
def test_one_side_given_leaves_the_other_to_the_shape(source: Size, side: int, upright: bool) -> None:
    free = fitted(source, "inside", None, side) if upright else fitted(source, "inside", side, None)
    within = (LONGEST_SIDE, side) if upright else (side, LONGEST_SIDE)

    assert free.size == fitted(source, "inside", *within).size


@given(sizes, boxes)
@example((20_000, 1), (1, 16_383))
@example((16_383, 16_382), (16_382, 16_383))
def test_cover_is_cut_from_a_picture_that_covers_it_without_enlarging(source: Size, box: Size) -> None:
    found = fitted(source, "cover", *box)

    for cut, scaled, whole, wanted in zip(found.size, found.scaled, source, box, strict=True):
        assert 1 <= cut <= min(scaled, wanted)
        assert scaled <= whole


@given(sizes, boxes)
def test_cover_is_the_wanted_size_wherever_the_source_is_large_enough(source: Size, box: Size) -> None:
    found = fitted(source, "cover", *box)

    if source[0] >= box[0] and source[1] >= box[1]:
        assert found.size == box
        assert found.scaled[0] == box[0] or found.scaled[1] == box[1], "no more is computed than is kept"
    else:
        assert found.scaled == source
        assert found.size[0] == source[0] or found.size[1] == source[1], "no more is cut off than must be"


@given(sizes, boxes)
def test_cover_keeps_both_shapes_to_within_half_a_pixel(source: Size, box: Size) -> None:
    found = fitted(source, "cover", *box)
    of_source = max(Fraction(box[0], source[0]), Fraction(box[1], source[1]))
    of_box = min(Fraction(1), Fraction(source[0], box[0]), Fraction(source[1], box[1]))

    for cut, scaled, whole, wanted in zip(found.size, found.scaled, source, box, strict=True):
        assert abs(scaled - whole * min(of_source, Fraction(1))) <= Fraction(1, 2)
        assert abs(cut - wanted * of_box) <= Fraction(1, 2) or cut == 1


@given(sizes, boxes)
def test_a_turned_source_in_a_turned_box_gives_the_turned_picture(source: Size, box: Size) -> None:
    for fit in ("inside", "cover", "exact"):
        found, turned = fitted(source, fit, *box), fitted(source[::-1], fit, *box[::-1])

        assert (found.size, found.scaled) == (turned.size[::-1], turned.scaled[::-1])


@given(sizes)
@example((1, 1))
def test_every_variant_is_made_of_every_source_in_its_order(source: Size) -> None:
    for name in ("web", "social", "avatar", "preview", "standard", "archive"):
        image = load_preset(name).image
        assert image is not None
        found = select_variants(image, SourceShape(width=source[0], height=source[1]))

        assert [one.variant for one in found] == list(image.variants)

"""How the wanted pictures fit one source: pure arithmetic on sizes, exact until the last rounding."""

from fractions import Fraction

from ladders.images import ImagePart, ImageVariant, SelectedVariant
from ladders.model import SourceShape

LONGEST_SIDE = 16_383
"""Pixels; the most that WebP can hold. It bounds the side that a variant says nothing of."""


def select_variants(part: ImagePart, source: SourceShape) -> tuple[SelectedVariant, ...]:
    """Every variant of `part`, in its order, fitted to `source`.

    None is left out for a small source: whoever asks for `images/w1600.webp` finds it, if need be at the source's own
    size. Sides are rounded to the nearest pixel, and are never less than one.
    """
    return tuple(_fitted(variant, source) for variant in part.variants)


def _fitted(variant: ImageVariant, source: SourceShape) -> SelectedVariant:
    box = (variant.width or LONGEST_SIDE, variant.height or LONGEST_SIDE)
    own = (source.width, source.height)
    if variant.fit == "exact":
        return SelectedVariant(variant=variant, scaled=box, size=box)
    if variant.fit == "inside":
        size = _times(own, min(_ratio(box, own), Fraction(1)))
        return SelectedVariant(variant=variant, scaled=size, size=size)
    # Covered: the largest picture of the wanted shape that the source holds, made smaller where it is above the box.
    shrink = min(_ratio(own, box), Fraction(1))
    if shrink < 1:
        return SelectedVariant(variant=variant, scaled=own, size=_times(box, shrink))
    return SelectedVariant(variant=variant, scaled=_times(own, 1 / _ratio(own, box)), size=box)


def _ratio(outer: tuple[int, int], inner: tuple[int, int]) -> Fraction:
    """The factor that fits `inner` just inside `outer`."""
    return min(Fraction(outer[0], inner[0]), Fraction(outer[1], inner[1]))


def _times(size: tuple[int, int], factor: Fraction) -> tuple[int, int]:
    """`size` × `factor`, each side rounded to the nearest pixel (a half upwards), at least 1."""
    width, height = (max(1, int(side * factor + Fraction(1, 2))) for side in size)
    return width, height

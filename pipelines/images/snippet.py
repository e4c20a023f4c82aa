"""The element that shows a picture on a page: the best format that the browser knows, in the size that it needs."""

from collections.abc import Iterable, Sequence
from html import escape
from math import gcd
from urllib.parse import quote

from ladders.images import ImagePart, ImageVariant
from pipelines.images.made import MadeImage

SOURCES = ("avif", "webp")  # tried in this order, before what every browser knows
FALLBACKS = ("jpeg", "png", "webp", "avif")  # the first of these that was made is the `<img>`


def picture_html(images: Iterable[MadeImage], part: ImagePart) -> str:
    """A `<picture>` of `images`, with paths relative to the item's folder; empty when there are none.

    It holds only variants that show the same part of the picture, at several sizes: those that fit it whole, or without
    any the first crop of the recipe. Who uses it writes the `alt`, and the width that the page gives it for `sizes`.
    """
    shown = _shown(list(images), part)
    made = [name for name in FALLBACKS if name in {image.format for image in shown}]
    if not made:
        return ""
    fallback = made[0]
    lines = ["<picture>"]
    for name in SOURCES:
        candidates = _by_width(shown, name)
        if candidates and name != fallback:
            lines.append(f'  <source type="image/{name}" {_srcset(candidates)}>')
    candidates = _by_width(shown, fallback)
    widest = candidates[-1]
    lines.append(
        f'  <img src="{_url(widest)}" {_srcset(candidates)} width="{widest.width}" height="{widest.height}"'
        f' alt="" loading="lazy" decoding="async">'
    )
    return "\n".join([*lines, "</picture>"])


def _shown(images: list[MadeImage], part: ImagePart) -> list[MadeImage]:
    """The images of one view of the picture: of the whole one where there is any."""
    animated = {image.variant for image in images if image.frames > 1}
    views = {variant.name: _view(variant, variant.name in animated) for variant in part.variants}
    known = [image for image in images if image.variant in views]
    # The recipe's order decides among views of the same kind, whatever was finished first.
    order = list(views.values())
    wanted = min(
        (views[image.variant] for image in known), key=lambda v: (v[0] != "inside", order.index(v)), default=()
    )
    return [image for image in known if views[image.variant] == wanted]


def _view(variant: ImageVariant, is_animated: bool) -> tuple[str | bool, ...]:
    """Equal for variants that differ in size only."""
    if variant.fit == "inside":
        return ("inside", is_animated)
    width, height = variant.width or 1, variant.height or 1
    shape = f"{width // gcd(width, height)}:{height // gcd(width, height)}"
    return (variant.fit, is_animated, shape, variant.crop)


def _by_width(images: list[MadeImage], name: str) -> list[MadeImage]:
    """The images of this format, each width once: a small source makes variants of the same size."""
    once: dict[int, MadeImage] = {}
    for image in images:
        if image.format == name:
            once.setdefault(image.width, image)
    return [once[width] for width in sorted(once)]


def _srcset(images: Sequence[MadeImage]) -> str:
    return f'srcset="{", ".join(f"{_url(image)} {image.width}w" for image in images)}" sizes="100vw"'


def _url(image: MadeImage) -> str:
    return escape(quote(image.path))

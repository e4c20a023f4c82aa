"""The <picture> element: formats, sizes, and what does not belong together."""

from html.parser import HTMLParser
from typing import Any, Literal

from ladders.images import ImagePart
from pipelines.images.made import MadeImage
from pipelines.images.snippet import picture_html

Format = Literal["webp", "jpeg", "avif", "png"]
SUFFIXES = {"jpeg": "jpg"}


def part(*variants: dict[str, Any], formats: tuple[str, ...] = ("avif", "webp", "jpeg")) -> ImagePart:
    named = [{"name": name} for name in formats]
    return ImagePart.model_validate({"variants": [{"formats": named, **variant} for variant in variants]})


def made(variant: str, size: tuple[int, int], *formats: Format, frames: int = 1) -> list[MadeImage]:
    return [
        MadeImage(variant, f"images/{variant}.{SUFFIXES.get(name, name)}", name, *size, frames, 1000, "x")
        for name in formats
    ]


class Elements(HTMLParser):
    """The elements of a snippet: name and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_best_format_comes_first_and_every_browser_finds_one() -> None:
    recipe = part({"name": "small", "width": 400}, {"name": "large", "width": 1600})
    images = made("large", (1600, 900), "jpeg", "webp", "avif") + made("small", (400, 225), "jpeg", "webp", "avif")
    (_, _), (_, avif), (_, webp), (tag, img) = Elements(picture_html(images, recipe)).found
    assert (avif["type"], webp["type"], tag) == ("image/avif", "image/webp", "img")
    assert avif["srcset"] == "images/small.avif 400w, images/large.avif 1600w"
    assert avif["sizes"] == webp["sizes"] == img["sizes"] == "100vw"
    assert img["srcset"] == "images/small.jpg 400w, images/large.jpg 1600w"
    assert img["src"] == "images/large.jpg"
    assert (img["width"], img["height"], img["alt"]) == ("1600", "900", "")
    assert (img["loading"], img["decoding"]) == ("lazy", "async")


def test_each_width_is_named_once() -> None:
    recipe = part({"name": "small", "width": 400}, {"name": "large", "width": 1600}, formats=("jpeg",))
    images = made("small", (300, 200), "jpeg") + made("large", (300, 200), "jpeg")
    _, (_, img) = Elements(picture_html(images, recipe)).found
    assert img["srcset"] == "images/small.jpg 300w"


def test_crops_are_left_out_where_the_whole_picture_is_there() -> None:
    recipe = part({"name": "square", "fit": "cover", "width": 150, "height": 150}, {"name": "large", "width": 1600})
    text = picture_html(made("square", (150, 150), "jpeg") + made("large", (1600, 900), "jpeg"), recipe)
    assert "square" not in text
    assert "large" in text


def test_without_a_whole_picture_the_first_crop_is_shown_in_all_its_sizes() -> None:
    recipe = part(
        {"name": "wide", "fit": "cover", "width": 320, "height": 180},
        {"name": "square", "fit": "cover", "width": 150, "height": 150},
        {"name": "wider", "fit": "cover", "width": 1280, "height": 720},
        {"name": "clever", "fit": "cover", "width": 640, "height": 360, "crop": "attention"},
    )
    images = [
        *made("square", (150, 150), "jpeg"),
        *made("clever", (640, 360), "jpeg"),
        *made("wider", (1280, 720), "jpeg"),
        *made("wide", (320, 180), "jpeg"),
    ]
    _, (_, img) = Elements(picture_html(images, recipe)).found
    assert img["srcset"] == "images/wide.jpg 320w, images/wider.jpg 1280w"


def test_an_animation_and_a_still_do_not_share_a_set() -> None:
    recipe = part({"name": "moving", "width": 800, "animation": "keep"}, {"name": "still", "width": 400})
    animated = made("moving", (800, 600), "webp", frames=9) + made("moving", (800, 600), "jpeg")
    text = picture_html(animated + made("still", (400, 300), "webp", "jpeg"), recipe)
    assert "still" not in text
    same = picture_html(made("moving", (800, 600), "jpeg") + made("still", (400, 300), "jpeg"), recipe)
    assert "still" in same  # of a source that does not move


def test_the_only_format_is_the_image_itself() -> None:
    for name in ("webp", "avif", "png"):
        recipe = part({"name": "large", "width": 1600}, formats=(name,))
        found = Elements(picture_html(made("large", (1600, 900), name), recipe)).found
        assert [tag for tag, _ in found] == ["picture", "img"]
        assert found[1][1]["src"] == f"images/large.{name}"


def test_paths_cannot_leave_their_attributes() -> None:
    recipe = part({"name": "large", "width": 1600})
    odd = [MadeImage("large", 'images/"><b>, x 2w.jpg', "jpeg", 16, 9, 1, 10, "x")]
    text = picture_html(odd, recipe)
    assert "<b>" not in text
    _, (_, img) = Elements(text).found
    assert img["src"] == "images/%22%3E%3Cb%3E%2C%20x%202w.jpg"


def test_nothing_made_is_nothing_shown() -> None:
    assert picture_html([], part({"name": "large", "width": 1600})) == ""

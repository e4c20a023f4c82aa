from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from ladders import catalog
from ladders.errors import InvalidRecipe
from ladders.images import ImagePart, ImageVariant, Jpeg, Webp
from ladders.model import AudioPart, AudioRendition, Packaging, Recipe
from ladders.reading import read_recipe

SMALL = ImageVariant(name="w150", width=150, formats=(Webp(),))
LARGE = ImageVariant(name="w1600", width=1600, formats=(Webp(), Jpeg()))
PICTURES = ImagePart(variants=(SMALL, LARGE))
SOUND = AudioPart(renditions=(AudioRendition(name="128k", bitrate_bps=128_000),))


def preset(name: str) -> ImagePart:
    image = catalog.load_preset(name).image
    assert image is not None
    return image


def made(image: ImagePart) -> set[str]:
    return {f"{variant.name}.{wanted.name}" for variant in image.variants for wanted in variant.formats}


def problems(image: str) -> list[str]:
    with pytest.raises(InvalidRecipe) as caught:
        read_recipe(f"name: mine\nimage: {image}\n".encode(), "mine.yaml")
    found: list[str] = caught.value.detail["problems"]
    return found


def one_variant(**changes: Any) -> str:
    variant: dict[str, Any] = {"name": "w150", "width": 150, "formats": [{"name": "webp"}]} | changes
    given = {key: value for key, value in variant.items() if value is not ...}
    return yaml.safe_dump({"variants": [given]}, default_flow_style=True, width=1000).strip()


def test_a_recipe_can_be_of_pictures_alone_and_says_nothing_of_packaging() -> None:
    recipe = read_recipe(f"name: mine\nimage: {one_variant()}\n".encode(), "mine.yaml")

    assert recipe.image == ImagePart(variants=(SMALL,))
    assert (recipe.video, recipe.audio) == (None, None)


def test_packaging_is_only_looked_at_where_there_is_something_to_package() -> None:
    nothing = Packaging(hls=False, dash=False)

    assert Recipe(name="x", image=PICTURES, packaging=nothing).image == PICTURES
    with pytest.raises(ValidationError, match="nothing would be published"):
        Recipe(name="x", image=PICTURES, audio=SOUND, packaging=nothing)


def test_the_digest_tells_pictures_apart() -> None:
    alone, with_pictures = Recipe(name="x", audio=SOUND), Recipe(name="x", audio=SOUND, image=PICTURES)
    softer = SMALL.model_copy(update={"formats": (Webp(quality=70),)})
    other = with_pictures.model_copy(update={"image": ImagePart(variants=(softer, LARGE))})

    assert len({recipe.digest for recipe in (alone, with_pictures, other)}) == 3


def test_a_recipe_survives_the_job_store() -> None:
    for name in catalog.names():
        recipe = catalog.load_preset(name)
        again = Recipe.model_validate(recipe.model_dump(mode="json"))

        assert again == recipe
        assert again.digest == recipe.digest


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (one_variant(formats=[{"name": "jpg"}]),
         "variants[0].formats[0].name: should be one of 'webp', 'jpeg', 'avif', 'png'"),
        (one_variant(formats=[{"quality": 80}]), "variants[0].formats[0].name: missing"),
        (one_variant(formats=["webp"]),
         "variants[0].formats[0]: should hold settings of its own, such as {name: webp}"),
        (one_variant(formats="webp"), "variants[0].formats: should be a list"),
        (one_variant(formats=[]), "variants[0].formats: Tuple should have at least 1 item after validation, not 0"),
        (one_variant(formats=...), "variants[0].formats: missing"),
        (one_variant(formats=[{"name": "webp", "quality": 0}]),
         "variants[0].formats[0].quality: should be greater than or equal to 1"),
        (one_variant(formats=[{"name": "jpeg", "quality": 101}]),
         "variants[0].formats[0].quality: should be less than or equal to 100"),
        (one_variant(formats=[{"name": "jpeg", "quality": 80.5}]),
         "variants[0].formats[0].quality: should be a valid integer"),
        (one_variant(formats=[{"name": "avif", "qualty": 60}]),
         "variants[0].formats[0].qualty: unknown key; did you mean quality? allowed: name, quality"),
        (one_variant(formats=[{"name": "png", "quality": 60}]),
         "variants[0].formats[0].quality: unknown key; allowed: name"),
        (one_variant(formats=[{"name": "webp"}, {"name": "webp", "quality": 60}]),
         "variants[0]: formats: the name webp stands there 2 times"),
        (one_variant(width=...), "variants[0]: w150: give width, height or both"),
        (one_variant(fit="cover"), "variants[0]: w150: fit: cover needs both width and height"),
        (one_variant(fit="exact", width=..., height=9), "variants[0]: w150: fit: exact needs both width and height"),
        (one_variant(fit="fill"), "variants[0].fit: should be 'inside', 'cover' or 'exact'"),
        (one_variant(crop="attention"), "variants[0]: w150: crop is for fit: cover; inside cuts nothing off"),
        (one_variant(width=0), "variants[0].width: should be greater than or equal to 1"),
        (one_variant(height=20_000), "variants[0].height: should be less than or equal to 16383"),
        (one_variant(width="wide"), "variants[0].width: should be a valid integer"),
        (one_variant(color="p3"), "variants[0].color: should be 'srgb' or 'display-p3'"),
        (one_variant(name="Large Size"),
         "variants[0].name: should be of a-z, 0-9, - and _, begun by a letter or digit, and at most 32 long"),
        (one_variant(name=150), "variants[0].name: should be a valid string"),
        ("{variants: [w150]}",
         "variants[0]: should hold settings of its own, such as {name: …, formats: …}"),
        ("{variants: []}", "variants: Tuple should have at least 1 item after validation, not 0"),
        ("{}", "variants: missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_picture_is_said_once_with_its_place(image: str, said: str) -> None:
    assert problems(image) == [f"image.{said}"]


@pytest.mark.parametrize("background", ["white", "#FFFFFF", "#fff", None])
def test_a_colour_that_is_none_is_answered_with_how_to_write_one(background: str | None) -> None:
    (said,) = problems(one_variant(background=background))

    assert said.startswith("image.variants[0].background: should be # and six of 0-9 and a-f, in quotes")


def test_a_colour_without_quotes_is_a_comment_to_yaml() -> None:
    written = one_variant(background="#ffffff").replace("'#ffffff'", " #ffffff\n  ")
    (said,) = problems(written)

    assert "without quotes YAML skips it" in said


def test_a_misspelt_colour_key_is_answered_with_the_nearest() -> None:
    (said,) = problems(one_variant(colour="srgb"))

    assert said.startswith("image.variants[0].colour: unknown key; did you mean color? allowed: alpha, animation, ")


def test_two_variants_of_one_name_are_refused() -> None:
    twice = "{variants: [{name: a, width: 1, formats: [{name: png}]}, {name: a, width: 2, formats: [{name: png}]}]}"

    assert problems(twice) == ["image: variants: the name a stands there 2 times"]


def test_an_image_part_that_is_no_mapping_is_answered_with_what_it_needs() -> None:
    assert problems("web") == ["image: should hold settings of its own, such as {variants: …}"]


def test_every_picture_of_the_packaged_recipes() -> None:
    for name, sides in {"web": (150, 300, 600, 1200, 1600), "social": (150, 400, 800, 1600)}.items():
        assert made(preset(name)) == {f"w{side}.{ending}" for side in sides for ending in ("webp", "jpeg")}
    assert made(preset("avatar")) == {"s150.webp", "s150.jpeg", "s300.webp", "s300.jpeg"}
    assert made(preset("preview")) == {"w1080.webp", "w1080.jpeg", "thumbnail.webp"}
    assert made(preset("archive")) == {"master.avif", "master.jpeg", "w1600.webp"}


@pytest.mark.parametrize("name", ["web", "social", "avatar", "archive"])
def test_a_packaged_recipe_for_pictures_makes_nothing_else(name: str) -> None:
    recipe = catalog.load_preset(name)

    assert (recipe.video, recipe.audio) == (None, None)


def test_the_standard_recipe_makes_the_pictures_of_web() -> None:
    assert preset("standard") == preset("web")


def test_only_the_archive_keeps_what_a_picture_says_of_its_maker_and_place() -> None:
    kept = set()
    for name in catalog.names():
        image = catalog.load_preset(name).image
        if image and (image.copyright == "keep" or image.location == "record"):
            kept.add(name)

    assert kept == {"archive"}


def test_the_variants_of_web_and_social_bound_a_portrait_picture_too() -> None:
    for name in ("web", "social"):
        assert all(variant.width == variant.height for variant in preset(name).variants)


def test_the_complete_example_of_the_readme_is_a_recipe(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    example = readme.partition("```yaml\nname:")[2].partition("```")[0]
    (tmp_path / "mine.yaml").write_text(f"name:{example}")

    image = catalog.load_file(tmp_path / "mine.yaml").image

    assert image is not None
    assert set(ImagePart.model_fields) == image.model_fields_set
    assert set().union(*(variant.model_fields_set for variant in image.variants)) == set(ImageVariant.model_fields)

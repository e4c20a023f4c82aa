"""The image part of a recipe: which pictures are made of one picture."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ladders.part import Part, unique

Quality = Annotated[int, Field(ge=1, le=100)]


class Webp(Part):
    """WebP: every browser since 2020, a third smaller than JPEG at equal quality; alpha and animation."""

    name: Literal["webp"] = "webp"
    quality: Quality = 80


class Jpeg(Part):
    """JPEG: everything reads it; no alpha, no animation."""

    name: Literal["jpeg"] = "jpeg"
    quality: Quality = 80


class Avif(Part):
    """AVIF: about half of JPEG's bytes, for much more computing; alpha, no animation here."""

    name: Literal["avif"] = "avif"
    quality: Quality = 60
    """The scale of libavif: 100 is lossless-like, 60 about what JPEG 80 shows."""


class Png(Part):
    """PNG: lossless, for drawings and archives; alpha."""

    name: Literal["png"] = "png"


Format = Annotated[Webp | Jpeg | Avif | Png, Field(discriminator="name")]


class ImageVariant(Part):
    """One wanted picture, published as `images/{name}.{webp,jpg,avif,png}`, once for each of its formats.

    `width` and `height` are pixels of the upright picture. `inside` fits it into them, `cover` fills them and cuts
    off what stands over; neither ever enlarges: a smaller source gives a smaller picture (of the wanted shape, where
    covered). `exact` has just that size, whatever becomes of the shape.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    fit: Literal["inside", "cover", "exact"] = "inside"
    width: Annotated[int, Field(ge=1, le=16_383)] | None = None
    """16,383 is the most that WebP can hold."""
    height: Annotated[int, Field(ge=1, le=16_383)] | None = None
    crop: Literal["centre", "attention"] = "centre"
    """What `cover` keeps: the middle, or the part that a viewer looks at first."""
    formats: Annotated[tuple[Format, ...], Field(min_length=1, max_length=4)]
    alpha: Literal["keep", "flatten"] = "keep"
    """flatten, and every JPEG: transparent parts show `background`."""
    background: Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")] = "#ffffff"
    animation: Literal["keep", "first_frame"] = "first_frame"
    """keep: an animated source becomes an animated WebP; other formats have its first frame."""
    color: Literal["srgb", "display-p3"] = "srgb"
    """srgb: everything is converted to sRGB, no profile inside. display-p3: a source with more colours than sRGB
    becomes Display P3, profile inside; others stay sRGB."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unique("formats", (wanted.name for wanted in self.formats))
        if self.width is None and self.height is None:
            raise ValueError(f"{self.name}: give width, height or both")
        if self.fit != "inside" and (self.width is None or self.height is None):
            raise ValueError(f"{self.name}: fit: {self.fit} needs both width and height")
        if self.crop != "centre" and self.fit != "cover":
            raise ValueError(f"{self.name}: crop is for fit: cover; {self.fit} cuts nothing off")
        return self


class ImagePart(Part):
    """The pictures of a recipe. EXIF orientation is applied to the pixels; no metadata survives but what is named."""

    variants: Annotated[tuple[ImageVariant, ...], Field(min_length=1, max_length=32)]
    copyright: Literal["strip", "keep"] = "strip"
    """keep: the outputs carry the source's copyright notice and artist, and nothing else of its metadata."""
    location: Literal["strip", "record"] = "strip"
    """record: where the picture was taken goes into the record. It never goes into an output."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unique("variants", (variant.name for variant in self.variants))
        return self


class SelectedVariant(Part):
    """A variant fitted to one source: the upright picture is resized to `scaled`, then cut to `size` (pixels)."""

    variant: ImageVariant
    scaled: tuple[int, int]
    size: tuple[int, int]

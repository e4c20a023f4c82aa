"""From stills to files: every variant in each of its formats, each distinct picture encoded once."""

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ladders.images import Avif, Jpeg, Png, SelectedVariant, Webp
from pipelines.images.animate import Animation, animated_webps
from pipelines.images.encode import SUFFIX, Keep, encoded, flattened
from pipelines.images.engine import StillSpec, spec_of
from pipelines.images.facts import Header
from pipelines.images.limits import ImageLimits
from pipelines.images.made import MadeImage

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDER = "images"


@dataclass(frozen=True, slots=True)
class Content:
    """What decides every byte of an output; outputs with equal contents are one file under several names."""

    spec: StillSpec
    background: str | None  # below transparent parts; None where they stay, or there are none
    format: Webp | Jpeg | Avif | Png
    animated: bool


@dataclass(frozen=True, slots=True)
class Output:
    """One wanted file."""

    variant: str
    content: Content

    @property
    def path(self) -> str:
        """Relative to out_dir."""
        return f"{FOLDER}/{self.variant}.{SUFFIX[self.content.format.name]}"


def outputs_of(selected: Sequence[SelectedVariant], header: Header) -> list[Output]:
    """Every file that is wanted, in the recipe's order."""
    return [
        Output(one.variant.name, _content(one, wanted, header)) for one in selected for wanted in one.variant.formats
    ]


def check_selected(selected: Sequence[SelectedVariant], limits: ImageLimits) -> None:
    """LimitExceeded for what would take too long to encode, before anything is decoded for it."""
    for one in selected:
        width, height = one.size
        if any(isinstance(wanted, Avif) for wanted in one.variant.formats):
            what = f'the AVIF of the variant "{one.variant.name}" would be {width}×{height}'
            limits.check("max_avif_pixels", width * height, what)


def _content(one: SelectedVariant, wanted: Webp | Jpeg | Avif | Png, header: Header) -> Content:
    flat = header.has_alpha and (one.variant.alpha == "flatten" or wanted.name == "jpeg")
    animated = header.frames > 1 and one.variant.animation == "keep" and wanted.name == "webp"
    return Content(spec_of(one, header), one.variant.background if flat else None, wanted, animated)


class Writer:
    """Writes outputs below `out_dir`, and counts their bytes."""

    def __init__(self, out_dir: str, limits: ImageLimits) -> None:
        self._out_dir = Path(out_dir)
        self._limits = limits
        self._written: dict[Content, MadeImage] = {}
        self._bytes = 0
        (self._out_dir / FOLDER).mkdir(parents=True, exist_ok=True)

    def write(self, output: Output, data: bytes, encoder: str, frames: int = 1) -> MadeImage:
        """A new file. Raises LimitExceeded when all of them together are too large."""
        made = self._made(output, len(data), encoder, frames)
        (self._out_dir / output.path).write_bytes(data)
        self._written[output.content] = made
        return made

    def again(self, output: Output) -> MadeImage | None:
        """The file under a second name, if its content was written before."""
        first = self._written.get(output.content)
        if first is None:
            return None
        made = self._made(output, first.bytes, first.encoder, first.frames)
        source, target = self._out_dir / first.path, self._out_dir / output.path
        try:
            os.link(source, target)
        except OSError:  # a disk without hard links
            shutil.copyfile(source, target)
        return made

    def _made(self, output: Output, size: int, encoder: str, frames: int) -> MadeImage:
        self._bytes += size
        self._limits.check("max_output_bytes", self._bytes, f"the pictures have {self._bytes:,} bytes together")
        content = output.content
        width, height = content.spec.size
        return MadeImage(output.variant, output.path, content.format.name, width, height, frames, size, encoder)


def write_stills(
    outputs: Iterable[Output], stills: "dict[StillSpec, Image]", exif: bytes, writer: Writer
) -> list[MadeImage]:
    """Encode and write every output that is not animated."""
    made = []
    flat: dict[tuple[StillSpec, str | None], Image] = {}
    for output in outputs:
        content = output.content
        if content.animated:
            continue
        known = writer.again(output)
        if known is None:
            look = (content.spec, content.background)
            if look not in flat:
                still = stills[content.spec]
                flat[look] = flattened(still, content.background) if content.background else still
            data, encoder = encoded(flat[look], content.format, Keep(content.spec.color, exif))
            known = writer.write(output, data, encoder)
        made.append(known)
    return made


def write_animations(
    outputs: Iterable[Output], path: str, header: Header, profile: bytes | None, exif: bytes, writer: Writer
) -> list[MadeImage]:
    """Encode and write the animated outputs: one pass over the source for each colour space."""
    animated = [output for output in outputs if output.content.animated]
    contents = list(dict.fromkeys(output.content for output in animated))
    files: dict[Content, bytes] = {}
    for color in dict.fromkeys(content.spec.color for content in contents):
        group = [content for content in contents if content.spec.color == color]
        wanted = [Animation(one.spec, _quality(one), one.background) for one in group]
        files |= zip(group, animated_webps(path, header, profile, wanted, exif), strict=True)
    return [
        writer.again(output) or writer.write(output, files[output.content], "libwebp", header.frames)
        for output in animated
    ]


def _quality(content: Content) -> int:
    assert isinstance(content.format, Webp)
    return content.format.quality

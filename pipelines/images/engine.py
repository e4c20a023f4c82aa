"""What an engine is: it decodes one file and gives every wanted still of it, upright and resized, as a PIL picture.

Encoders know PIL pictures only, so that every engine's pictures are encoded alike.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from ladders.images import SelectedVariant
from pipelines.images.facts import Header

if TYPE_CHECKING:
    from PIL.Image import Image

Color = Literal["srgb", "display-p3"]
Crop = Literal["centre", "attention"]
Size = tuple[int, int]

LOOKS_SIDE = 128  # px; the picture that `describe` looks at fits into this square


@dataclass(frozen=True, slots=True)
class StillSpec:
    """One picture to be made; variants that ask for the same one share it. Sizes are of the upright picture."""

    scaled: Size  # the whole picture is resized to this
    size: Size  # then cut to this; equal to `scaled` where nothing is cut off
    crop: Crop = "centre"
    color: Color = "srgb"


@dataclass(frozen=True, slots=True)
class Rendered:
    """What an engine gives back."""

    stills: "dict[StillSpec, Image]"  # mode RGB, or RGBA (not premultiplied) where the source has alpha
    stages_s: dict[str, float]  # CPU seconds: decode, resize


@dataclass(slots=True)
class Stopwatch:
    """CPU seconds, by stage; of this process, or of the thread where others do other work beside it."""

    clock: Callable[[], float] = time.process_time
    stages_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is computed within as `name`."""
        started = self.clock()
        try:
            yield
        finally:
            self.stages_s[name] = self.stages_s.get(name, 0.0) + self.clock() - started

    def add(self, stages_s: dict[str, float]) -> None:
        """Take in what was counted elsewhere."""
        for name, seconds in stages_s.items():
            self.stages_s[name] = self.stages_s.get(name, 0.0) + seconds


class ImageEngine(Protocol):
    """Decodes one file, once, and makes all stills of it."""

    def render(self, path: str, header: Header, wanted: Sequence[StillSpec]) -> Rendered:
        """Every still of `wanted`. Raises the RejectedMedia that says why the file gives none; never a part of one."""


def spec_of(selected: SelectedVariant, header: Header) -> StillSpec:
    """The still that a variant needs. Whether it keeps alpha is settled when it is encoded, not here."""
    cut = selected.scaled != selected.size
    return StillSpec(
        scaled=selected.scaled,
        size=selected.size,
        crop=selected.variant.crop if cut else "centre",
        color="display-p3" if selected.variant.color == "display-p3" and has_wide_colors(header) else "srgb",
    )


def specs_of(selected: Sequence[SelectedVariant], header: Header) -> tuple[StillSpec, ...]:
    """All stills of a source: each once, the one that is described included."""
    return tuple(dict.fromkeys([*(spec_of(one, header) for one in selected), looks_spec(header)]))


def looks_spec(header: Header) -> StillSpec:
    """The small whole picture that palette and hashes are computed of."""
    width, height = header.upright_size
    scale = min(1.0, LOOKS_SIDE / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return StillSpec(scaled=size, size=size)


def has_wide_colors(header: Header) -> bool:
    """True where the pixels may hold colours that sRGB has not."""
    return not header.is_srgb and header.color_model != "grey"


def decode_size(header: Header, wanted: Sequence[StillSpec]) -> Size:
    """The smallest upright size, of the source's shape, that every wanted still can be shrunk from."""
    width, height = header.upright_size
    scale = max(max(spec.scaled[0] / width, spec.scaled[1] / height) for spec in wanted)
    if scale >= 1:
        return (width, height)
    return (
        max(round(width * scale), *(spec.scaled[0] for spec in wanted)),
        max(round(height * scale), *(spec.scaled[1] for spec in wanted)),
    )


def jpeg_shrink(fits: float) -> int:
    """By how much a JPEG is decoded smaller (1, 2, 4 or 8) where it is `fits` times as large as the picture wanted.

    Half and quarter are made by a decoder as well as by a resizer: SSIM 0.980 at worst, over seven photos. An eighth is
    the plain mean of each block, which is good enough only where it is shrunk further: 0.962 where it is not, 0.985
    from 1.5 times the wanted size.
    """
    if fits >= 8 * 1.5:
        return 8
    return 4 if fits >= 4 else 2 if fits >= 2 else 1

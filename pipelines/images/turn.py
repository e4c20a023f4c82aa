"""One picture becomes many: the steps, in order."""

import hashlib
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from ladders.images import ImagePart, SelectedVariant
from ladders.model import SourceShape
from ladders.select_images import select_variants
from pipelines.errors import NeedsMemory, RejectedMedia, TruncatedMedia
from pipelines.images import libraries
from pipelines.images.describe import describe
from pipelines.images.engine import Rendered, StillSpec, Stopwatch, looks_spec, specs_of
from pipelines.images.exif import copyright_exif, read_exif
from pipelines.images.facts import ExifFacts, ImageFacts, Looks
from pipelines.images.gate import Engine, choose_engine
from pipelines.images.header import Examined, examine
from pipelines.images.limits import ImageLimits
from pipelines.images.made import MadeImage
from pipelines.images.memory import keep_memory
from pipelines.images.peak import peak_bytes
from pipelines.images.pillow_engine import PillowEngine
from pipelines.images.produce import Writer, check_selected, outputs_of, write_animations, write_stills
from pipelines.images.proof import prove
from pipelines.images.request import ImageRequest, ImageResult
from pipelines.images.snippet import picture_html
from pipelines.images.vips_engine import VipsEngine

__all__ = ["ImageRequest", "ImageResult", "Opened", "finish", "open_image", "turn_image"]


@dataclass(frozen=True, slots=True)
class Opened:
    """A picture before it is decoded: what it is, what is wanted of it, and who is to do it."""

    request: ImageRequest
    part: ImagePart
    found: Examined
    selected: tuple[SelectedVariant, ...]
    wanted: tuple[StillSpec, ...]
    engine: Engine
    why: str
    clock: Stopwatch = field(default_factory=Stopwatch)


def turn_image(request: ImageRequest) -> ImageResult:
    """Make every wanted picture of one file.

    Raises the RejectedMedia that says why the file cannot be used; NeedsMemory, before anything is decoded, when it is
    likely to need more than `request.memory_bytes`.
    """
    opened = open_image(request)
    _require_room(opened)
    return finish(*render(opened))


def open_image(request: ImageRequest, *, dali: bool = False) -> Opened:
    """The first steps: header, limits, gate. `dali` says that whoever asks can decode on a GPU."""
    keep_memory()
    clock = Stopwatch(time.thread_time if dali else time.process_time)
    with clock.stage("header"):
        part = ImagePart.model_validate(request.image)
        found = examine(request.source_path, request.limits)
        width, height = found.header.upright_size
        selected = select_variants(part, SourceShape(width=width, height=height))
        check_selected(selected, request.limits)
        engine, why = choose_engine(found.header, part, dali=dali)
    wanted = specs_of(selected, found.header)
    return Opened(request, part, found, selected, wanted, engine, why, clock)


def _require_room(opened: Opened) -> None:
    header, given_bytes = opened.found.header, opened.request.memory_bytes
    if given_bytes is None:
        return
    needed = peak_bytes(header, opened.wanted, (o.content for o in outputs_of(opened.selected, header)), opened.engine)
    if needed > given_bytes:
        message = f"the picture needs {needed / 1e6:.0f} MB of memory, and has {given_bytes / 1e6:.0f}"
        raise NeedsMemory(message, detail={"memory_bytes": needed})


def render(opened: Opened) -> tuple[Opened, Rendered]:
    """All stills, by Pillow or libvips.

    What Pillow cannot decode, libvips may: some files are odd inside. But it must not have a doubt of it, or pictures
    with grey holes were published.
    """
    path, header = opened.request.source_path, opened.found.header
    if opened.engine == "vips":
        return opened, VipsEngine(opened.found.profile).render(path, header, opened.wanted)
    try:
        return replace(opened, engine="pillow"), PillowEngine().render(path, header, opened.wanted)
    except TruncatedMedia:  # libvips cannot know better, and does not hear of the last rows
        raise
    except RejectedMedia as error:
        why = f"{opened.why}; but Pillow says: {error}"
        try:
            rendered = VipsEngine(opened.found.profile, strict=True).render(path, header, opened.wanted)
        except RejectedMedia:
            raise error from None
        return replace(opened, engine="vips", why=why), rendered


def finish(opened: Opened, rendered: Rendered) -> ImageResult:
    """The last steps: encode, describe, record. The stills may come from any engine."""
    request, found, clock = opened.request, opened.found, opened.clock
    clock.add(rendered.stages_s)
    with clock.stage("describe"):
        looks = describe(rendered.stills[looks_spec(found.header)])
        exif = read_exif(request.source_path, found, with_location=opened.part.location == "record")
    with clock.stage("encode"):
        images = _write(opened, rendered, copyright_exif(exif) if opened.part.copyright == "keep" else b"")
    with clock.stage("prove"):
        prove(images, request.out_dir, keeps_copyright=opened.part.copyright == "keep")
    with clock.stage("header"):
        facts = _facts(opened, exif, looks)
    return ImageResult(facts, images, opened.engine, opened.why, picture_html(images, opened.part), clock.stages_s)


def _write(opened: Opened, rendered: Rendered, kept_exif: bytes) -> tuple[MadeImage, ...]:
    """All files, in the recipe's order."""
    request, found = opened.request, opened.found
    outputs = outputs_of(opened.selected, found.header)
    writer = Writer(request.out_dir, request.limits)
    made = [
        *write_stills(outputs, rendered.stills, kept_exif, writer),
        *write_animations(outputs, request.source_path, found.header, found.profile, kept_exif, writer),
    ]
    order = [output.path for output in outputs]
    return tuple(sorted(made, key=lambda one: order.index(one.path)))


def _facts(opened: Opened, exif: ExifFacts, looks: Looks) -> ImageFacts:
    source, header = Path(opened.request.source_path), opened.found.header
    width, height = header.upright_size
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return ImageFacts(
        format=header.format,
        width=width,
        height=height,
        size_bytes=source.stat().st_size,
        sha256=sha256,
        bits=header.bits,
        color_model=header.color_model,
        profile=header.profile,
        has_alpha=header.has_alpha,
        is_animated=header.frames > 1,
        frames=header.frames,
        duration_s=opened.found.duration_s,
        orientation=header.orientation,
        exif=exif,
        looks=looks,
    )


FIRST = {"variants": [{"name": "first", "width": 64, "formats": [{"name": "webp"}, {"name": "jpeg"}]}]}


def prepare() -> None:
    """Load all that a picture may need, turning one of our own: for a process that will be forked, so without threads.

    What is done for the first time takes 10 ms in all, which each batch would pay again.
    """
    libraries.pillow()
    libraries.vips()
    libraries.heif()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "first.jpg"
        # Its last row has more than one colour: one that has not is looked at twice, by libvips, which starts a thread.
        libraries.pillow().linear_gradient("L").rotate(90).convert("RGB").save(path, "JPEG")
        turn_image(ImageRequest(str(path), folder, FIRST, ImageLimits()))

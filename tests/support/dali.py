"""Pictures for DALI's engine, and what came of them."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines.images.dali_batch import Refused, Task
from pipelines.images.dali_engine import DaliEngine
from pipelines.images.engine import Rendered, StillSpec
from pipelines.images.facts import Header

ALIKE = 0.98
ORIENTATION = 0x0112  # the EXIF tag


def jpeg(picture: Image.Image, orientation: int = 1, **options: Any) -> bytes:
    """As a camera stores it that is held so; `options` are Pillow's."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = BytesIO()
    picture.save(file, "JPEG", exif=exif, **{"quality": 90, **options})
    return file.getvalue()


def whole(*sizes: tuple[int, int]) -> tuple[StillSpec, ...]:
    """The whole picture in these sizes."""
    return tuple(StillSpec(scaled=size, size=size) for size in sizes)


def task(path: Path, content: bytes, wanted: Sequence[StillSpec], size: tuple[int, int] | None = None) -> Task:
    """A file of this content; `size`: what its header is taken to say, where that is not true."""
    path.write_bytes(content)
    with Image.open(BytesIO(content)) as opened:
        width, height = size or opened.size
        orientation = opened.getexif().get(ORIENTATION, 1)
    header = Header("jpeg", width, height, orientation, "rgb", 8, False, 1, None, True, "")
    return Task(str(path), header, tuple(wanted))


def one(engine: DaliEngine, *tasks: Task) -> list[Rendered | Refused]:
    """What became of each picture of one batch."""
    (outcomes,) = engine.run([tasks])
    return outcomes


def rendered(outcome: Rendered | Refused) -> Rendered:
    """It was made."""
    assert isinstance(outcome, Rendered), outcome
    return outcome

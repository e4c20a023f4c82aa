"""What media processes are asked about pictures, and what they answer: plain data, without any library."""

from dataclasses import dataclass
from typing import Any

from pipelines.confine import ProcessLimits
from pipelines.images.facts import ImageFacts
from pipelines.images.gate import Engine
from pipelines.images.limits import ImageLimits
from pipelines.images.made import MadeImage


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What is to be made of one local file."""

    source_path: str
    out_dir: str  # gets images/{variant}.{webp,jpg,avif,png}
    image: dict[str, Any]  # ladders.images.ImagePart as plain values
    limits: ImageLimits
    memory_bytes: int | None = None  # that was set aside for it; None: what the process may have


@dataclass(frozen=True, slots=True)
class ImageResult:
    """All that is known of a picture and of what was made of it."""

    facts: ImageFacts
    images: tuple[MadeImage, ...]
    engine: Engine
    why: str  # the gate's reason, for the report
    picture_html: str  # a <picture> element with paths relative to the item's folder
    stages_s: dict[str, float]  # CPU seconds: header, decode, resize, encode, describe


class NotDone(Exception):
    """The processors are to turn the picture, or to say what is wrong with it; says why DALI did not."""


@dataclass(frozen=True, slots=True)
class GpuSetup:
    """What a process with a GPU is for."""

    record: str  # file
    device_id: int | None  # None: DALI on the processors
    threads: int  # of DALI, and as many that encode
    limits: ProcessLimits  # of one picture; but the memory is all pictures', and the supervisor's to watch
    parent_pid: int

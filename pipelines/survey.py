"""What many sources are, by their headers alone: for a look at a batch before it is made."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import MediaError
from pipelines.images.header import examine
from pipelines.images.limits import ImageLimits
from pipelines.limits import Limits
from pipelines.probe import probe
from pipelines.shapes import Shape, shape_of, shape_of_picture
from pipelines.signatures import HEAD_BYTES, is_picture


@dataclass(frozen=True, slots=True)
class SurveyRequest:
    """What one surveying media process looks at; it writes nothing."""

    paths: tuple[str, ...]
    limits: Limits
    image_limits: ImageLimits


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One file: what it is, or None and the code and message of why it is refused."""

    shape: Shape | None
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Survey:
    """All of them, in the order of the request."""

    found: tuple[Surveyed, ...]


def survey(request: SurveyRequest, report: Callable[[dict[str, Any]], None]) -> Survey:
    """One answer for each file; OSError when one cannot be read."""
    found = []
    for number, path in enumerate(request.paths):
        found.append(_surveyed(path, request))
        report({"stage": "survey", "files": number + 1})
    return Survey(tuple(found))


def _surveyed(path: str, request: SurveyRequest) -> Surveyed:
    with Path(path).open("rb") as file:
        head = file.read(HEAD_BYTES)
    try:
        if is_picture(head):
            return Surveyed(shape_of_picture(examine(path, request.image_limits).header))
        return Surveyed(shape_of(probe(path, request.limits)))
    except MediaError as error:
        return Surveyed(None, code=error.code, message=error.public_message)

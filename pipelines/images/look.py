"""What a picture is, without turning it: `farm probe`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.images.exif import read_exif
from pipelines.images.facts import ExifFacts, Header
from pipelines.images.header import examine
from pipelines.images.limits import ImageLimits


@dataclass(frozen=True, slots=True)
class LookRequest:
    """What one looking media process does; it decodes nothing."""

    source_path: str
    limits: ImageLimits


@dataclass(frozen=True, slots=True)
class Looked:
    """The facts of a picture's header, and what its camera wrote."""

    header: Header
    exif: ExifFacts


def look(request: LookRequest, report: Callable[[dict[str, Any]], None]) -> Looked:
    """The facts; raises the RejectedMedia that says why the file cannot be used."""
    found = examine(request.source_path, request.limits)
    return Looked(found.header, read_exif(request.source_path, found, with_location=True))

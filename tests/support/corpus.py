"""The collection of real and hostile media that may lie beside the checkout, as its MANIFEST.tsv describes it."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "media"
CANARY_PORT = 18999  # of the addresses inside the hostile files; whoever connects there has followed one
PICTURES = {"JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "ICO", "SGI", "PSD", "HEIF", "EPS", "svg_pipe", "png_pipe"}
PICTURE_SUFFIXES = {
    ".jpg",
    ".png",
    ".gif",
    ".webp",
    ".tif",
    ".svg",
    ".bmp",
    ".ico",
    ".sgi",
    ".psd",
    ".j2k",
    ".fli",
    ".pcx",
}


@dataclass(frozen=True)
class Row:
    """One file of the collection."""

    path: Path
    kind: str  # video, audio, image, hostile
    container: str
    frames: int | None
    audio: str  # codec:rate x channels of each track, by comma
    expected: str  # "ok" or "reject: reason"
    strict: bool  # that outcome is required
    size: tuple[int, int] | None = None  # width and height as stored
    rotation: str = ""  # "exifN" for the EXIF orientation of a picture

    @property
    def name(self) -> str:
        """Short enough for a test's id."""
        return f"{self.path.parent.name}/{self.path.name}"[:80]

    @property
    def is_picture(self) -> bool:
        """True for what is an image, or claims to be one by its name."""
        return self.container in PICTURES or self.path.suffix in PICTURE_SUFFIXES


@cache
def rows(*kinds: str) -> tuple[Row, ...]:
    """The rows of these kinds; none when there is no collection."""
    manifest = FOLDER / "MANIFEST.tsv"
    if not manifest.exists():
        return ()
    with manifest.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return tuple(
        Row(
            path=FOLDER / row["path"],
            kind=row["kind"],
            container=row["container"],
            frames=int(row["frames"]) if row["frames"].isdigit() else None,
            audio=row["audio"],
            expected=row["expected"],
            strict=row["strict"] == "yes",
            size=(int(row["width"]), int(row["height"]))
            if row["width"].isdigit() and row["height"].isdigit()
            else None,
            rotation=row["rotation"],
        )
        for row in found
        if row["kind"] in kinds
    )


def params(*kinds: str) -> list[object]:
    """`rows` for `pytest.mark.parametrize`; one skipped row when there is no collection."""
    found = rows(*kinds)
    if not found:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no media collection at {FOLDER.name}"))]
    return [pytest.param(row, id=row.name) for row in found]

"""What a camera wrote into a picture, as far as anybody here wants to know it (EXIF 3.0).

Rotten EXIF is common and no reason to refuse a picture: what cannot be read is as if it were not there.
"""

import re
import struct
from datetime import UTC, datetime
from pathlib import Path

from pipelines.images.exif_tags import EXIF_IFD, tags_of
from pipelines.images.facts import ExifFacts, Place
from pipelines.images.header import Examined
from pipelines.images.tiff_tags import Directory, TiffTags
from pipelines.text import cleaned

MAKE, MODEL, ARTIST, COPYRIGHT, GPS_IFD = 271, 272, 315, 33432, 34853
TAKEN, OFFSET, LENS_MAKE, LENS = 36867, 36881, 42035, 42036
LATITUDE_REF, LATITUDE, LONGITUDE_REF, LONGITUDE = 1, 2, 3, 4
TIME = re.compile(r"(\d{4}):(\d\d):(\d\d)[ T](\d\d):(\d\d):(\d\d)")
TIME_OFFSET = re.compile(r"[+-](?:0\d|1[0-4]):[0-5]\d")


def read_exif(path: str, found: Examined, *, with_location: bool) -> ExifFacts:
    """The facts of the picture at `path`, which was examined; where it was taken only `with_location`."""
    if found.header.format != "tiff":
        return exif_facts(tags_of(found.exif), with_location=with_location)
    with Path(path).open("rb") as file:
        return exif_facts(TiffTags(file, Path(path).stat().st_size), with_location=with_location)


def exif_facts(tags: TiffTags, *, with_location: bool) -> ExifFacts:
    """The facts; where the picture was taken only `with_location`."""
    main = tags.directory(tags.first)
    exif = tags.directory(main.number(EXIF_IFD))
    return ExifFacts(
        camera=_named(main.text(MAKE), main.text(MODEL)),
        lens=_named(exif.text(LENS_MAKE), exif.text(LENS)),
        taken_at=_taken_at(exif),
        artist=cleaned(main.text(ARTIST)),
        copyright=cleaned(main.text(COPYRIGHT)),
        location=_place(tags.directory(main.number(GPS_IFD))) if with_location else None,
    )


def copyright_exif(facts: ExifFacts) -> bytes:
    """An EXIF block with the artist and the copyright notice and nothing else; empty when there are none."""
    texts = [(ARTIST, facts.artist), (COPYRIGHT, facts.copyright)]
    values = [(tag, text.encode() + b"\0") for tag, text in texts if text]
    if not values:
        return b""
    offset = 8 + 2 + 12 * len(values) + 4
    entries, body = b"", b""
    for tag, value in values:
        entries += struct.pack("<HHI", tag, 2, len(value))
        if len(value) <= 4:
            entries += value.ljust(4, b"\0")
        else:
            entries += struct.pack("<I", offset + len(body))
            body += value + b"\0" * (len(value) % 2)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(values)) + entries + b"\0\0\0\0" + body


def _named(make: str, model: str) -> str | None:
    """Maker and model, the maker's name once: most models begin with it."""
    maker, name = cleaned(make), cleaned(model)
    if maker and name and not name.lower().startswith(maker.split()[0].lower()):
        return cleaned(f"{maker} {name}")
    return name or maker


def _taken_at(exif: Directory) -> str | None:
    found = TIME.match(exif.text(TAKEN))
    if found is None:
        return None
    try:
        moment = datetime(*map(int, found.groups()), tzinfo=UTC)  # type: ignore[arg-type, misc]
    except ValueError:
        return None
    offset = exif.text(OFFSET).strip()
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (offset if TIME_OFFSET.fullmatch(offset) else "")


def _place(gps: Directory) -> Place | None:
    latitude = _degrees(gps, LATITUDE, LATITUDE_REF, "NS", 90)
    longitude = _degrees(gps, LONGITUDE, LONGITUDE_REF, "EW", 180)
    if latitude is None or longitude is None:
        return None
    return Place(latitude, longitude)


def _degrees(gps: Directory, tag: int, reference: int, signs: str, most: int) -> float | None:
    """Degrees, minutes and seconds as degrees; `signs` are the letters of the positive and the negative half."""
    parts, half = gps.fractions(tag), gps.text(reference).strip().upper()
    if not 1 <= len(parts) <= 3 or half not in tuple(signs) or any(part < 0 for part in parts):
        return None
    degrees = sum(part / 60.0**power for power, part in enumerate(parts))
    if degrees > most:
        return None
    return round(degrees if half == signs[0] else -degrees, 6)

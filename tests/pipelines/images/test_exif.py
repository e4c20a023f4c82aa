"""What is read of a camera's notes, and what may go into an output."""

import io
import random
import struct
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from PIL import Image

from pipelines.images import header
from pipelines.images.exif import copyright_exif, exif_facts, read_exif
from pipelines.images.exif_tags import orientation_of, tags_of
from pipelines.images.facts import ExifFacts, Place
from pipelines.images.formats.found import Found
from pipelines.images.header import examine
from pipelines.images.libraries import heif
from pipelines.images.limits import ImageLimits
from tests.support.image_bytes import LIMITS, chunk, jpeg, png, riff, tiff, vp8x
from tests.support.still_sources import jpeg_file, photo, turned

Tags = dict[int, Any]
TAKEN: Tags = {36867: "2024:02:29 23:59:58", 36881: "+05:30", 42035: "Canon", 42036: "EF50mm f/1.8"}
GPS: Tags = {1: "S", 2: (33.0, 51.0, 24.84), 3: "E", 4: (151.0, 12.0, 34.2)}


def block(
    main: dict[int, Any] | None = None, exif: dict[int, Any] | None = None, gps: dict[int, Any] | None = None
) -> bytes:
    """An EXIF block by Pillow."""
    made = Image.Exif()
    main = {271: "Canon", 272: "Canon EOS R5", 315: "Ada", 33432: "© Ada"} if main is None else main
    made.update({tag: text.encode() for tag, text in main.items()})  # as text Pillow would write ASCII
    made.get_ifd(34665).update(TAKEN if exif is None else exif)
    made.get_ifd(34853).update(GPS if gps is None else gps)
    return made.tobytes()


def facts(data: bytes) -> ExifFacts:
    return exif_facts(tags_of(data), with_location=True)


def read(tmp_path: Path, data: bytes, *, with_location: bool = False) -> ExifFacts:
    path = tmp_path / "upload"
    path.write_bytes(data)
    return read_exif(str(path), examine(str(path), LIMITS), with_location=with_location)


def test_a_camera_its_lens_and_the_time_are_read() -> None:
    assert facts(block()) == ExifFacts(
        camera="Canon EOS R5",
        lens="Canon EF50mm f/1.8",
        taken_at="2024-02-29T23:59:58+05:30",
        artist="Ada",
        copyright="© Ada",
        location=Place(-33.856900, 151.209500),
    )


def test_the_place_is_kept_only_where_it_is_wanted(tmp_path: Path) -> None:
    data = jpeg(exif=block())
    assert read(tmp_path, data).location is None
    assert read(tmp_path, data, with_location=True).location == Place(-33.856900, 151.209500)


def test_every_format_with_exif_is_read(tmp_path: Path) -> None:
    exif = block()
    file = io.BytesIO()
    heif().from_pillow(Image.new("RGB", (64, 64))).save(file, exif=exif)
    vp8l = b"/" + (63 | 47 << 14).to_bytes(4, "little")
    page = {256: (3, (4,)), 257: (3, (4,)), 262: (3, (1,)), 273: (4, (8,)), 272: (2, tuple(b"Canon EOS R5\0"))}
    for data in (
        jpeg(exif=exif),
        png(extra=[chunk(b"eXIf", exif[6:])]),
        riff(vp8x((64, 48), 8), (b"VP8L", vp8l), (b"EXIF", exif)),
        file.getvalue(),
        tiff(page),
    ):
        assert read(tmp_path, data).camera == "Canon EOS R5", data[:12]


def test_the_maker_is_named_once() -> None:
    for make, model, camera in (
        ("Apple", "iPhone 15", "Apple iPhone 15"),
        ("NIKON CORPORATION", "NIKON D850", "NIKON D850"),
        ("", "X100", "X100"),
        ("Leica", "", "Leica"),
    ):
        assert facts(block({271: make, 272: model})).camera == camera


def test_texts_are_cleaned_and_cut() -> None:
    found = facts(block({272: "a\x07b\u202ec\u2066\n" + 200 * "d", 315: " \x00rest", 33432: "<script>&\u200f"}))
    assert found.camera == "abc" + 77 * "d"
    assert found.artist is None
    assert found.copyright == "<script>&"  # escaped by whoever shows it, not here


@pytest.mark.parametrize("taken", ["2024:13:01 00:00:00", "0000:00:00 00:00:00", "    :  :     :  :  ", "now", ""])
def test_a_time_that_is_none_is_left_out(taken: str) -> None:
    assert facts(block(exif={36867: taken})).taken_at is None


def test_an_offset_that_is_none_is_left_out() -> None:
    for offset, end in (("+99:99", ""), ("Z", ""), ("-03:00", "-03:00")):
        assert facts(block(exif={36867: "2024:01:02 03:04:05", 36881: offset})).taken_at == f"2024-01-02T03:04:05{end}"


@pytest.mark.parametrize("change", [{2: (91.0, 0.0, 0.0)}, {1: "X"}, {3: ""}, {4: (181.0, 0.0, 0.0)}, {2: ()}])
def test_a_place_that_is_not_on_earth_is_left_out(change: Tags) -> None:
    assert facts(block(gps=GPS | change)).location is None


def test_a_fraction_of_nothing_is_no_place() -> None:
    data = bytearray(block())
    at = data.index(struct.pack(">II", 33, 1)) if data[6:8] == b"MM" else data.index(struct.pack("<II", 33, 1))
    data[at + 4 : at + 8] = bytes(4)
    assert facts(bytes(data)).location is None


def test_rotten_exif_gives_what_is_left_of_it_and_never_an_error() -> None:
    sound = block()
    chance = random.Random(7)
    for _ in range(3000):
        rotten = bytearray(sound[: chance.randrange(len(sound))] if chance.random() < 0.3 else sound)
        for _ in range(chance.randrange(8)):
            if rotten:
                rotten[chance.randrange(len(rotten))] = chance.randrange(256)
        found = facts(bytes(rotten))
        assert 1 <= orientation_of(tags_of(bytes(rotten))) <= 8
        assert all(len(text) <= 80 for text in (found.camera, found.lens, found.artist, found.copyright) if text)


def test_a_directory_that_points_at_itself_is_no_loop() -> None:
    assert facts(tiff({34665: (4, (8,)), 34853: (4, (8,))})) == ExifFacts()


def test_the_copyright_block_holds_artist_and_notice_and_nothing_else() -> None:
    source = facts(block())
    made = Image.Exif()
    made.load(copyright_exif(source))
    assert set(made) == {315, 33432}
    again = facts(copyright_exif(source))
    assert again == ExifFacts(artist="Ada", copyright="© Ada")
    assert copyright_exif(ExifFacts(camera="x", location=Place(1, 2))) == b""
    assert facts(copyright_exif(ExifFacts(artist="Bo"))).artist == "Bo"


def test_a_source_is_walked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = jpeg_file(tmp_path / "photo.jpg", photo())
    read = header.READERS["jpeg"]
    seen: list[str] = []

    def watched(file: BinaryIO, size: int, limits: ImageLimits) -> Found:
        seen.append(file.name)
        return read(file, size, limits)

    monkeypatch.setitem(header.READERS, "jpeg", watched)
    turned(source, tmp_path / "out", [{"name": "a", "width": 64, "formats": ["webp"]}])
    assert seen == [str(source)]

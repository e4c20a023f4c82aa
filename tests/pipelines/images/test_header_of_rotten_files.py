"""Headers with flipped and missing bytes: a refusal or a header, quickly, and never another error."""

import random
import struct
import time
import tracemalloc
from pathlib import Path

import pytest

from pipelines.errors import RejectedMedia
from pipelines.images.exif import read_exif
from pipelines.images.header import examine
from tests.support.image_bytes import (
    EXIF_6,
    LIMITS,
    P3,
    anmf,
    box,
    chunk,
    full_box,
    gif,
    gif_frame,
    heif_file,
    ispe,
    jpeg,
    png,
    riff,
    seen,
    tiff,
    vp8x,
)

TRIES = 600
SOUND = {
    "jpeg": jpeg(exif=EXIF_6, icc_profile=P3),
    "png": png(kind=3, extra=[chunk(b"cHRM", bytes(range(32))), chunk(b"PLTE", bytes(6)), chunk(b"eXIf", EXIF_6[6:])]),
    "gif": gif((8, 6), [gif_frame((0, 0, 8, 6), hundredths=5, transparent=True)] * 4),
    "webp": riff(vp8x((64, 48), 0x3E), (b"ICCP", P3), anmf(40), anmf(50), (b"EXIF", EXIF_6)),
    "tiff": tiff({256: (3, (8,)), 257: (3, (6,)), 258: (3, (8, 8, 8)), 262: (3, (2,)), 273: (4, (8,)), 277: (3, (3,))}),
    "bigtiff": tiff({256: (3, (8,)), 257: (3, (6,)), 262: (3, (1,)), 273: (16, (8, 9))}, big=True),
    "heif": heif_file(
        {
            1: (b"grid", [ispe(64, 48), box(b"irot", b"\1")]),
            2: (b"hvc1", [ispe(32, 48), box(b"hvcC", bytes(30)), box(b"colr", b"prof", P3)]),
            3: (b"Exif", []),
        },
        [(b"dimg", 1, 2), (b"cdsc", 3, 1)],
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_rotten_headers_are_refused_or_read(tmp_path: Path, name: str) -> None:
    chance = random.Random(name)
    sound = SOUND[name]
    seen(tmp_path, sound)
    outcomes = set()
    for _ in range(TRIES):
        rotten = bytearray(sound[: chance.randrange(5, len(sound))] if chance.random() < 0.2 else sound)
        for _ in range(chance.randrange(1, 6)):
            rotten[chance.randrange(min(len(rotten), 900))] = chance.choice((0, 1, 127, 255, chance.randrange(256)))
        path = tmp_path / "rotten"
        path.write_bytes(rotten)
        try:
            found = examine(str(path), LIMITS)
            read_exif(str(path), found, with_location=True)
            outcomes.add("read")
        except RejectedMedia:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def _heif_of(*boxes: bytes) -> bytes:
    names = b"".join(
        full_box(b"infe", number.to_bytes(2, "big") + bytes(2) + kind + b"\0", version=2)
        for number, kind in ((1, b"grid"), (2, b"grid"), (3, b"mime"))
    )
    head = full_box(b"pitm", b"\0\1"), full_box(b"iinf", b"\0\3", names)
    links = full_box(b"ipma", struct.pack(">IHBB", 1, 1, 1, 1))
    size = box(b"iprp", box(b"ipco", ispe(64, 48)), links)
    return box(b"ftyp", b"heic\0\0\0\0heic") + full_box(b"meta", *head, size, *boxes)


def _pieces_of_nothing(items: int) -> bytes:
    """A HEIF whose items have 65,535 pieces each, of numbers that are no bytes wide."""
    places = b"".join(struct.pack(">HHH", number + 1, 0, 65_535) for number in range(items))
    return _heif_of(full_box(b"iloc", b"\0\0", struct.pack(">H", items), places))


def _parts_of_parts(count: int) -> bytes:
    """A HEIF whose picture consists of another one so many times, and that one of a third as often."""
    refs = [box(b"dimg", struct.pack(">HH", one, count), struct.pack(">H", one + 1) * count) for one in (1, 2)]
    return _heif_of(full_box(b"iref", *refs * (4 if count > 20_000 else 1)))


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a\x08\0\x06\0\0\0\0" + bytes(20_000_000),
        b"GIF89a\x08\0\x06\0\0\0\0" + b"!\xfe\0" * 6_000_000,
        b"GIF89a\x08\0\x06\0\0\0\0,\0\0\0\0\x08\0\x06\0\0\x02" + b"\x01x" * 10_000_000,
        jpeg()[:2] + b"\xff\xe0\0\x02" + (b"\xff\0" * 30_000 + b"\xff\xe0\0\x02") * 300,
        png()[:33] + (bytes(4) + b"teXt" + bytes(4)) * 1_500_000,
        riff(vp8x((64, 48), 2), *[(b"junk", b"")] * 500_000),
        box(b"ftyp", b"heic\0\0\0\0heic") + box(b"free") * 1_000_000,
        box(b"ftyp", b"heic\0\0\0\0heic") + box(b"meta", bytes(4), box(b"free") * 480_000),
        _pieces_of_nothing(20_000),
        _parts_of_parts(65_535),
        _parts_of_parts(2_000),
    ],
    ids=[
        "gif-zeros",
        "gif-extensions",
        "gif-blocks",
        "jpeg-gaps",
        "png-chunks",
        "webp-chunks",
        "boxes",
        "meta-boxes",
        "heif-pieces",
        "heif-references",
        "heif-parts",
    ],
)
def test_a_header_without_end_is_given_up_soon(tmp_path: Path, data: bytes) -> None:
    started = time.process_time()
    with pytest.raises(RejectedMedia):
        seen(tmp_path, data)
    assert time.process_time() - started < 3


@pytest.mark.parametrize("count", [2_000, 65_535])
def test_a_small_index_takes_little_memory(tmp_path: Path, count: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RejectedMedia):
            seen(tmp_path, _parts_of_parts(count))
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()

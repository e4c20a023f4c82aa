"""What a file is by its first bytes, for those who want media and for those who want pictures."""

import pytest

from pipelines.errors import UnsupportedMedia
from pipelines.signatures import is_picture, refuse_by_signature, signature

PICTURES = {
    "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "gif": b"GIF89a\x01\0\x01\0",
    "webp": b"RIFF\x24\0\0\0WEBPVP8 ",
    "tiff": b"II*\0\x08\0\0\0\x0b\0",
    "heif": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "avif": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B",
}
SEQUENCES = {
    b"\0\0\0\x20ftypavis\0\0\0\0avifavismsf1": "avif",
    b"\0\0\0\x18ftypmsf1\0\0\0\0hevcmsf1": "heif",
    b"\0\0\0\x18ftyphevc\0\0\0\0msf1hevc": "heif",
    b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf": "avif",
    b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic": "heif",
    b"\0\0\0\x14ftypmif1\0\0\0\0mif1": "heif",
    b"MM\0*\0\0\0\x08\0\x0b": "tiff",
    b"II+\0\x08\0\0\0": "tiff",
}
OTHERS = [
    b"\0\0\0\x18ftypisom\0\0\0\0isommp42",
    b"\0\0\0\x18ftypmp42\0\0\0\0mp42mif1",  # a film that says that it also holds pictures
    b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
    b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom",
    b"\x1aE\xdf\xa3" + bytes(20),
    b"RIFF\x24\0\0\0AVI LIST",
    b"II*\0\x10\0\0\0CR\x02\0",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"8BPS\0\x01",
    b"BM" + bytes(12),
    b"\0\0\0\x0cJXL \r\n\x87\n",
    b"#EXTM3U\nhttp://example.com/x.jpg",
    b"",
    b"\0\0\0\x08ftyp",
    b"\xff\xd8",
]


@pytest.mark.parametrize(("head", "format_"), [*((head, name) for name, head in PICTURES.items()), *SEQUENCES.items()])
def test_a_picture_is_known_by_its_first_bytes(head: bytes, format_: str) -> None:
    assert is_picture(head)
    assert signature(head).format == format_


@pytest.mark.parametrize("head", OTHERS)
def test_what_is_not_taken_as_a_picture_is_not_called_one(head: bytes) -> None:
    assert not is_picture(head)


@pytest.mark.parametrize("head", [*PICTURES.values(), *SEQUENCES])
def test_who_wants_video_is_told_that_it_is_a_picture(head: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match=r"^the file is an? \w+ picture, not video or audio$"):
        refuse_by_signature(head)

"""What a file is by its first bytes, before any parser sees it.

A demuxer is found by guessing, and several of FFmpeg's read text that names other files; picture libraries guess among
dozens of loaders. So text, manifests, archives, pictures and media are told apart here, and what does not belong to the
work at hand is refused with a reason.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipelines.errors import EmptyFile, NotMedia, PlaylistRefused, UnsupportedMedia
from pipelines.images.facts import ImageFormat

HEAD_BYTES = 4096
ACCEPTED = "JPEG, PNG, WebP, GIF, TIFF, AVIF or HEIC"

Kind = Literal["media", "image", "playlist", "other", "unknown"]


@dataclass(frozen=True, slots=True)
class Signature:
    """What the first bytes say; `name` completes "the file is …"."""

    kind: Kind
    name: str
    format: ImageFormat | None = None  # of a picture that is taken here


PLAYLISTS = (
    (re.compile(rb"#EXTM3U"), "an HLS playlist"),
    (re.compile(rb"ffconcat version"), "a concat script"),
    (re.compile(rb"file\s+'"), "a concat script"),
    (re.compile(rb"(?:<\?xml.*?\?>)?\s*(?:<!--.*?-->\s*)*<(?:\w+:)?MPD\b", re.DOTALL), "a DASH manifest"),
    (re.compile(rb"(?:<\?xml.*?\?>)?\s*<SmoothStreamingMedia\b", re.DOTALL), "a Smooth Streaming manifest"),
    (re.compile(rb"(?:<\?xml.*?\?>)?\s*<(?:smil|playlist|xspf)\b", re.DOTALL | re.IGNORECASE), "a playlist"),
    (re.compile(rb"<asx\b", re.IGNORECASE), "a playlist"),
    (re.compile(rb"\[(?:playlist|reference)\]", re.IGNORECASE), "a playlist"),
    (re.compile(rb"v=0\r?\no="), "an SDP session description"),
    (re.compile(rb"(?:https?|rtsp|rtmp|mms|file)://"), "a list of addresses"),
)
SVG = re.compile(rb"(?:<\?xml.*?\?>)?\s*(?:<!--.*?-->\s*|<!DOCTYPE.*?>\s*)*<svg\b", re.DOTALL)

PICTURES: tuple[tuple[re.Pattern[bytes], str, ImageFormat], ...] = (
    (re.compile(rb"\xff\xd8\xff"), "a JPEG picture", "jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "a PNG picture", "png"),
    (re.compile(rb"GIF8[79]a"), "a GIF picture", "gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "a WebP picture", "webp"),
    (re.compile(rb"II[*+]\0(?!....CR[\x01\x02])|MM\0[*+]", re.DOTALL), "a TIFF picture", "tiff"),  # CR: a raw file
)
OTHER_PICTURES = (
    (re.compile(rb"BM.{4}\0\0\0\0", re.DOTALL), "a BMP picture"),
    (re.compile(rb"II\*\0.{4}CR[\x01\x02]|II(?:RO|RS|U\0)|MMOR|FUJIFILMCCD-RAW|FOVb", re.DOTALL), "a raw camera file"),
    (re.compile(rb"II\xbc\x01"), "a JPEG XR picture"),
    (re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"), "a JPEG 2000 picture"),
    (re.compile(rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a"), "a JPEG XL picture"),
    (re.compile(rb"8BP[SB]\0"), "a Photoshop file"),
    (re.compile(rb"gimp xcf"), "a GIMP file"),
    (re.compile(rb"\0\0[\x01\x02]\0[^\0]\0", re.DOTALL), "an icon"),
    (re.compile(rb"icns"), "an icon"),
    (re.compile(rb"\x01\xda[\0\x01][\x01\x02]"), "an SGI picture"),
    (re.compile(rb"\x76\x2f\x31\x01"), "an OpenEXR picture"),
    (re.compile(rb"#\?(?:RADIANCE|RGBE)\n"), "a Radiance picture"),
    (re.compile(rb"DDS \x7c"), "a DDS texture"),
    (re.compile(rb"qoif"), "a QOI picture"),
    (re.compile(rb"....[\x11\x12]\xaf.{6}\x08\0", re.DOTALL), "an Autodesk FLIC animation"),
    (re.compile(rb"\x0a[\0\x02\x03\x04\x05]\x01[\x01\x02\x04\x08]"), "a PCX picture"),
    (re.compile(rb"P[1-7]\s"), "a netpbm picture"),
    (re.compile(rb"AT&TFORM"), "a DjVu document"),
    (re.compile(rb"\xd7\xcd\xc6\x9a"), "a Windows metafile"),
)

# The brands of a file of pictures, as its `ftyp` box names them (ISO/IEC 23008-12, AVIF). The first is the main one;
# where it says no more than "pictures", the others say which.
AVIF_BRANDS = {b"avif", b"avis"}
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
PICTURE_BRANDS = {b"mif1", b"mif2", b"msf1", b"miaf"}

OTHERS = (
    (re.compile(rb"PK(?:\x03\x04|\x05\x06|\x07\x08)"), "a ZIP archive"),
    (re.compile(rb"\x1f\x8b\x08"), "a gzip archive"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "a 7z archive"),
    (re.compile(rb"Rar!\x1a\x07"), "a RAR archive"),
    (re.compile(rb"\xfd7zXZ\0"), "an xz archive"),
    (re.compile(rb"BZh[1-9]1AY&SY"), "a bzip2 archive"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "a Zstandard archive"),
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "a PostScript document"),
    (re.compile(rb"\x7fELF|MZ.{58}", re.DOTALL), "a program"),
)

MEDIA = (
    (re.compile(rb"....(?:ftyp|moov|mdat|moof|styp|free|skip|wide|pnot|sidx|uuid|emsg)", re.DOTALL), "an MP4 file"),
    (re.compile(rb"\x1aE\xdf\xa3"), "a Matroska or WebM file"),
    (re.compile(rb"RIFF....AVI[ X\x19]", re.DOTALL), "an AVI file"),
    (re.compile(rb"(?:RIFF|RF64|BW64)....WAVE", re.DOTALL), "a WAV file"),
    (re.compile(rb"FORM....AIF[FC]", re.DOTALL), "an AIFF file"),
    (re.compile(rb"FLV\x01"), "an FLV file"),
    (re.compile(rb"OggS"), "an Ogg file"),
    (re.compile(rb"fLaC"), "a FLAC file"),
    (re.compile(rb"#!AMR(?:-WB)?\n"), "an AMR file"),
    (re.compile(rb"ID3[\x02-\x04]"), "an MP3 file"),
    (re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"), "a Windows Media file"),
    (re.compile(rb"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02"), "an MXF file"),
    (re.compile(rb"caff\0\x01"), "a Core Audio file"),
    (re.compile(rb"\0\0\x01\xba"), "an MPEG program stream"),
    (re.compile(rb"\x47.{187}\x47|.{4}\x47.{191}\x47", re.DOTALL), "an MPEG transport stream"),
)

# Bytes of text in any encoding that extends ASCII: no control characters but tab, line feed, form feed, return, escape.
TEXT = re.compile(rb"[\t\n\f\r\x1b\x20-\x7e\x80-\xff]*")


def signature(head: bytes) -> Signature:
    """What a file that begins with `head` (its first 4096 bytes, or all of it) is."""
    picture = _picture(head)
    if picture:
        return picture
    kinds: tuple[tuple[Kind, tuple[tuple[re.Pattern[bytes], str], ...]], ...] = (
        ("image", OTHER_PICTURES),
        ("media", MEDIA),
        ("other", OTHERS),
    )
    for kind, patterns in kinds:
        for pattern, name in patterns:
            if pattern.match(head):
                return Signature(kind, name)
    return _text(head) if _is_text(head) else Signature("unknown", "of an unknown kind")


def is_picture(head: bytes) -> bool:
    """True when a file that begins with `head` is of a type that is taken as a picture: animations, bursts too."""
    return signature(head).format is not None


def _picture(head: bytes) -> Signature | None:
    for pattern, name, format_ in PICTURES:
        if pattern.match(head):
            return Signature("image", name, format_)
    return _by_brand(head)


def _by_brand(head: bytes) -> Signature | None:
    brands = list(_brands(head))
    if not brands:
        return None
    main = brands[0]
    if main == b"crx ":
        return Signature("image", "a raw camera file")
    if main in PICTURE_BRANDS:
        # Every brand that could decide is listed; without one the picture's own entry decides, when it is read.
        main = next((brand for brand in brands if brand in AVIF_BRANDS | HEIF_BRANDS), b"heic")
    if main in AVIF_BRANDS:
        return Signature("image", "an AVIF picture", "avif")
    return Signature("image", "a HEIF picture", "heif") if main in HEIF_BRANDS else None


def _brands(head: bytes) -> Iterator[bytes]:
    """The main brand and the compatible ones; nothing when the file does not begin with its brands."""
    if head[4:8] == b"ftyp" and len(head) >= 12:
        yield head[8:12]
        end = min(int.from_bytes(head[:4], "big"), len(head) - 3)
        yield from (head[at : at + 4] for at in range(16, end, 4))


def _is_text(head: bytes) -> bool:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):  # UTF-16
        return head.count(0) >= len(head) // 3
    # Packed media is never free of control characters for this long; a few bytes may be by chance.
    return len(head) >= 8 and TEXT.fullmatch(head) is not None and sum(byte < 0x80 for byte in head) > len(head) // 2


def _text(head: bytes) -> Signature:
    stripped = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for pattern, name in PLAYLISTS:
        if pattern.match(stripped):
            return Signature("playlist", name)
    if b"#EXTM3U" in stripped or b"\nfile '" in stripped:
        return Signature("playlist", "a playlist")
    if SVG.match(stripped):
        return Signature("image", "an SVG picture")
    return Signature("other", "text")


def refuse_by_signature(head: bytes) -> Signature:
    """The signature of what may be media. Raises EmptyFile, PlaylistRefused, UnsupportedMedia (pictures), NotMedia."""
    found = _file_of_its_own(head)
    if found.kind == "image":
        raise UnsupportedMedia(f"the file is {found.name}, not video or audio")
    if found.kind == "other":
        raise NotMedia(f"the file is {found.name}, not video or audio")
    return found


def require_picture(head: bytes) -> ImageFormat:
    """The format of a picture that is taken here. Raises EmptyFile, PlaylistRefused, UnsupportedMedia or NotMedia."""
    found = _file_of_its_own(head)
    if found.format is not None:
        return found.format
    if found.kind == "image":
        raise UnsupportedMedia(f"the file is {found.name}: upload {ACCEPTED}", detail={"signature": found.name})
    if found.kind == "media":
        raise UnsupportedMedia(f"the file is {found.name}, not a picture", detail={"signature": found.name})
    raise NotMedia(f"the file is {found.name}, not a picture")


def _file_of_its_own(head: bytes) -> Signature:
    if not head:
        raise EmptyFile("the file is empty")
    found = signature(head)
    if found.kind == "playlist":
        raise PlaylistRefused(f"the file is {found.name} that points at other files: upload the media itself")
    return found

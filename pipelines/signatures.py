"""What a file is by its first bytes, before any parser sees it.

A demuxer is found by guessing, and several of FFmpeg's read text that names other files. So text, manifests, archives
and pictures are told apart here and refused with a reason; what remains is for the demuxers on the list.
"""

import re
from dataclasses import dataclass
from typing import Literal

from pipelines.errors import EmptyFile, NotMedia, PlaylistRefused, UnsupportedMedia

HEAD_BYTES = 4096

Kind = Literal["media", "image", "playlist", "other", "unknown"]


@dataclass(frozen=True, slots=True)
class Signature:
    """What the first bytes say; `name` completes "the file is …"."""

    kind: Kind
    name: str


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

IMAGES = (
    (re.compile(rb"\xff\xd8\xff"), "a JPEG picture"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "a PNG picture"),
    (re.compile(rb"GIF8[79]a"), "a GIF picture"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "a WebP picture"),
    (re.compile(rb"BM.{4}\0\0\0\0", re.DOTALL), "a BMP picture"),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "a TIFF picture"),
    (re.compile(rb"....ftyp(?:hei[cxms]|hev[cx]|mif1|msf1|avi[fs]|crx )", re.DOTALL), "a HEIF or AVIF picture"),
    (re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"), "a JPEG 2000 picture"),
    (re.compile(rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a"), "a JPEG XL picture"),
    (re.compile(rb"8BPS\0"), "a Photoshop file"),
    (re.compile(rb"\0\0[\x01\x02]\0[^\0]\0", re.DOTALL), "an icon"),
    (re.compile(rb"\x01\xda[\0\x01][\x01\x02]"), "an SGI picture"),
    (re.compile(rb"\x76\x2f\x31\x01"), "an OpenEXR picture"),
    (re.compile(rb"DDS \x7c"), "a DDS texture"),
    (re.compile(rb"qoif"), "a QOI picture"),
    (re.compile(rb"....[\x11\x12]\xaf.{6}\x08\0", re.DOTALL), "an Autodesk FLIC animation"),
    (re.compile(rb"\x0a[\0\x02\x03\x04\x05]\x01[\x01\x02\x04\x08]"), "a PCX picture"),
    (re.compile(rb"P[1-7]\s"), "a netpbm picture"),
)

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
    kinds: tuple[tuple[Kind, tuple[tuple[re.Pattern[bytes], str], ...]], ...] = (
        ("image", IMAGES),
        ("media", MEDIA),
        ("other", OTHERS),
    )
    for kind, patterns in kinds:
        for pattern, name in patterns:
            if pattern.match(head):
                return Signature(kind, name)
    return _text(head) if _is_text(head) else Signature("unknown", "of an unknown kind")


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
    if not head:
        raise EmptyFile("the file is empty")
    found = signature(head)
    if found.kind == "playlist":
        raise PlaylistRefused(f"the file is {found.name} that points at other files: upload the media itself")
    if found.kind == "image":
        raise UnsupportedMedia(f"the file is {found.name}, not video or audio")
    if found.kind == "other":
        raise NotMedia(f"the file is {found.name}, not video or audio")
    return found

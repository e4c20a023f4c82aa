"""How a stranger's file is opened: what is refused, with which words, and that nothing else is ever read."""

import gzip
import io
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pytest

from pipelines import boxes, ebml, opening
from pipelines.errors import (
    CorruptMedia,
    EmptyFile,
    EncryptedMedia,
    MediaError,
    NotMedia,
    PlaylistRefused,
    TruncatedMedia,
    UnsupportedCodec,
    UnsupportedMedia,
)
from pipelines.native import typed
from pipelines.opening import demux_source, open_source
from pipelines.signatures import Signature
from tests.support.media import Sound, clip, frame_numbers, remuxed

PICTURE_CODECS = {"png": "rgb24", "mjpeg": "yuvj420p", "gif": "rgb8", "bmp": "bgr24", "tiff": "rgb24"}


def _written(tmp_path: Path, data: bytes, name: str = "upload.mp4") -> str:
    path = tmp_path / name
    path.write_bytes(data)
    return str(path)


def _refusal(path: str, **options: Any) -> MediaError:
    with pytest.raises(MediaError) as raised:
        open_source(path, **options).close()
    return raised.value


def test_an_empty_file_is_refused_as_empty(tmp_path: Path) -> None:
    assert isinstance(_refusal(_written(tmp_path, b"")), EmptyFile)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "HLS playlist"),
        ("\ufeff\n#EXTM3U\nx.ts", "HLS playlist"),
        ("ffconcat version 1.0\nfile /etc/passwd\n", "concat script"),
        ("# mine\nfile '/etc/passwd'\n", "playlist"),
        ('<?xml version="1.0"?>\n<!-- x -->\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>', "DASH manifest"),
        ("v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "SDP"),
        ("[playlist]\nFile1=a.mp3\n", "playlist"),
        ("http://127.0.0.1/a.ts\n", "addresses"),
    ],
)
def test_a_manifest_that_points_elsewhere_is_refused_whatever_its_name(tmp_path: Path, text: str, said: str) -> None:
    error = _refusal(_written(tmp_path, text.encode()))
    assert isinstance(error, PlaylistRefused)
    assert said in error.public_message


@pytest.mark.parametrize(
    "data", [b"just some words, again and again\n" * 9, b"<html><script>1</script></html>", b"{}      "]
)
def test_text_is_refused_as_text(tmp_path: Path, data: bytes) -> None:
    error = _refusal(_written(tmp_path, data))
    assert isinstance(error, NotMedia)
    assert "text" in error.public_message


def test_archives_are_refused_also_when_a_video_is_inside(tmp_path: Path) -> None:
    video = clip().read_bytes()
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("a.mp4", video)
    for data in (gzip.compress(video), zipped.getvalue()):
        error = _refusal(_written(tmp_path, data))
        assert isinstance(error, NotMedia)
        assert "archive" in error.public_message


@pytest.mark.parametrize("codec", PICTURE_CODECS)
def test_a_picture_is_refused_with_words_that_say_it_is_a_picture(tmp_path: Path, codec: str) -> None:
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = 32, 32, PICTURE_CODECS[codec]  # type: ignore[attr-defined]
    encoder.time_base = 1
    frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24").reformat(
        format=PICTURE_CODECS[codec], dst_color_range=2
    )
    packets = encoder.encode(frame) + encoder.encode(None)  # type: ignore[attr-defined]
    data = (b"GIF89a" if codec == "gif" else b"") + b"".join(bytes(packet) for packet in packets)
    error = _refusal(_written(tmp_path, data))
    assert isinstance(error, UnsupportedMedia)
    assert "picture" in error.public_message


def test_an_svg_and_a_heif_are_pictures(tmp_path: Path) -> None:
    svg = b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>'
    for data in (svg, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)):
        assert "picture" in _refusal(_written(tmp_path, data)).public_message


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "flv", "ts"])
def test_what_people_upload_is_opened(suffix: str) -> None:
    with open_source(str(clip(suffix=suffix, audio=(Sound(codec="mp3"),)))) as container:
        assert {stream.type for stream in container.streams} == {"video", "audio"}


@pytest.mark.parametrize("codec", ["mp3", "flac", "pcm_s16le", "opus"])
def test_sound_files_are_opened(codec: str) -> None:
    suffix = {"pcm_s16le": "wav", "opus": "ogg"}.get(codec, codec)
    with open_source(str(clip(codec=None, suffix=suffix, audio=(Sound(codec=codec),)))) as container:
        assert len(container.streams.audio) == 1


@pytest.mark.parametrize(
    "name",
    [
        "a:b.mp4",
        "x%03d.mp4",
        "-i.mp4",
        "concat:a|b.mp4",
        "http:--host-a.mp4",
        "quo'te\"`.mp4",
        "new\nline.mp4",
        "\u202e4pm.mp4",
    ],
)
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    path = _written(tmp_path, clip().read_bytes(), name)
    with open_source(path) as container:
        assert container.streams.video[0].width == 320


def test_a_missing_file_is_no_fault_of_the_media(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_source(str(tmp_path / "gone.mp4"))


def test_a_container_that_is_not_on_the_list_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "a.nut")
    with av.open(path, "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 64, 64
        out.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        out.mux(stream.encode(None))
    assert isinstance(_refusal(path), NotMedia)


def test_a_playlist_is_not_followed_even_by_the_demuxer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second wall: with the signatures out of the way FFmpeg itself refuses, and nothing is fetched."""
    monkeypatch.setattr(opening, "refuse_by_signature", lambda head: Signature("unknown", "of an unknown kind"))
    secret = _written(tmp_path, clip(suffix="ts").read_bytes(), "other.ts")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        port = listener.getsockname()[1]
        for target in (secret, "other.ts", f"http://127.0.0.1:{port}/a.ts"):
            text = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n"
            for name in ("list.m3u8", "list.mp4"):
                assert isinstance(_refusal(_written(tmp_path, text.encode(), name)), NotMedia)
            concat = f"ffconcat version 1.0\nfile {target}\n"
            assert isinstance(_refusal(_written(tmp_path, concat.encode(), "list.txt")), NotMedia)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_without_our_options_that_playlist_would_have_been_followed(tmp_path: Path) -> None:
    _written(tmp_path, clip(suffix="ts").read_bytes(), "other.ts")
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\nother.ts\n#EXT-X-ENDLIST\n"
    with av.open(_written(tmp_path, text.encode(), "list.m3u8")) as container:
        assert container.streams.video[0].width == 320


def test_a_decoder_that_is_not_on_the_list_does_not_run() -> None:
    path = str(clip(codec="utvideo", suffix="avi", frames=2))
    error = _refusal(path, video=0)
    assert isinstance(error, UnsupportedCodec)
    assert error.detail == {"codec": "utvideo"}
    with open_source(path) as container, pytest.raises(av.error.ArgumentError):
        next(container.decode(video=0))
    with av.open(path) as container:
        assert next(container.decode(video=0)).width == 320, "without our options it would have run"


def test_pictures_above_the_limit_fail_in_the_decoder() -> None:
    path = str(clip())
    with open_source(path, max_pixels=320 * 180) as container:
        assert next(container.decode(video=0)).width == 320
    with open_source(path, max_pixels=320 * 180 - 1) as container, pytest.raises((StopIteration, av.error.FFmpegError)):
        next(container.decode(video=0))


def test_one_stream_more_than_allowed_is_visible() -> None:
    path = str(clip(codec=None, suffix="mkv", audio=(Sound(codec="ac3", seconds=0.2),) * 6))
    with open_source(path, max_streams=4) as container:
        assert len(container.streams) == 5


def test_packets_of_one_stream_leave_the_others_unread() -> None:
    with open_source(str(clip(audio=(Sound(),)))) as container:
        kinds = [packet.stream.type for packet in demux_source(container, container.streams.video[0]) if packet.size]
    assert kinds == ["video"] * 60


def _edit_box(data: bytes, path: tuple[bytes, ...], edit: Callable[[bytes], bytes]) -> bytes:
    """`data` with the payload of the box at `path` changed, and the sizes around it."""
    position = 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == path[0]:
            inner = data[position + 8 : position + size]
            inner = edit(inner) if len(path) == 1 else _edit_box(inner, path[1:], edit)
            box = (len(inner) + 8).to_bytes(4, "big") + path[0] + inner
            return data[:position] + box + data[position + size :]
        position += size
    raise AssertionError(f"no box {path[0]!r}")


MINF = (b"moov", b"trak", b"mdia", b"minf")


@pytest.mark.parametrize("kind", [b"url ", b"urn ", b"alis"])
def test_an_mp4_whose_samples_lie_in_another_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    place = b"file:///etc/passwd\0"
    entry = (12 + len(place)).to_bytes(4, "big") + kind + b"\0\0\0\0" + place
    data = _edit_box(clip().read_bytes(), (*MINF, b"dinf", b"dref"), lambda old: old[:8] + entry)
    error = _refusal(_written(tmp_path, data))
    assert isinstance(error, UnsupportedMedia)
    assert "another file" in error.public_message


def test_an_mp4_that_forgot_to_say_its_samples_are_inside_is_opened(tmp_path: Path) -> None:
    """Seen from cameras: the flag is missing, and no place is named."""
    entry = (12).to_bytes(4, "big") + b"url " + b"\0\0\0\0"
    data = _edit_box(clip().read_bytes(), (*MINF, b"dinf", b"dref"), lambda old: old[:8] + entry)
    assert frame_numbers(Path(_written(tmp_path, data))) == list(range(60))
    open_source(str(tmp_path / "upload.mp4")).close()


@pytest.mark.parametrize("protected", [b"encv", b"enca", b"drmi"])
def test_an_encrypted_mp4_is_refused_as_encrypted(tmp_path: Path, protected: bytes) -> None:
    data = _edit_box(clip().read_bytes(), (*MINF, b"stbl", b"stsd"), lambda old: old[:12] + protected + old[16:])
    assert isinstance(_refusal(_written(tmp_path, data)), EncryptedMedia)


def _element(number: bytes, payload: bytes) -> bytes:
    return number + (len(payload) | 1 << 56).to_bytes(8, "big") + payload


@pytest.mark.parametrize("unknown_size", [False, True])
def test_an_encrypted_matroska_is_refused_as_encrypted(tmp_path: Path, unknown_size: bool) -> None:
    compressed = _element(b"\x50\x34", _element(b"\x42\x54", b"\3"))
    encrypted = _element(b"\x50\x35", _element(b"\x47\xe1", b"\5"))
    header = _element(b"\x1a\x45\xdf\xa3", _element(b"\x42\x82", b"matroska"))
    for content, refused in ((compressed, False), (encrypted, True)):
        encodings = _element(b"\x6d\x80", _element(b"\x62\x40", content))
        tracks = _element(b"\x16\x54\xae\x6b", _element(b"\xae", _element(b"\xd7", b"\1") + encodings))
        segment = (
            b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + tracks if unknown_size else _element(b"\x18\x53\x80\x67", tracks)
        )
        path = Path(_written(tmp_path, header + segment, "a.mkv"))
        with path.open("rb") as file:
            assert ebml.is_encrypted(file, path.stat().st_size) == refused
        if refused:
            assert isinstance(_refusal(str(path)), EncryptedMedia)


def test_an_ordinary_matroska_is_not_taken_for_encrypted() -> None:
    path = clip(suffix="mkv")
    with path.open("rb") as file:
        assert not ebml.is_encrypted(file, path.stat().st_size)


def test_an_mp4_cut_before_its_index_is_refused_as_truncated(tmp_path: Path) -> None:
    data = clip().read_bytes()
    error = _refusal(_written(tmp_path, data[: len(data) // 2]))
    assert isinstance(error, TruncatedMedia)
    assert "upload" in error.public_message


def test_an_mp4_cut_in_the_middle_of_its_index_is_refused_as_truncated(tmp_path: Path) -> None:
    data = remuxed(clip(), "mp4", movflags="faststart").read_bytes()
    assert isinstance(_refusal(_written(tmp_path, data[: data.index(b"moov") + 200])), TruncatedMedia)


def test_a_fragment_without_its_header_is_refused_by_name(tmp_path: Path) -> None:
    data = clip(mux_options=(("movflags", "frag_keyframe+empty_moov"),)).read_bytes()
    error = _refusal(_written(tmp_path, data[data.index(b"moof") - 4 :]))
    assert isinstance(error, CorruptMedia)
    assert "fragment" in error.public_message


@pytest.mark.parametrize("audio", [(), (Sound(),)])
def test_a_fragmented_mp4_that_ends_inside_a_fragment_is_refused_as_truncated(
    tmp_path: Path, audio: tuple[Sound, ...]
) -> None:
    data = clip(frames=120, audio=audio, mux_options=(("movflags", "frag_keyframe+empty_moov"),)).read_bytes()
    last = data.rindex(b"moof") - 4
    media = last + int.from_bytes(data[last : last + 4], "big")
    for end in (last + 8, media - 1, media + 8, media + int.from_bytes(data[media : media + 4], "big") - 1):
        error = _refusal(_written(tmp_path, data[:end]))
        assert isinstance(error, TruncatedMedia), f"cut at {end} of {len(data)}"
        assert "fragment" in error.public_message
    open_source(_written(tmp_path, data)).close()


def test_a_fragmented_mp4_whose_own_index_at_the_end_is_cut_is_opened(tmp_path: Path) -> None:
    """All its media is there; only what would speed up seeking is not."""
    data = clip(mux_options=(("movflags", "frag_keyframe+empty_moov"),)).read_bytes()
    open_source(_written(tmp_path, data[: data.rindex(b"mfra") + 8])).close()


def test_random_bytes_are_not_media(tmp_path: Path) -> None:
    data = np.random.default_rng(1).bytes(65_536)
    assert isinstance(_refusal(_written(tmp_path, data)), NotMedia)
    error = _refusal(_written(tmp_path, b"\0\0\0\x18ftypisom\0\0\2\0isommp42" + data))
    assert isinstance(error, CorruptMedia)
    assert error.detail["native"], "the library's own words are kept for whoever looks into it"
    assert str(tmp_path) not in str(error.to_wire())


def test_a_million_boxes_are_not_all_read() -> None:
    class Counting(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1) -> bytes:
            self.reads += 1
            return super().read(size)

    nested = b"\0\0\0\x08free" * 300_000
    file = Counting((len(nested) + 8).to_bytes(4, "big") + b"moov" + nested + b"\0\0\0\x08free" * 700_000)
    boxes.look(file, len(file.getvalue()))
    assert file.reads <= boxes.MAX_BOXES


def test_boxes_that_hold_themselves_end_the_walk() -> None:
    for data in (
        b"\0\0\0\0moov" * 50,
        b"\0\0\0\1moov" + bytes(8),
        b"\0\0\0\7moov\0\0\0\0",
        b"\xff" * 100,
        b"\0\0\0\1free",
    ):
        boxes.look(io.BytesIO(data), len(data))
        ebml.is_encrypted(io.BytesIO(data), len(data))


def test_every_error_of_the_library_becomes_one_of_ours() -> None:
    natives = [cls(-1, "said", "file") for cls in vars(av.error).values() if _is_native(cls)]
    assert len(natives) > 30
    for error in [*natives, MemoryError(), OverflowError(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")]:
        ours = typed(error, "open the file")
        assert isinstance(ours, MediaError)
        assert ours.code != MediaError.code
        assert not ours.retryable


def _is_native(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, av.error.FFmpegError)

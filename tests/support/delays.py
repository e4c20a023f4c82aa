"""How long the frames of an animation are shown, read from its bytes by nobody's library."""

import struct


def delays_ms(data: bytes) -> list[int]:
    """Of each frame of a sound GIF or WebP."""
    return _of_gif(data) if data[:3] == b"GIF" else _of_webp(data)


def _of_webp(data: bytes) -> list[int]:
    found, at = [], 12
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if kind == b"ANMF":
            found.append(int.from_bytes(data[at + 20 : at + 23], "little"))
        at += 8 + length + length % 2
    return found


def _of_gif(data: bytes) -> list[int]:
    """A graphic control extension tells of the frame behind it; a frame without one is shown for no time."""
    found, delay = [], 0
    at = 13 + _table(data[10])
    while at < len(data) and data[at] != 0x3B:
        kind = data[at]
        if kind == 0x21:
            if data[at + 1] == 0xF9:
                delay = 10 * int(struct.unpack_from("<H", data, at + 4)[0])
            at = _behind_blocks(data, at + 2)
        elif kind == 0x2C:
            found.append(delay)
            delay = 0
            at = _behind_blocks(data, at + 10 + _table(data[at + 9]) + 1)
        else:
            at += 1
    return found


def _table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind_blocks(data: bytes, at: int) -> int:
    while data[at]:
        at += 1 + data[at]
    return at + 1

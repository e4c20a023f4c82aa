"""Names of files on a terminal: they may hold anything but a slash and a zero byte."""

import os

from pipelines.text import UNSEEN


def printable(text: str) -> str:
    r"""`text` in one line that a terminal only shows: control characters and bytes that are no UTF-8 as `\x1b`."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), valid(text))


def valid(text: str) -> str:
    r"""`text` as every JSON reader takes it: bytes that are no UTF-8 as `\xff`, all else as it is."""
    try:
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character that no file name brings along
        return text.encode("utf-8", "backslashreplace").decode()

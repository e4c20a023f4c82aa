"""FFmpeg's errors as ours, with the last lines of its log kept for whoever looks into it."""

from collections.abc import Iterator
from contextlib import contextmanager

import av
import av.error
import av.logging

from pipelines.errors import (
    CorruptMedia,
    EncryptedMedia,
    LimitExceeded,
    MediaError,
    MediaTimeout,
    PlaylistRefused,
    TruncatedMedia,
    UnsupportedCodec,
    UnsupportedMedia,
)

LOG_LINES = 6
LOG_CHARS = 300  # of one line: some carry names from the file

Log = list[tuple[int, str, str]]
UNTYPED = (av.error.FFmpegError, MemoryError, OverflowError, UnicodeError)


@contextmanager
def native_errors(doing: str) -> Iterator[Log]:
    """Turn FFmpeg's errors inside the block into MediaError; `doing` completes "cannot … ". Yields the native log.

    Only for blocks that run no decoder threads: FFmpeg's log reaches Python under the interpreter's lock, which a
    thread that waits for a decoder may hold.
    """
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(local=False) as log:
            try:
                yield log
            except UNTYPED as error:
                raise typed(error, doing, log) from error
    finally:
        av.logging.set_level(before)


def typed(error: BaseException, doing: str, log: Log = []) -> MediaError:  # noqa: B006 (never written to)
    """The MediaError that says what `error` means for the person who sent the file."""
    detail = {"native": tail(error, log)}
    by_log = from_log(log)
    if by_log is not None:
        return by_log
    kinds: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], type[MediaError], str], ...] = (
        (av.error.ExitError, MediaTimeout, "took too long"),
        (MemoryError, LimitExceeded, "needs more memory than a media process may use"),
        (av.error.EOFError, TruncatedMedia, "the file ends too early"),
        ((av.error.DecoderNotFoundError, av.error.BSFNotFoundError), UnsupportedCodec, "no decoder for it is allowed"),
        (av.error.PatchWelcomeError, UnsupportedMedia, "it uses a feature that is not supported"),
        (av.error.PermissionError, PlaylistRefused, "it points at other files"),
        (av.error.ProtocolNotFoundError, PlaylistRefused, "it points at other places"),
    )
    for classes, kind, why in kinds:
        if isinstance(error, classes):
            return kind(f"cannot {doing}: {why}", detail=detail)
    return CorruptMedia(f"cannot {doing}: the file is damaged or not what it says", detail=detail)


def from_log(log: Log) -> MediaError | None:
    """What FFmpeg only says in its log: a decoder's limit, or a protected stream."""
    for _, name, line in log:
        detail = {"native": [f"{name}: {line.strip()[:LOG_CHARS]}"]}
        if "exceeds specified max pixel count" in line:
            return LimitExceeded(
                f"the pictures are larger than allowed: {line.split(' exceeds')[0].removeprefix('Picture size ')}",
                detail=detail | {"limit": "max_pixels"},
            )
        if "DRM protected" in line or "encrypted" in line.lower():
            return EncryptedMedia("the media is encrypted", detail=detail)
    return None


def tail(error: BaseException | None, log: Log) -> list[str]:
    """The last lines of the native log, and the error itself without the path of our copy."""
    lines = [f"{name}: {line.strip()[:LOG_CHARS]}" for _, name, line in log[-LOG_LINES:]]
    if error is None:
        return lines
    said = error.strerror if isinstance(error, av.error.FFmpegError) else str(error)
    return [*lines, f"{type(error).__name__}: {(said or '')[:LOG_CHARS]}"]

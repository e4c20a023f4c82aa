"""What can be wrong with a piece of media, or with turning it.

MediaError                      code, retryable, public_message, detail
├── RejectedMedia               the input cannot be used; asking again gives the same answer
│   ├── EmptyFile               empty_file
│   ├── NotMedia                not_media
│   ├── PlaylistRefused         playlist_refused
│   ├── CorruptMedia            corrupt_media
│   ├── TruncatedMedia          truncated_media
│   ├── EncryptedMedia          encrypted_media
│   ├── NoDecodableStream       no_decodable_stream
│   ├── UnsupportedCodec        unsupported_codec
│   ├── UnsupportedMedia        unsupported_media      (right type, a form nobody here can turn)
│   ├── LimitExceeded           limit_exceeded         (too long, large, many; names the limit)
│   ├── DecoderCrashed          decoder_crashed        (native crash in the media process, twice)
│   ├── MediaTimeout            media_timeout          (the media process outlived its wall clock)
│   ├── InvalidManifest         invalid_manifest       (a batch's list of sources cannot be read)
│   └── InvalidItem             invalid_item           (one line of it cannot be used; names the line's fault)
├── ProofFailed                 proof_failed           (our output is not what the plan says; never published)
├── EncodeFailed                encode_failed          (an encoder or packager refused; retryable)
├── ScratchFull                 scratch_full           (no room on the working disk; retryable)
├── NeedsMemory                 needs_memory           (the picture needs more than it was given; asked again with that)
└── MediaProcessFailed          media_process_failed   (a media process ended by a fault of its own; retryable)
"""

from ladders.errors import FarmError


class MediaError(FarmError):
    """An error about one piece of media; `code` is stable, `public_message` is for the person who sent it."""

    code = "media_error"


class RejectedMedia(MediaError):
    """The input cannot be used, and trying again cannot change that."""

    code = "rejected_media"


class EmptyFile(RejectedMedia):
    """The file has no bytes."""

    code = "empty_file"


class NotMedia(RejectedMedia):
    """The bytes are not a media container that is accepted here."""

    code = "not_media"


class PlaylistRefused(RejectedMedia):
    """The file is a playlist, manifest or concat script that points at other files."""

    code = "playlist_refused"


class CorruptMedia(RejectedMedia):
    """The container or its streams contradict themselves."""

    code = "corrupt_media"


class TruncatedMedia(RejectedMedia):
    """The file ends before the media does (an interrupted upload)."""

    code = "truncated_media"


class EncryptedMedia(RejectedMedia):
    """The samples are encrypted and no key is known."""

    code = "encrypted_media"


class NoDecodableStream(RejectedMedia):
    """There is no video or audio that gives a single decoded frame."""

    code = "no_decodable_stream"


class UnsupportedCodec(RejectedMedia):
    """The codec is not on the list of accepted decoders."""

    code = "unsupported_codec"


class UnsupportedMedia(RejectedMedia):
    """The media is sound, but not of a form that this recipe can turn."""

    code = "unsupported_media"


class LimitExceeded(RejectedMedia):
    """The media is larger, longer or has more streams than the limits allow."""

    code = "limit_exceeded"


class DecoderCrashed(RejectedMedia):
    """The media process died in native code on this input, also on its second try."""

    code = "decoder_crashed"


class MediaTimeout(RejectedMedia):
    """The media process outlived its wall-clock limit on this input."""

    code = "media_timeout"


class InvalidManifest(RejectedMedia):
    """The list of a batch's sources is not of a form that is read here."""

    code = "invalid_manifest"


class InvalidItem(RejectedMedia):
    """A line of a batch's list does not say what to turn."""

    code = "invalid_item"


class ProofFailed(MediaError):
    """What was made is not what the plan says; it is never published."""

    code = "proof_failed"


class EncodeFailed(MediaError):
    """An encoder or the packager refused its work."""

    code = "encode_failed"
    retryable = True


class ScratchFull(MediaError):
    """The disk that media processes write to is full."""

    code = "scratch_full"
    retryable = True


class NeedsMemory(MediaError):
    """A picture is not begun with the memory that was set aside for it: `detail["memory_bytes"]` says what it needs.

    Between a media process and whoever chooses its node; nobody else sees it.
    """

    code = "needs_memory"
    retryable = True


class MediaProcessFailed(MediaError):
    """A media process ended by a fault of its own (a bug, a broken installation), not of the media."""

    code = "media_process_failed"
    retryable = True

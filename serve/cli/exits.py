"""How a command ends: one line for a person, one number for a script.

0 done; 1 usage or configuration; 2 the media was rejected; 3 partly done; 4 infrastructure; 130 interrupted, 143 and
129 by SIGTERM and SIGHUP.
"""

import json
import logging
import sys
import traceback
from enum import IntEnum

from cluster.errors import (
    DrainRefused,
    ForbiddenUri,
    InvalidKey,
    NodeMissing,
    ObjectExists,
    SettingsInvalid,
    SourceMissing,
    StoreOutdated,
)
from ladders.errors import LadderError
from pipelines.errors import RejectedMedia
from serve.cli.printable import printable
from serve.errors import ApiError, BatchFailed, FarmRefused, FarmUnreachable, InternalError
from serve.settings import debugging

log = logging.getLogger(__name__)


class ExitCode(IntEnum):
    """What the shell sees."""

    DONE = 0
    USAGE = 1
    REJECTED = 2
    PARTLY = 3
    INFRASTRUCTURE = 4
    INTERRUPTED = 130


# What the user chose wrongly, as opposed to what broke.
_USAGE: tuple[type[Exception], ...] = (
    LadderError,
    DrainRefused,
    ForbiddenUri,
    InvalidKey,
    NodeMissing,
    ObjectExists,
    SettingsInvalid,
    SourceMissing,
    StoreOutdated,
)


def exit_code(error: BaseException) -> ExitCode:
    """The number for an error that ends a command."""
    if isinstance(error, RejectedMedia):
        return ExitCode.REJECTED
    if isinstance(error, _USAGE):
        return ExitCode.USAGE
    if isinstance(error, ApiError):
        broken = isinstance(error, (BatchFailed, FarmUnreachable))
        broken = broken or (isinstance(error, FarmRefused) and error.status >= 500)
        return ExitCode.INFRASTRUCTURE if broken else ExitCode.USAGE
    return ExitCode.INFRASTRUCTURE


def report(error: Exception, as_json: bool, **told: object) -> ExitCode:
    """Say on stderr, in one line, what went wrong; with `as_json` also, with `told`, as the document on stdout."""
    code = str(getattr(error, "code", "internal_error"))
    message = printable(" ".join(str(getattr(error, "public_message", error)).split()))
    print(f"error: {code}: {message}", file=sys.stderr)
    if as_json:
        retryable = bool(getattr(error, "retryable", False))
        print(json.dumps({"error": {"code": code, "message": message, "retryable": retryable}, **told}))
    return exit_code(error)


def report_unforeseen(error: Exception, as_json: bool) -> ExitCode:
    """The same for an error that nobody foresaw: a bug, or a machine in a state that no check knows."""
    if debugging():
        traceback.print_exception(error)
    message = f"{type(error).__name__}: {error} (set FARM_DEBUG=1 for the traceback)"
    report(InternalError(message), as_json)
    return ExitCode.INFRASTRUCTURE

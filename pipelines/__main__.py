"""The media process: `python -m pipelines COMMAND`, one request on stdin, JSON lines on stdout.

The only process that opens media. It is started for one piece of work and ends with it, so that a decoder's crash,
leak or hang is the end of that piece and of nothing else. Lines are ``{"progress": …}`` and at last one
``{"result": …}`` or ``{"error": …}``.
"""

import errno
import importlib
import json
import os
import sys
import typing
from collections.abc import Callable
from typing import Any

from pipelines.confine import ProcessLimits, confine
from pipelines.errors import CorruptMedia, LimitExceeded, MediaError, ScratchFull
from pipelines.wire import from_wire, to_wire

# command -> where its function is; imported only when asked for, because start-up is paid once per chunk
COMMANDS = {
    "inspect": "pipelines.inspect:inspect",
    "chunk": "pipelines.chunk:encode_chunk",
    "measure": "pipelines.quality:measure",
    "audio": "pipelines.audio:encode_audio",
    "join": "pipelines.join:join",
    "stills": "pipelines.stills:make_stills",
    "package": "pipelines.package:package",
}


def command(name: str) -> tuple[Callable[..., Any], type]:
    """The function of command `name` and the class of its request."""
    module_name, function_name = COMMANDS[name].split(":")
    function = getattr(importlib.import_module(module_name), function_name)
    request_type = next(iter(typing.get_type_hints(function).values()))
    return function, request_type


def main() -> int:
    """Do the one piece of work that stdin asks for."""
    output = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # whatever a native library prints goes to stderr, never between our lines

    def say(kind: str, value: Any) -> None:
        output.write(json.dumps({kind: value}, separators=(",", ":")) + "\n")

    envelope = json.load(sys.stdin)
    confine(from_wire(ProcessLimits, envelope["limits"]), envelope["parent_pid"])
    try:
        function, request_type = command(sys.argv[1])
        result = function(from_wire(request_type, envelope["request"]), lambda value: say("progress", value))
        say("result", to_wire(result))
    except MediaError as error:
        say("error", error.to_wire())
    except MemoryError:
        limit_mb = envelope["limits"]["memory_bytes"] // 1_000_000
        say("error", LimitExceeded(f"the media needs more than the {limit_mb} MB a media process may use").to_wire())
    except UnicodeDecodeError as error:
        say("error", CorruptMedia("the media carries text that is not valid", detail={"native": str(error)}).to_wire())
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        say("error", ScratchFull("no space is left on the working disk: free some or set FARM_SCRATCH_DIR").to_wire())
    # No interpreter shutdown: joining codec threads and freeing frames one by one costs up to 0.1 s a chunk.
    output.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

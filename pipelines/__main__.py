"""The media process: `python -m pipelines COMMAND`, one request on stdin, JSON lines on stdout.

The only process that opens media. It is started for one piece of work and ends with it, so that a decoder's crash,
leak or hang is the end of that piece and of nothing else. Lines are ``{"progress": …}`` and at last one
``{"result": …}`` or ``{"error": …}``. Two commands take many requests: `images` forks for each batch, see
`pipelines.images.server`, and `images-gpu` keeps a GPU warm, see `pipelines.images.gpu_server`.
"""

import importlib
import json
import os
import sys
import typing
from collections.abc import Callable
from typing import Any

from pipelines.answering import answer
from pipelines.confine import ProcessLimits, confine
from pipelines.wire import from_wire

# command -> where its function is; imported only when asked for, because start-up (about 0.3 s, without pydantic and
# numpy) is paid once per chunk
COMMANDS = {
    "inspect": "pipelines.inspect:inspect",
    "look": "pipelines.images.look:look",
    "chunk": "pipelines.chunk:encode_chunk",
    "measure": "pipelines.quality:measure",
    "audio": "pipelines.audio:encode_audio",
    "join": "pipelines.join:join",
    "stills": "pipelines.stills:make_stills",
    "package": "pipelines.package:package",
    "survey": "pipelines.survey:survey",
    "manifest": "pipelines.manifest:read_manifest",
}
SERVERS = {"images": "pipelines.images.server", "images-gpu": "pipelines.images.gpu_server"}


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

    if sys.argv[1] in SERVERS:
        importlib.import_module(SERVERS[sys.argv[1]]).serve(sys.stdin.buffer, output)
    else:
        envelope = json.load(sys.stdin)
        limits = from_wire(ProcessLimits, envelope["limits"])
        confine(limits, envelope["parent_pid"])

        def work() -> Any:
            function, request_type = command(sys.argv[1])
            return function(from_wire(request_type, envelope["request"]), lambda value: say("progress", value))

        say(*answer(work, limits))
    # No interpreter shutdown: joining codec threads and freeing frames one by one costs up to 0.1 s a chunk.
    output.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

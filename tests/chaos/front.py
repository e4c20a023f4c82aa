"""A front before the S3 server: it writes down what was asked and answered, and can refuse, delay or cut.

What it wrote down says how often each chunk was begun and ended, by nobody's own account: whoever encodes a chunk reads
that chunk's part of the frame map first, and stores its facts last.
"""

import re
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from cluster.storage.s3_parts import PART_BYTES

Mode = Literal["pass", "refuse", "slow", "cut"]
SLOW_S = 3.0  # before each answer
_HEAD = re.compile(rb"(GET|PUT|POST|HEAD|DELETE) /(\S*) HTTP/1\.1\r\n(.*)", re.DOTALL)
_RANGE = re.compile(rb"\r\nrange: *bytes=(\d+-\d*)", re.IGNORECASE)
_REFUSAL = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: 79\r\nConnection: close\r\n\r\n"
    b"<Error><Code>SlowDown</Code><Message>Please reduce your rate.</Message></Error>"
)
_FACTS = re.compile(r"scratch/([0-9a-f-]{36})/\w+/chunk-(\d+)-(\d+)/(\w+)\.json")
WHOLE = f"0-{PART_BYTES - 1}"  # as the joining reads it
_FRAMES = re.compile(r"scratch/([0-9a-f-]{36})/\w+/frames\.i64")


@dataclass(frozen=True)
class Asked:
    """One request, and the status of its answer."""

    at: float  # Unix time of the answer
    method: str
    key: str  # with its bucket
    range: str
    status: int


@dataclass
class Front:
    """Listens at `endpoint`; `mode` may be changed at any time."""

    endpoint: str
    mode: Mode = "pass"
    asked: list[Asked] = field(default_factory=list)

    def begun(self) -> dict[tuple[str, str], list[float]]:
        """When the encoding of each chunk was begun: by (job, bytes of the frame map)."""
        found = defaultdict(list)
        for one in list(self.asked):
            match = _FRAMES.search(one.key)
            if match and one.method == "GET" and one.range not in ("", WHOLE) and one.status in (200, 206):
                found[match[1], one.range].append(one.at)
        return found

    def ended(self) -> dict[tuple[str, str, str], list[float]]:
        """When each rendition of each chunk was stored: by (job, bytes of the frame map, rendition)."""
        found = defaultdict(list)
        for one in list(self.asked):
            match = _FACTS.search(one.key)
            if match and one.method == "PUT" and one.status == 200:
                start, end = int(match[2]), int(match[3])
                found[match[1], f"{start * 16}-{end * 16 - 1}", match[4]].append(one.at)
        return found


@contextmanager
def fronting(target: str, host: str = "127.0.0.1") -> Iterator[Front]:
    """A front at a free port of `host`, before the server at `target` (http://host:port)."""
    to = target.removeprefix("http://").split(":")
    with socket.create_server((host, 0), backlog=256) as listener:
        front = Front(f"http://{host}:{listener.getsockname()[1]}")

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=_Connection(front, client, (to[0], int(to[1]))).serve, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield front
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


class _Connection:
    def __init__(self, front: Front, client: socket.socket, target: tuple[str, int]) -> None:
        self._front, self._client, self._target = front, client, target
        self._server: socket.socket | None = None
        self._asked: tuple[str, str, str] | None = None  # method, key, range; None once it is answered

    def serve(self) -> None:
        with suppress(OSError):
            self._server = socket.create_connection(self._target, timeout=5)
            self._server.settimeout(None)
            threading.Thread(target=self._answers, daemon=True).start()
            while data := self._client.recv(65536):
                head = _HEAD.match(data)
                if head:
                    span = _RANGE.search(data)
                    self._asked = (head[1].decode(), head[2].decode(), span[1].decode() if span else "")
                if self._front.mode == "cut":
                    break
                if self._front.mode == "refuse" and head:
                    self._client.sendall(_REFUSAL)
                    break
                self._server.sendall(data)
        self._close()

    def _answers(self) -> None:
        assert self._server is not None
        with suppress(OSError):
            while data := self._server.recv(65536):
                if self._front.mode == "cut":
                    break
                if data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100") and self._asked:
                    if self._front.mode == "slow":
                        time.sleep(SLOW_S)
                    self._front.asked.append(Asked(time.time(), *self._asked, int(data[9:12])))
                    self._asked = None
                self._client.sendall(data)
        self._close()

    def _close(self) -> None:
        for one in (self._client, self._server):
            if one is not None:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

"""A TCP proxy that spoils chosen answers, as networks do."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

METHODS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ")


@dataclass
class Proxy:
    """`spoil` sees the first line of a request and says what happens to its answer.

    "drop": the request is carried out, its answer never arrives. A number: the connection breaks after so many bytes
    of the answer. None: nothing. `corrupt` may change what the client sends.
    """

    endpoint: str
    spoil: Callable[[bytes], str | int | None] = lambda _line: None
    corrupt: Callable[[bytes], bytes] = lambda data: data
    lines: list[bytes] = field(default_factory=list)


@contextmanager
def proxying(target: str) -> Iterator[Proxy]:
    """A proxy before the server at `target` (http://host:port)."""
    host, port = target.removeprefix("http://").split(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Proxy(f"http://127.0.0.1:{listener.getsockname()[1]}")

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                server = socket.create_connection((host, int(port)))
                _Connection(proxy, client, server).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield proxy
        finally:
            listener.shutdown(socket.SHUT_RDWR)


class _Connection:
    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._line = b""
        self._sent = 0

    def start(self) -> None:
        for pump in (self._requests, self._answers):
            threading.Thread(target=pump, daemon=True).start()

    def _requests(self) -> None:
        with suppress(OSError):
            while data := self._client.recv(65536):
                if data.startswith(METHODS):
                    self._line, self._sent = data.split(b"\r\n", 1)[0], 0
                    self._proxy.lines.append(self._line)
                self._server.sendall(self._proxy.corrupt(data))
        self._close()

    def _answers(self) -> None:
        with suppress(OSError):
            fate: str | int | None = None
            decided = b""
            while data := self._server.recv(65536):
                if not data.startswith(b"HTTP/1.1 100") and decided != self._line:
                    decided, fate = self._line, self._proxy.spoil(self._line)
                if fate == "drop":
                    break
                if isinstance(fate, int) and self._sent + len(data) > fate:
                    self._client.sendall(data[: fate - self._sent])
                    break
                self._sent += len(data)
                self._client.sendall(data)
        self._close()

    def _close(self) -> None:
        for one in (self._client, self._server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

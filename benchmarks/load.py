"""Many HTTP connections, each with one request in flight; far cheaper than `http.client`, which has the same cores."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_HEAD = re.compile(rb"HTTP/1\.1 (\d{3})[^\r]*\r\n(.*?)\r\n\r\n", re.DOTALL)
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
REFUSALS = (429, 503)


@dataclass(slots=True)
class Load:
    """What was answered."""

    took_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    without_retry_after: int = 0  # of the refusals
    bodies: Counter[bytes] = field(default_factory=Counter)  # only where they are wanted
    broken: int = 0  # connections that ended without an answer

    def figures(self, seconds: float) -> dict[str, Any]:
        """Calls a second, latencies, and what was not accepted."""
        took = sorted(self.took_s)
        return {
            "per_s": round(len(took) / seconds, 1),
            "p50_ms": round(1000 * took[len(took) // 2], 1),
            "p99_ms": round(1000 * took[int(len(took) * 0.99)], 1),
            "requests": len(took),
            "not_2xx": {status: count for status, count in self.statuses.items() if not 200 <= status < 300},
            "broken": self.broken,
        }


def request(method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
    """One HTTP/1.1 request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    if body:
        lines.append("Content-Type: application/json")
    return ("\r\n".join(lines) + f"\r\n{headers}\r\n").encode() + body


def run(port: int, clients: int, next_request: Callable[[int], bytes | None], *, bodies: bool = False) -> Load:
    """Send what `next_request` gives, by the client's number, over as many connections, until it gives None to each."""
    load = Load()

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (wanted := next_request(number)) is not None:
            began = time.monotonic()
            writer.write(wanted)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                found, length = _HEAD.match(head), _LENGTH.search(head)
                assert found is not None, head
                # What has no length is chunked, as Serve's own refusals are.
                body = await (reader.readexactly(int(length[1])) if length else reader.readuntil(b"0\r\n\r\n"))
            except (asyncio.IncompleteReadError, OSError):
                load.broken += 1
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                continue
            load.took_s.append(time.monotonic() - began)
            status = int(found[1])
            load.statuses[status] += 1
            if status in REFUSALS and b"retry-after:" not in head.lower():
                load.without_retry_after += 1
            if bodies and 200 <= status < 300:
                load.bodies[body] += 1
            if b"connection: close" in head.lower():
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    async def everybody() -> None:
        await asyncio.gather(*(client(number) for number in range(clients)))

    asyncio.run(everybody())
    return load

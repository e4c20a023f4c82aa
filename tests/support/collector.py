"""A real OTLP/HTTP collector: takes the spans that are sent to it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from zlib import decompress

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class SpanSeen:
    """One span as it arrived; times in seconds since 1970."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began_s: float
    ended_s: float
    attributes: dict[str, Any]
    failure: str  # the message of an error status; "" when there is none


@dataclass
class Collector:
    """Keeps what it got."""

    url: str
    spans: list[SpanSeen] = field(default_factory=list)

    def wait_for(self, enough: Callable[[dict[str, SpanSeen]], bool], within_s: float = 60.0) -> dict[str, SpanSeen]:
        """The spans by name, once they are `enough`."""
        deadline = time.monotonic() + within_s
        while not enough(found := {span.name: span for span in list(self.spans)}):
            assert time.monotonic() < deadline, f"only {sorted(found)} arrived"
            time.sleep(0.05)
        return found


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = decompress(body, 31)
            if self.path == "/v1/traces":
                collector.spans += spans_of(body)
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def spans_of(body: bytes) -> list[SpanSeen]:
    """The spans of one request."""
    request = ExportTraceServiceRequest.FromString(body)
    found = []
    for resource in request.resource_spans:
        service = _values(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            found += [_seen(service, span) for span in scope.spans]
    return found


def _seen(service: str, span: Any) -> SpanSeen:
    return SpanSeen(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano / 1e9,
        span.end_time_unix_nano / 1e9,
        _values(span.attributes),
        span.status.message,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}

"""Spans, sent where the standard variables of OpenTelemetry say; without such a place nothing is imported.

Spans are made by the API and the dispatcher alone, of what they see and of what steps report: a worker that is killed
could not send its own.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from cluster.settings import traces_wanted

FLUSH_S = 1.0

log = logging.getLogger(__name__)


class Span:
    """Something that takes time; `traceparent` is what those below it are given."""

    def __init__(self, traceparent: str | None, span: Any = None) -> None:
        self.traceparent = traceparent
        self._span = span

    def set(self, **attributes: Any) -> None:
        """Add attributes, `farm.` before their names; what is None is left out."""
        if self._span is not None:
            self._span.set_attributes(_named(attributes))

    def fail(self, code: str) -> None:
        """It failed, for this reason."""
        if self._span is not None:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_status(Status(StatusCode.ERROR, code))

    def end(self, at_s: float | None = None) -> None:
        """It is over: now, or since that time."""
        if self._span is not None:
            self._span.end(None if at_s is None else int(at_s * 1e9))


class Tracing:
    """Begins spans; costs nothing where nobody wants them."""

    def __init__(self, process: str) -> None:
        """`process` becomes part of the service's name, unless OTEL_SERVICE_NAME gives one."""
        self._provider = _provider(process) if traces_wanted() else None

    @property
    def on(self) -> bool:
        """Whether spans go anywhere."""
        return self._provider is not None

    def begin(
        self,
        name: str,
        parent: str | None,
        kind: Literal["internal", "server", "client"] = "internal",
        since_s: float | None = None,
        **attributes: Any,
    ) -> Span:
        """A span below the traceparent `parent`, or the first of a new trace; off, what is below it has that parent."""
        if self._provider is None:
            return Span(parent)
        from opentelemetry.trace import SpanKind

        span = self._provider.get_tracer("farm").start_span(
            name,
            context=_context(parent),
            kind=SpanKind[kind.upper()],
            attributes=_named(attributes),
            start_time=None if since_s is None else int(since_s * 1e9),
        )
        return Span(_traceparent(span), span)

    @contextmanager
    def span(
        self,
        name: str,
        parent: str | None,
        kind: Literal["server", "client"],
        **attributes: Any,
    ) -> Iterator[Span]:
        """A span around what is done inside; an error that leaves it is its failure."""
        span = self.begin(name, parent, kind, **attributes)
        try:
            yield span
        except BaseException as error:
            span.fail(getattr(error, "code", type(error).__name__))
            raise
        finally:
            span.end()

    def flush(self) -> None:
        """Send what is left, for a second at most: the process is about to end."""
        if self._provider is not None:
            # The SDK's own limit is not kept while its exporter waits for a collector that is away.
            flushing = threading.Thread(target=self._provider.force_flush, name="flush spans", daemon=True)
            flushing.start()
            flushing.join(FLUSH_S)


def _provider(process: str) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = Resource({SERVICE_NAME: f"farm-{process}"}).merge(OTELResourceDetector().detect())
    # Not at the interpreter's exit: a collector that is away would hold it up.
    provider = TracerProvider(resource=Resource.create().merge(named), shutdown_on_exit=False)
    # A queue of bounded length and a thread of its own: a collector that is slow or away costs spans, never time.
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _context(parent: str | None) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    # Never what happens to be current in this thread: another job's span may be.
    return TraceContextTextMapPropagator().extract({"traceparent": parent} if parent else {}, Context())


def _traceparent(span: Any) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def _named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {f"farm.{name}": value for name, value in attributes.items() if value is not None}

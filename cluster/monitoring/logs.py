"""Log lines: one JSON object per event for machines, or plain text for a terminal; without secrets either way."""

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from cluster.farm_settings import FarmSettings
from cluster.monitoring.redact import Redactor, secrets_of
from cluster.settings import LogSettings
from cluster.work import Work

OURS = ("ladders", "pipelines", "cluster", "serve")
# What a line may say beside its text, in this order.
FIELDS = (
    "job_id", "org", "step", "attempt", "fence", "trace_id", "node", "node_kind", "status", "code", "seconds",
    "frames",
)  # fmt: skip
OURS_ALONE = frozenset({"time", "level", "logger", "job_id", "trace_id"})  # nobody else's words get in there

_about: ContextVar[Mapping[str, Any]] = ContextVar("about", default=MappingProxyType({}))


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Every line written inside, by this task or thread, is about these; what is None is left out."""
    token = _about.set({**_about.get(), **{name: value for name, value in fields.items() if value is not None}})
    try:
        yield
    finally:
        _about.reset(token)


@contextmanager
def about_step(work: Work, step: str) -> Iterator[None]:
    """The same, of a worker that does `step`."""
    told = {"job_id": work.job_id, "org": work.org, "attempt": work.attempt, "fence": work.fence}
    with about(**told, step=step, trace_id=trace_id_of(work.traceparent)):
        yield


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace's id in a W3C traceparent."""
    return traceparent.split("-")[1] if traceparent else None


def log_as_set_up(settings: FarmSettings, *others: BaseModel) -> None:
    """`configure_logs` by this process's environment; no secret of these settings is ever written."""
    configure_logs(settings.log, secrets_of(settings.storage, settings.database, settings.work, *others))


def configure_logs(settings: LogSettings, secrets: Iterable[str]) -> None:
    """Have this process write its lines to stderr as the settings say; again with other settings is no error.

    Ray keeps every process's stderr in a file of its own.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings, Redactor(secrets)))
    root = logging.getLogger()
    root.handlers = [one for one in root.handlers if getattr(one.formatter, "redact", None) is None]
    root.addHandler(handler)
    for name in OURS:
        logging.getLogger(name).setLevel(settings.log_level)


def formatter(settings: LogSettings, redact: Redactor) -> logging.Formatter:
    """The formatter that the settings ask for."""
    return JsonLines(redact) if settings.log_format == "json" else TextLines(redact)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    here = _about.get()
    found = {name: getattr(record, name, here.get(name)) for name in FIELDS}
    return {name: value for name, value in found.items() if value is not None}


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self.redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; texts are redacted before they are quoted, which would disguise them."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        } | _fields(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        redacted = {
            name: self.redact(value) if isinstance(value, str) and name not in OURS_ALONE else value
            for name, value in line.items()
        }
        return json.dumps(redacted, ensure_ascii=False, default=lambda value: self.redact(str(value)))


class TextLines(logging.Formatter):
    """A line that people read, and the traceback below it."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        first, *rest = super().format(record).split("\n")
        return self.redact("\n".join([f"{first} [{fields}]" if fields else first, *rest]))

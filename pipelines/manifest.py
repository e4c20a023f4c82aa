"""A page of a batch's manifest: Parquet, JSON lines or CSV, from a cursor on, in a media process.

A manifest is a stranger's file too, and Parquet is read by native code. Rows come out as plain texts; what they mean is
for the caller to check, who must not believe this process either.
"""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from pipelines.errors import InvalidItem, InvalidManifest

if TYPE_CHECKING:
    import pyarrow as pa

MAX_LINE_BYTES = 64 * 1024
MAX_PAGE_BYTES = 4_000_000  # of the rows' texts
PARQUET_ROWS = 1000  # decoded at a time
COUNT_BYTES = 1 << 20
SOURCE = "source"

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ManifestRequest:
    """From where to read, and how much."""

    source_path: str
    form: Literal["parquet", "jsonl", "csv"]
    offset: int  # bytes into a text, rows into a Parquet file
    line: int  # that was read last; 0 at the beginning
    most_rows: int
    count: bool  # also how many rows there are in all


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One line. Either `values` (a text, or a dict of texts for `metadata`), or what is wrong with it."""

    line: int  # from 1, the header included; of a Parquet file its row, from 1
    offset: int  # behind it
    values: Values = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ManifestPage:
    """Some rows."""

    rows: tuple[ManifestRow, ...]
    ended: bool
    total: int | None  # rows of the file, when that was asked for


def read_manifest(request: ManifestRequest, report: Callable[[dict[str, Any]], None]) -> ManifestPage:
    """The next rows; InvalidManifest when the file as a whole cannot be used."""
    if request.form == "parquet":
        return _parquet(request)
    with open(request.source_path, "rb") as file:  # noqa: PTH123 - a path that crossed a pipe as text
        names = _header(file) if request.form == "csv" else ()
        first = file.tell() if names else 0
        start, line = max(request.offset, first), max(request.line, 1 if names else 0)
        total = _count_lines(file, first) if request.count else None
        file.seek(start)
        rows = _texts(file, line, request.most_rows, lambda text: _csv(text, names) if names else _json(text))
        return ManifestPage(tuple(rows), not file.read(1), total)


def _texts(file: BinaryIO, line: int, most_rows: int, values_of: Callable[[str], Values]) -> Iterator[ManifestRow]:
    """Rows of a text, one a physical line: what is wrong with one then never swallows the next."""
    rows = size = 0
    while rows < most_rows and size < MAX_PAGE_BYTES:
        data = file.readline(MAX_LINE_BYTES + 1)
        if not data:
            return
        line += 1
        values: Values = {}
        problem = ""
        if len(data) > MAX_LINE_BYTES and not data.endswith(b"\n"):
            problem = f"the line is longer than {MAX_LINE_BYTES} bytes"
            while data and not data.endswith(b"\n"):
                data = file.readline(COUNT_BYTES)
        elif not data.strip():
            continue  # an empty line is no item
        else:
            try:
                values = values_of(data.decode("utf-8").rstrip("\r\n"))
            except UnicodeDecodeError:
                problem = "the line is not UTF-8"
            except InvalidItem as error:
                problem = error.public_message
        rows += 1
        size += len(data)
        yield ManifestRow(line, file.tell(), values, problem)


def _count_lines(file: BinaryIO, start: int) -> int:
    """Lines that are not empty, as far as a quick look tells: those that end, and the last one."""
    file.seek(start)
    count, last = 0, b"\n"
    while data := file.read(COUNT_BYTES):
        count += data.count(b"\n")
        last = data[-1:]
    return count + (last != b"\n")


def _header(file: BinaryIO) -> tuple[str, ...]:
    data = file.readline(MAX_LINE_BYTES + 1)
    try:
        names = tuple(name.strip() for name in _fields(data.decode("utf-8-sig").rstrip("\r\n")))
    except (UnicodeDecodeError, InvalidItem):
        raise InvalidManifest("the first line of the manifest is no line of CSV in UTF-8") from None
    _check_names(names)
    return names


def _check_names(names: tuple[str, ...]) -> None:
    if SOURCE not in names:
        raise InvalidManifest(f"the manifest has no column named {SOURCE}; it has {', '.join(names)[:200] or 'none'}")
    if len(set(names)) != len(names):
        raise InvalidManifest("the manifest has two columns of one name")


def _fields(text: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise InvalidItem(f"the line is no CSV: {error}") from None


def _csv(text: str, names: tuple[str, ...]) -> Values:
    fields = _fields(text)
    if len(fields) != len(names):
        raise InvalidItem(f"the line has {len(fields)} fields, the header {len(names)}")
    return {name: value for name, value in zip(names, fields, strict=True) if value}


def _json(text: str) -> Values:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidItem("the line is no JSON") from None
    if isinstance(found, str):
        return {SOURCE: found}
    if not isinstance(found, dict):
        raise InvalidItem("the line is neither a JSON object nor a text")
    return _plain(found)


def _plain(found: dict[str, Any]) -> Values:
    """The row with its numbers as texts, without what is null."""
    values: Values = {}
    for name, value in found.items():
        if name == "metadata" and isinstance(value, dict):
            values[name] = {key: _text(key, one) for key, one in value.items() if one is not None}
        elif value is not None:
            values[name] = _text(name, value)
    return values


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise InvalidItem(f"{name[:64]} is neither a text nor a number")


def _parquet(request: ManifestRequest) -> ManifestPage:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pa.set_memory_pool(pa.system_memory_pool())  # others reserve address space, which is limited here
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    try:
        # Not memory-mapped: a file that is cut meanwhile would be a SIGBUS. Streamed, not a whole column at a time.
        with pq.ParquetFile(request.source_path, buffer_size=1 << 20, pre_buffer=False) as file:
            _check_names(tuple(file.schema_arrow.names))
            _check_types(file.schema_arrow)
            total = int(file.metadata.num_rows)
            rows = tuple(_parquet_rows(file, request))
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        said = " ".join(str(error).split())[:200]
        raise InvalidManifest(f"the manifest is no Parquet file that can be read: {said}") from None
    ended = (rows[-1].offset if rows else request.offset) >= total
    return ManifestPage(rows, ended, total if request.count else None)


def _check_types(schema: "pa.Schema") -> None:
    """Refuse at once what no row of could be used."""
    import pyarrow.types as kinds

    for column in schema:
        kind = column.type.value_type if kinds.is_dictionary(column.type) else column.type
        plain = (kinds.is_string, kinds.is_large_string, kinds.is_integer, kinds.is_floating, kinds.is_boolean)
        nested = column.name == "metadata" and (kinds.is_struct(kind) or kinds.is_map(kind))
        if not (nested or kinds.is_null(kind) or any(is_of(kind) for is_of in plain)):
            raise InvalidManifest(
                f"the manifest's column {column.name[:64]} is of the type {str(kind)[:64]}, which is neither text nor "
                "number: leave it out"
            )


def _parquet_rows(file: Any, request: ManifestRequest) -> Iterator[ManifestRow]:
    groups, skip = _from_group(file.metadata, request.offset)
    row = request.offset
    rows = size = 0
    for batch in file.iter_batches(batch_size=PARQUET_ROWS, row_groups=groups, use_threads=False):
        passed = min(skip, batch.num_rows)
        skip -= passed
        for found in batch.slice(passed).to_pylist(maps_as_pydicts="lossy"):
            row += 1
            values: Values = {}
            problem = ""
            try:
                values = _plain(found)
            except InvalidItem as error:
                problem = error.public_message
            rows += 1
            size += sum(len(str(value)) for value in values.values())
            yield ManifestRow(row, row, values, problem)
            if rows >= request.most_rows or size >= MAX_PAGE_BYTES:
                return


def _from_group(metadata: Any, offset: int) -> tuple[list[int], int]:
    """The row groups from the one that holds row `offset` on, and how many of its rows come before."""
    for number in range(metadata.num_row_groups):
        rows = metadata.row_group(number).num_rows
        if offset < rows:
            return list(range(number, metadata.num_row_groups)), offset
        offset -= rows
    return [], 0

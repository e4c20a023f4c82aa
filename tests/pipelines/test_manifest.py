"""Pages of manifests, in each of the three forms."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import InvalidManifest
from pipelines.manifest import MAX_LINE_BYTES, ManifestPage, ManifestRequest, read_manifest

ROWS: list[dict[str, Any]] = [{"source": f"s3://b/{n}.mp4", "media_id": f"m{n}", "n": n} for n in range(2500)]
AS_TEXTS = [{name: str(value) for name, value in row.items()} for row in ROWS]


def page(path: Path, offset: int = 0, line: int = 0, most_rows: int = 1000, *, count: bool = False) -> ManifestPage:
    form: Any = path.suffix[1:]
    return read_manifest(ManifestRequest(str(path), form, offset, line, most_rows, count), lambda _: None)


def written(folder: Path, form: str, rows: list[dict[str, Any]] = ROWS) -> Path:
    path = folder / f"list.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=700)
    elif form == "csv":
        lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_pages_from_cursor_to_cursor_give_every_row_once(tmp_path: Path, form: str) -> None:
    path = written(tmp_path, form)
    found: list[Any] = []
    offset = line = 0
    ended = False
    while not ended:
        read = page(path, offset, line, most_rows=333, count=offset == 0)
        assert read.total == (len(ROWS) if offset == 0 else None)
        found += read.rows
        offset, line, ended = read.rows[-1].offset, read.rows[-1].line, read.ended
    assert [row.values for row in found] == AS_TEXTS
    first = 2 if form == "csv" else 1
    assert [row.line for row in found] == list(range(first, first + len(ROWS)))


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_each_bad_line_is_told_with_its_number_and_costs_no_other(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"list.{form}"
    good = '{"source": "s3://b/a"}' if form == "jsonl" else '"s3://b/a"'
    bad = [b'{"source": ' if form == "jsonl" else b'"s3://b/a', b"\xff\xfe", b"x" * (3 * MAX_LINE_BYTES)]
    head = [] if form == "jsonl" else [b"\xef\xbb\xbfsource"]
    path.write_bytes(b"\r\n".join([*head, bad[0], good.encode(), b"", bad[1], bad[2], good.encode()]))
    rows = page(path).rows
    shift = len(head)
    assert [row.line - shift for row in rows] == [1, 2, 4, 5, 6], "an empty line counts, and is no item"
    assert [bool(row.problem) for row in rows] == [True, False, True, True, False]
    assert rows[1].values == rows[4].values == {"source": "s3://b/a"}


def test_a_json_line_may_be_the_source_alone_or_carry_metadata(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    lines = ['"s3://b/a"', '{"source": "s3://b/b", "metadata": {"n": 1, "o": null}, "ok": true}', "[1]", "7"]
    path.write_text("\n".join([*lines, '{"source": "s3://b/c", "tags": ["a"]}', "[" * 100_000]))
    rows = page(path).rows
    assert rows[0].values == {"source": "s3://b/a"}
    assert rows[1].values == {"source": "s3://b/b", "metadata": {"n": "1"}, "ok": "true"}
    assert [row.problem for row in rows[2:5]] == [
        "the line is neither a JSON object nor a text",
        "the line is neither a JSON object nor a text",
        "tags is neither a text nor a number",
    ]


def test_a_parquet_file_may_hold_maps_of_metadata_dictionaries_and_nulls(tmp_path: Path) -> None:
    table = pa.table(
        {
            "source": pa.array(["s3://b/a", None, "s3://b/c"]).dictionary_encode(),
            "metadata": pa.array([{"a": "1"}, None, {"a": "2"}]),
        }
    )
    pq.write_table(table, tmp_path / "list.parquet")
    rows = page(tmp_path / "list.parquet").rows
    first, last = ({"source": f"s3://b/{name}", "metadata": {"a": value}} for name, value in (("a", "1"), ("c", "2")))
    assert [row.values for row in rows] == [first, {}, last]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("list.csv", b"url\ns3://b/a\n", "no column named source; it has url"),
        ("list.csv", b"", "no column named source"),
        ("list.csv", b"source,a,a\n", "two columns of one name"),
        ("list.csv", b"\xff\xfe\n", "no line of CSV in UTF-8"),
        ("list.parquet", b"source\ns3://b/a\n", "no Parquet file"),
        ("list.parquet", b"PAR1" + b"\xff" * 100 + b"PAR1", "no Parquet file"),
        ("list.parquet", b"", "no Parquet file"),
    ],
)
def test_what_is_no_manifest_is_refused_whole(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidManifest, match=said):
        page(path)


def test_a_column_of_a_type_that_no_item_could_carry_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"source": ["s3://b/a"], "thumbnail": [b"\0"]}), tmp_path / "list.parquet")
    with pytest.raises(InvalidManifest, match="column thumbnail is of the type binary"):
        page(tmp_path / "list.parquet")

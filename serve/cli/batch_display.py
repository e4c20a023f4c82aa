"""Batches on a terminal."""

import json
from typing import TYPE_CHECKING, Any

import typer

from serve.cli.printable import printable
from serve.cli.report_table import counted

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = ("ready", "current", "failed", "refused", "cancelled", "open", "waiting")


def progress_line(batch: dict[str, Any]) -> str:
    """How far a batch is, in one line."""
    total = batch["total"]
    parts = [f"{counted(batch['items'], 'item')} of {total if total is not None else '?'}", _counts(batch)]
    if batch["items_per_s"]:
        parts.append(f"{batch['items_per_s']:.2g}/s")
    if (eta := batch["eta"]) is not None:
        latest = clock(eta["latest_s"]) if eta["latest_s"] is not None else "?"
        parts.append(f"{clock(eta['likely_s'])} left ({clock(eta['earliest_s'])} to {latest})")
    return "; ".join(part for part in parts if part)


def show(batch: dict[str, Any], as_json: bool) -> None:
    """How a batch stands, what failed, and where the results are."""
    if as_json:
        typer.echo(json.dumps(batch))
        return
    stands = "cancelling" if batch["cancel_requested"] and batch["finished_at"] is None else batch["status"]
    typer.echo(f"{batch['batch_id']} {stands} {batch['org']}: {progress_line(batch)}")
    for one in batch["failures"]:
        typer.echo(f"  {one['items']:>8} {one['status']} {one['code']}: {printable(one['message'])}")
    if batch["cost"] is not None:
        typer.echo(f"cost {money(batch['cost'], batch['currency'])}")
    if batch["finished_at"] is not None:
        typer.echo(f"results in {batch['results']}")
    if batch["error"]:
        typer.echo(f"error: {batch['error']['code']}: {printable(batch['error']['message'])}", err=True)


def show_rows(table: "pa.Table", as_json: bool) -> None:
    """Every row: one line for a person, all of its columns as JSON."""
    if as_json:
        typer.echo(json.dumps(table.to_pylist(maps_as_pydicts="lossy")))
        return
    for batch in table.to_batches(max_chunksize=1000):
        for row in batch.to_pylist():
            typer.echo(_row(row))


def _row(row: dict[str, Any]) -> str:
    parts = [row["status"], printable(row["source"] or f"line {row['line']}")]
    if row["error_code"]:
        parts.append(f"{row['error_code']}: {printable(row['error_message'] or '')}")
    if row["output"]:
        size = f" {row['width']}×{row['height']}" if row["width"] else ""
        stored = f" {row['bytes']:,} bytes" if row["bytes"] is not None else ""
        vmaf = f" VMAF {row['vmaf_mean']:.1f}" if row["vmaf_mean"] is not None else ""
        parts.append(f"{row['output_kind']} {row['output']} {row['codec']}{size}{stored}{vmaf}")
    return "  ".join(parts)


def _counts(batch: dict[str, Any]) -> str:
    return ", ".join(f"{batch['counts'][name]} {name}" for name in SHOWN if batch["counts"][name])


def money(amount: float, currency: str) -> str:
    """An amount to three digits, as long as it is small."""
    return f"{amount:,.2f} {currency}" if amount >= 1 else f"{amount:.3g} {currency}"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

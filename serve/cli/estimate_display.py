"""What a batch would be of, and what it would take, on a terminal."""

import json
from dataclasses import asdict
from typing import Any

import typer

from cluster.batches.surveying import Found
from serve.cli.batch_display import clock, money
from serve.cli.printable import printable
from serve.cli.report_table import counted

GB, MB = 1_000_000_000, 1_000_000


def sources_of(found: Found) -> list[dict[str, Any]]:
    """The sources that can be turned, as the farm is asked about them."""
    return [{"items": alike.items} | asdict(alike.shape) for alike in found.forms.all()]


def show_survey(found: Found, estimate: dict[str, Any] | None, as_json: bool) -> None:
    """What a batch would be of; with `estimate`, the farm's answer, also what it would take."""
    if as_json:
        told = {name: getattr(found, name) for name in found.__dataclass_fields__ if name != "forms"}
        typer.echo(json.dumps(told if estimate is None else told | {"estimate": estimate}))
        return
    typer.echo(f"{counted(found.items, 'item')}, {found.bytes:,} bytes")
    for kind, count in sorted(found.kinds.items()):
        hours = f", {found.seconds[kind] / 3600:.2f} hours" if kind != "image" else ""
        typer.echo(f"  {count:>8} {kind}{hours}")
    if found.unclear:
        typer.echo(f"  {found.unclear:>8} cannot be told by their first and last bytes")
    for code, count in found.refused.most_common():
        typer.echo(f"  {count:>8} refused {code}, such as {printable(found.examples[code])}")
    if estimate is not None:
        for line in _lines(estimate, found.unclear + found.refused.total()):
            typer.echo(line)


def _lines(estimate: dict[str, Any], left_out: int) -> list[str]:
    """The estimate, a line for each figure, and what it rests on; the farm was not asked about `left_out` more."""
    lines = [f"estimate for {estimate['recipe']}, if nothing of it had been made before:"]
    if estimate["unsuited"]:
        lines.append(f"  {counted(estimate['unsuited'], 'item')} left out: the recipe makes nothing of such")
    if left_out:
        lines.append(f"  {counted(left_out, 'item')} in no figure: refused, or not to be told")
    lines.append(f"  CPU      {_ranged(estimate['cpu_hours'], _hours)}")
    if estimate["gpu_hours"] > 0:
        lines.append(f"  GPU      {_hours(estimate['gpu_hours'])}")
    lanes = sum(estimate["lanes"].values())
    if estimate["wall_s"] is None:
        lines.append("  time     unknown: the farm has no lanes now")
    else:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(estimate["lanes"].items()))
        taken = _ranged(estimate["wall_s"], clock)
        lines.append(f"  time     {taken} on {counted(lanes, 'lane')} ({kinds}), nothing else running")
    lines.append(f"  outputs  {_ranged(estimate['output_bytes'], _size)}")
    if (currency := estimate["currency"]) is None:
        lines.append("  cost     unknown: the recipe has no prices")
    else:
        lines.append(f"  cost     {_ranged(estimate['cost'], lambda amount: money(amount, currency))}")
        if (kept := estimate["storage_month"]) is not None:
            lines.append(f"  keeping  {_ranged(kept, lambda amount: money(amount, currency))} a month")
    return [*lines, *_basis(estimate)]


def _basis(estimate: dict[str, Any]) -> list[str]:
    if not estimate["known_share"]:
        return ["by built-in figures: this farm has made nothing like it yet; a range is half to double"]
    known, jobs = round(100 * estimate["known_share"]), f"{estimate['history_jobs']:,.0f}"
    rest = "" if known == 100 else "; the rest by built-in figures"
    lines = [f"by what this farm measured in {jobs} jobs ({known} % of the CPU time{rest})"]
    for name, past in (("CPU time", estimate["past_cpu"]), ("bytes", estimate["past_bytes"])):
        if past is None:
            lines.append(f"{name}: too few past estimates to compare; its range is half to double")
        else:
            lines.append(
                f"{name}: past estimates of single jobs were off by ×/÷ {past['median']:.2f} in the median, "
                f"four of five between ×{past['low']:.2f} and ×{past['high']:.2f} (n = {past['jobs']:.0f})"
            )
    return lines


def _ranged(one: dict[str, float], told: Any) -> str:
    return f"{told(one['likely'])} ({told(one['low'])} to {told(one['high'])})"


def _hours(hours: float) -> str:
    return f"{hours:,.2f} h" if hours >= 0.1 else f"{hours * 3600:,.1f} s"


def _size(size: float) -> str:
    return f"{size / GB:,.1f} GB" if size >= GB else f"{size / MB:,.2f} MB"

"""Commands about batches: run, status, results, cancel, retry; against a running farm."""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

import typer

from cluster.settings import load
from serve.batch_results import OPEN, batch_table, download, follow
from serve.cli.batch_display import progress_line, show, show_rows
from serve.cli.estimate_display import show_survey, sources_of
from serve.cli.exits import ExitCode
from serve.cli.media_commands import output_uri_of, plain
from serve.cli.remote_commands import REJECTIONS, with_remedy
from serve.client import FarmClient
from serve.errors import FarmRefused, UsageError
from serve.settings import ClientSettings

if TYPE_CHECKING:
    from cluster.batches.surveying import Found

LINE_S = 5.0

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
BatchId = Annotated[str, typer.Argument(help="As `farm batch run` printed it.", metavar="BATCH")]
Wait = Annotated[bool, typer.Option(help="Follow the batch to its end.")]

KINDS = ("auto", "video", "audio", "image")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    batch = typer.Typer(help="Many sources, turned alike.", no_args_is_help=True)
    batch.command()(run)
    batch.command()(status)
    batch.command()(results)
    batch.command()(cancel)
    batch.command()(retry)
    app.add_typer(batch, name="batch")


def run(
    source: Annotated[
        str,
        typer.Argument(
            help="A manifest (.parquet, .jsonl, .csv) or a prefix (ends with /, or has a * in it): s3://…, file://…, "
            "or a path that the farm can read.",
            metavar="MANIFEST|PREFIX",
        ),
    ],
    recipe: Annotated[str, typer.Option(help="What to make; see `farm recipes list`.")] = "standard",
    org: Annotated[str, typer.Option(help="Whose it is; the key's own org when left out.")] = "",
    out: Annotated[
        str, typer.Option(help="Place for the Parquet results; the farm's storage when left out.", metavar="URI")
    ] = "",
    kind: Annotated[str, typer.Option(help="auto, video, audio or image.")] = "auto",
    vmaf: Annotated[str, typer.Option(help="off, sampled or full; as the recipe says when left out.")] = "",
    priority: Annotated[str, typer.Option(help="interactive, normal or bulk.")] = "bulk",
    max_items: Annotated[int | None, typer.Option(min=1, help="The first N items only.", metavar="N")] = None,
    on_error: Annotated[
        Literal["skip", "stop"], typer.Option(help="Whether one failed item ends the taking of further ones.")
    ] = "skip",
    shard: Annotated[int | None, typer.Option(min=1, help="Rows of one Parquet file.", metavar="N")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the last batch of this command, also once it has ended.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make nothing: look at the sources' headers, from this machine.")
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Make nothing: as --dry-run, and ask the farm what it would take.")
    ] = False,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Turn everything that a manifest or a prefix names (FARM_URL, FARM_API_KEY).

    Run again after it was broken off, it goes on with the same batch; with --resume also with one that has ended.
    """
    uri = _uri(source)
    if estimate:
        with FarmClient(load(ClientSettings)) as farm:
            wanted = {"recipe": recipe} | ({"vmaf": vmaf} if vmaf else {})
            try:
                farm.estimate(wanted | {"sources": []})  # better refused before all headers are looked at
                found = _looked_over(uri, org or "default", kind, max_items)
                told = farm.estimate(wanted | {"sources": sources_of(found)})
            except FarmRefused as error:
                raise with_remedy(error) from None
            show_survey(found, told, as_json)
        return
    if dry_run:
        show_survey(_looked_over(uri, org or "default", kind, max_items), None, as_json)
        return
    body: dict[str, Any] = {"source": uri, "recipe": recipe, "kind": kind, "priority": priority, "on_error": on_error}
    given = {"org": org, "vmaf": vmaf, "results": output_uri_of(out) if out else "", "resume": resume}
    body |= {key: value for key, value in given.items() if value}
    body |= {key: value for key, value in (("max_items", max_items), ("shard_rows", shard)) if value is not None}
    with FarmClient(load(ClientSettings)) as farm:
        try:
            batch = farm.create_batch(body)
        except FarmRefused as error:
            raise with_remedy(error) from None
        _follow_and_show(farm, batch, wait, as_json)


def status(batch_id: BatchId, wait: Wait = False, as_json: AsJson = False) -> None:
    """Say how far a batch is, and what failed, by reason."""
    with FarmClient(load(ClientSettings)) as farm:
        _follow_and_show(farm, farm.batch(batch_id), wait, as_json)


def retry(batch_id: BatchId, wait: Wait = False, as_json: AsJson = False) -> None:
    """Try what failed, was cancelled or refused again, and go on where the batch broke off."""
    with FarmClient(load(ClientSettings)) as farm:
        _follow_and_show(farm, farm.retry_batch(batch_id), wait, as_json)


def cancel(batch_id: BatchId, as_json: AsJson = False) -> None:
    """Take no further item, and cancel what runs; what was made stays."""
    with FarmClient(load(ClientSettings)) as farm:
        show(farm.cancel_batch(batch_id), as_json)


def results(
    batch_id: BatchId,
    out: Annotated[
        Path | None, typer.Option(help="Folder that gets the Parquet files, instead of printing rows.", metavar="DIR")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what came of each item, one line for each output, or download it as Parquet."""
    if out is None:
        show_rows(batch_table(batch_id), as_json)
        return
    output_uri_of(str(out))  # made, and proven to take files
    with FarmClient(load(ClientSettings)) as farm:
        paths = download(farm, batch_id, out)
    told = [str(path) for path in paths]
    typer.echo(json.dumps({"files": told}) if as_json else "\n".join(told))


def _follow_and_show(farm: FarmClient, batch: dict[str, Any], wait: bool, as_json: bool) -> None:
    if wait and batch["status"] in OPEN:
        typer.echo(f"batch {batch['batch_id']}; it goes on without this command", err=True)
        batch = _followed(farm, batch)
    show(batch, as_json)
    raise typer.Exit(_code(batch))


def _followed(farm: FarmClient, batch: dict[str, Any]) -> dict[str, Any]:
    """The batch once it has ended; how far it is goes to stderr."""
    told, told_at = "", 0.0

    def tell(batch: dict[str, Any]) -> None:
        nonlocal told, told_at
        line = progress_line(batch)
        if line != told and time.monotonic() - told_at > LINE_S:
            print(line, file=sys.stderr, flush=True)
            told, told_at = line, time.monotonic()

    return follow(farm, batch, tell)


def _code(batch: dict[str, Any]) -> int:
    """0 while it runs and when all was made, 3 when a part was, else by the reason for which nothing was."""
    counts, failures = batch["counts"], batch["failures"]
    if batch["status"] in OPEN:
        return ExitCode.DONE
    if batch["status"] == "ready" and not failures and not counts["cancelled"]:
        return ExitCode.DONE
    if counts["ready"] or counts["current"]:
        return ExitCode.PARTLY
    codes = [one["code"] for one in failures] or [(batch["error"] or {}).get("code", "")]
    return ExitCode.REJECTED if all(code in REJECTIONS for code in codes) else ExitCode.INFRASTRUCTURE


def _uri(source: str) -> str:
    if "://" in source:
        return source
    path = plain(source)
    if "*" in source:
        return f"file://{quote(str(path), safe='/*')}"
    # A plain path means this machine, where it can be looked at before the farm is asked.
    if not path.exists():
        raise UsageError(f"{source} does not exist")
    return path.as_uri() + ("/" if path.is_dir() else "")


def _looked_over(uri: str, org: str, kind: str, most: int | None) -> "Found":
    from cluster.batches.surveying import look_over
    from cluster.farm_settings import FarmSettings

    if kind not in KINDS:
        raise UsageError(f"--kind {kind}: it is one of {', '.join(KINDS)}")

    def tell(looked_at: int) -> None:
        print(f"looked at {looked_at}", file=sys.stderr, flush=True)

    return look_over(uri, org, kind, FarmSettings.load(), most, tell)

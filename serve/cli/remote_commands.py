"""Commands that talk to a running farm: submit, status, cancel."""

import json
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import typer
from rich.console import Console

from cluster.errors import ForbiddenUri
from cluster.settings import load
from pipelines.errors import RejectedMedia
from serve.cli.exits import ExitCode
from serve.cli.media_commands import plain
from serve.cli.progress import display
from serve.cli.report_table import print_places, print_report
from serve.client import FarmClient
from serve.errors import FarmRefused, UsageError
from serve.settings import ClientSettings

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
JobId = Annotated[str, typer.Argument(help="As `farm submit` printed it.", metavar="JOB")]

REJECTIONS = {cls.code for cls in RejectedMedia.every_class()}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(submit)
    app.command()(status)
    app.command()(cancel)


def submit(
    source: Annotated[str, typer.Argument(help="s3://… or file://… or a path that the farm can read.", metavar="URI")],
    media_id: Annotated[str, typer.Option(help="Name of the media item; the file's name when left out.")] = "",
    org: Annotated[str, typer.Option(help="Whose it is; the key's own org when left out.")] = "",
    recipe: Annotated[str, typer.Option(help="What to make; see `farm recipes list`.")] = "standard",
    vmaf: Annotated[str, typer.Option(help="off, sampled or full; as the recipe says when left out.")] = "",
    kind: Annotated[str, typer.Option(help="auto, video, audio or image.")] = "auto",
    priority: Annotated[str, typer.Option(help="interactive, normal or bulk.")] = "normal",
    callback_url: Annotated[str, typer.Option(help="Told, signed, when the job has ended.")] = "",
    metadata: Annotated[list[str] | None, typer.Option(help="name=value, carried along; may be repeated.")] = None,
    idempotency_key: Annotated[str, typer.Option(help="The same key gives the same job again.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Hand an upload to a running farm (FARM_URL, FARM_API_KEY)."""
    body: dict[str, Any] = {"source": _uri(source), "recipe": recipe, "kind": kind, "priority": priority}
    body |= {name: value for name, value in (("org", org), ("vmaf", vmaf), ("callback_url", callback_url)) if value}
    if metadata:
        body["metadata"] = dict(_pair(entry) for entry in metadata)
    with FarmClient(load(ClientSettings)) as farm:
        try:
            job_id = farm.complete(media_id or _media_id(source), body, idempotency_key or None)["job_id"]
        except FarmRefused as error:
            raise with_remedy(error) from None
        if wait and not as_json:
            typer.echo(f"job {job_id}", err=True)
        job = _follow(farm, job_id, as_json) if wait else farm.job(job_id)
    show_job(job, as_json)
    raise typer.Exit(_code(job))


def status(
    job_id: JobId,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say how far a job is."""
    with FarmClient(load(ClientSettings)) as farm:
        job = _follow(farm, job_id, as_json) if wait else farm.job(job_id)
    show_job(job, as_json)
    raise typer.Exit(_code(job))


def cancel(job_id: JobId, as_json: AsJson = False) -> None:
    """Stop a job; its media processes end within two seconds."""
    with FarmClient(load(ClientSettings)) as farm:
        show_job(farm.cancel(job_id), as_json)


def _follow(farm: FarmClient, job_id: str, as_json: bool) -> dict[str, Any]:
    with display(as_json) as shown:
        for kind, data in farm.events(job_id):
            if data.get("progress"):
                shown.update(data["progress"])
            if kind == "released" and (why := data["data"].get("error")):
                shown.say(f"waiting: {why['code']}: {why['message']}")
    job = farm.job(job_id)
    if job["status"] == "ready" and not as_json:
        media = farm.media(job["media_id"], job["org"])
        print_report(media["report"], Console())
        print_places(media["artifacts"])
    return job


def _code(job: dict[str, Any]) -> int:
    """A job that has failed ends the command as its error would have ended it here; a cancelled one made nothing."""
    if job["status"] == "failed":
        return ExitCode.REJECTED if job["error"]["code"] in REJECTIONS else ExitCode.INFRASTRUCTURE
    return ExitCode.INFRASTRUCTURE if job["status"] == "cancelled" else ExitCode.DONE


def show_job(job: dict[str, Any], as_json: bool) -> None:
    """Print how a job stands."""
    if as_json:
        typer.echo(json.dumps(job))
        return
    stands = "cancelling" if job["cancel_requested"] and job["status"] == "processing" else job["status"]
    line = f"{job['job_id']} {stands} {job['org']}/{job['media_id']}"
    if job["status"] == "processing" and job["progress"]:
        line += f" {job['progress']['stage']} {job['progress']['percent']:.0f} %"
    typer.echo(line)
    if job["error"]:
        typer.echo(f"error: {job['error']['code']}: {job['error']['message']}", err=True)


def _uri(source: str) -> str:
    if "://" in source:
        return source
    path = plain(source)
    # A plain path means this machine, where it can be looked at before the farm is asked.
    if not path.exists():
        raise UsageError(f"{source} does not exist")
    return path.as_uri()


def with_remedy(error: FarmRefused) -> FarmRefused:
    """The refusal with what its reader can do about it, where that is a setting of the farm."""
    if error.code != ForbiddenUri.code or "FARM_" in error.public_message:  # it names the setting itself
        return error
    message = f"{error.public_message}; the farm reads only below the places that its FARM_SOURCE_PREFIXES lists"
    return FarmRefused(message, status=error.status, code=error.code, retryable=error.retryable)


def _media_id(source: str) -> str:
    """A name that is allowed, made of the source's own."""
    name = source.rpartition("/")[2]
    stem = Path(unquote(name) if source.startswith("file://") else name).stem
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip(".-")
    if not stem:
        raise UsageError("the source has no name to call the media item by; give --media-id")
    return stem[:128]


def _pair(entry: str) -> tuple[str, str]:
    name, found, value = entry.partition("=")
    if not found:
        raise UsageError(f"--metadata {entry} is not name=value")
    return name, value

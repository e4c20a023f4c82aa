"""Commands that work on media here and now: probe, transcode, verify."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from cluster.errors import ChecksumMismatch, ObjectExists
from cluster.farm_settings import FarmSettings
from cluster.publish import MANIFEST, clear_unfinished
from cluster.storage import Storage, open_storage
from cluster.storage.urls import parse_place
from cluster.verify import verify_below
from ladders.model import Recipe
from pipelines.facts import MediaInfo
from pipelines.signatures import HEAD_BYTES, is_picture
from pipelines.wire import to_wire
from serve.cli.exits import report
from serve.cli.printable import printable
from serve.cli.progress import display
from serve.cli.report_table import counted, made_of, print_report, print_stages
from serve.errors import UsageError
from serve.settings import known_recipes

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Vmaf = Literal["off", "sampled", "full"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(probe)
    app.command()(transcode)
    app.command()(verify)


def probe(
    file: Annotated[Path, typer.Argument(help="A local file.", metavar="FILE")],
    as_json: AsJson = False,
) -> None:
    """Say what a file is, or why it is refused."""
    from cluster.local import inspect_file

    must_be_a_file(file)
    with file.open("rb") as opened:
        if is_picture(opened.read(HEAD_BYTES)):
            _probe_picture(file, as_json)
            return
    inspected = inspect_file(file, settings=FarmSettings.load())
    if as_json:
        index = inspected.index
        frames = (
            None
            if index is None
            else {
                "frames": len(index.pts),
                "keyframes": len(index.keys),
                "chunkable": index.chunkable,
                "why_not_chunkable": index.why_not_chunkable,
            }
        )
        typer.echo(json.dumps({"info": to_wire(inspected.info), "index": frames}))
        return
    for line in _facts(inspected.info):
        typer.echo(line)
    if inspected.index is not None:
        index = inspected.index
        cut = "can be cut into chunks" if index.chunkable else f"one chunk: {index.why_not_chunkable}"
        typer.echo(f"frames     {len(index.pts)}, {len(index.keys)} of them keyframes; {cut}")


def _probe_picture(file: Path, as_json: bool) -> None:
    from cluster.local import look_at_file

    looked = look_at_file(file, settings=FarmSettings.load())
    if as_json:
        typer.echo(json.dumps(to_wire(looked)))
        return
    header, exif = looked.header, looked.exif
    width, height = header.upright_size
    more = [f"{header.frames} frames"] if header.frames > 1 else []
    more += ["with alpha"] if header.has_alpha else []
    colors = header.profile or ("sRGB" if header.is_srgb else "no profile")
    typer.echo(
        f"picture    {header.format} {width}×{height}, {header.bits} bits {header.color_model}, {colors}"
        + "".join(f", {one}" for one in more)
    )
    for name, value in to_wire(exif).items():
        if value is not None and name != "location":
            typer.echo(f"{name:<10} {value}")
    if exif.location is not None:
        typer.echo(f"location   {exif.location.latitude_deg:.5f}, {exif.location.longitude_deg:.5f}")


def _facts(info: MediaInfo) -> Iterator[str]:
    yield f"container  {info.container}, {info.size_bytes:,} bytes, {info.duration_s:.3f} s"
    if (video := info.video) is not None:
        width, height = video.display_size
        yield (
            f"video      {video.codec} {width}×{height}, {float(video.frame_rate):.3f} frames/s, {video.pixel_format}, "
            f"{video.dynamic_range}, turned by {video.rotation_deg}°, {video.field_order}"
        )
    for track in info.audio:
        yield f"audio      {track.codec} {track.layout} {track.sample_rate_hz} Hz, language {track.language}"
    for other in info.other_streams:
        yield f"left out   {other}"


def transcode(
    source: Annotated[str, typer.Argument(help="A local file, or s3://bucket/key.", metavar="INPUT")],
    out: Annotated[str, typer.Option(help="Folder or s3://bucket/prefix that gets the outputs.", metavar="DIR|URI")],
    recipe: Annotated[str, typer.Option(help="Name or file; see `farm recipes list`.")] = "standard",
    vmaf: Annotated[Vmaf | None, typer.Option(help="How much to measure; as the recipe says when left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn one file into a ladder on this machine, without a farm running."""
    from cluster.local import run_local

    chosen = known_recipes().find(recipe)
    if vmaf is not None:
        chosen = chosen.model_copy(update={"vmaf": vmaf})
    if "://" not in source:
        must_be_a_file(Path(source))
    settings = FarmSettings.load()
    output_uri = output_uri_of(out)
    storage = open_storage(output_uri, settings.storage)
    clear_unfinished(storage)
    _refuse_other_media(storage, chosen, output_uri, out)
    with display(as_json) as shown:
        made = run_local(
            source, chosen, output_uri, settings=settings, on_progress=lambda now: shown.update(now.snapshot())
        )
    if as_json:
        del made["figures"]  # of use to a farm alone
        typer.echo(json.dumps({"output": output_uri, "manifest": storage.url(made["manifest_key"]), **made}))
        return
    console = Console()
    print_report(made["report"], console)
    print_stages(made["report"], console)
    typer.echo(f"{made_of(made['report'])}, manifest {storage.url(made['manifest_key'])}")


def verify(
    where: Annotated[
        str,
        typer.Argument(
            help="A manifest, its folder, or a folder, file:// or s3:// place that holds many.",
            metavar="MANIFEST|DIR|URI",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Read back all that a manifest lists, or all manifests below a place, and compare sizes and SHA-256."""
    uri = where if "://" in where else plain(where).as_uri()
    uri = uri.removesuffix("/").removesuffix("/" + MANIFEST)
    place = parse_place(uri)
    if place.scheme == "file" and not Path(place.path).exists():
        raise UsageError(f"{where} does not exist")
    found = verify_below(open_storage(uri, FarmSettings.load().storage))
    if found.damaged.keys() == {MANIFEST} and not found.artifacts:
        raise UsageError(f"the {MANIFEST} in {where} is not a manifest of the farm")
    told = {
        "place": uri, "manifests": found.manifests, "artifacts": found.artifacts, "damaged": list(found.damaged),
    }  # fmt: skip
    if not found.damaged:
        manifests = "the manifest says" if found.manifests == 1 else f"{found.manifests} manifests say"
        typer.echo(json.dumps(told) if as_json else f"{counted(found.artifacts, 'artifact')} as {manifests}")
        return
    for key, problem in found.damaged.items():
        typer.echo(f"{printable(key)}: {problem}", err=True)
    error = ChecksumMismatch(f"{len(found.damaged)} of {counted(found.artifacts, 'artifact')} damaged or missing")
    error.retryable = False  # a farm may have read an object badly; what was looked at here stays damaged
    raise typer.Exit(report(error, as_json, **told))


def plain(path: str) -> Path:
    """`path` from the root, without `..`, which no URI of ours may have."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links, and name another place


def local_folder(uri: str) -> Path | None:
    """The folder that a storage URI names; None when it is none of this machine's."""
    place = parse_place(uri)
    return Path(place.path) if place.scheme == "file" else None


def must_be_a_file(path: Path) -> None:
    """UsageError unless `path` is a file that can be read."""
    if path.is_dir():
        raise UsageError(f"{path} is a directory, not a file")
    if not path.exists():
        raise UsageError(f"{path} does not exist")
    if not path.is_file():  # a pipe or device would be waited for, or read for ever
        raise UsageError(f"{path} is not a regular file")
    if not os.access(path, os.R_OK):
        raise UsageError(f"{path} cannot be read: permission denied")


def output_uri_of(out: str) -> str:
    """`out` as a storage URI; a local folder is made, and proven to take files."""
    if not out.strip():
        raise UsageError("--out is empty; name a folder or s3://bucket/prefix")
    if "://" in out:
        return out
    folder = plain(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Writing is the only honest test: permissions say nothing of a read-only or full disk.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"farm")
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{out} is not a folder") from None
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from None
    return folder.as_uri()


def _occupied(storage: Storage, output_uri: str) -> bool:
    """Whether anything is there that an output could be mixed up with; names with a dot in front never are outputs."""
    if (folder := local_folder(output_uri)) is not None:  # also links and folders, which are no objects
        return any(not entry.name.startswith(".") for entry in folder.iterdir())
    return next(iter(storage.list()), None) is not None


def _refuse_other_media(storage: Storage, recipe: Recipe, output_uri: str, out: str) -> None:
    """Say before the work, not after it, that `out` holds something else; it also proves the storage."""
    if storage.stat(MANIFEST) is None:
        if _occupied(storage, output_uri):
            raise UsageError(f"{out} holds other files already; choose an empty folder")
        return
    try:
        found = json.loads(storage.get_bytes(MANIFEST))["recipe"]["digest"]
    except (ValueError, KeyError, TypeError):
        found = None
    if found != recipe.digest:
        raise ObjectExists(f"{out} holds other media already: choose another place or remove it")

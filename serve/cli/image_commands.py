"""Pictures here and now: resize."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cluster.errors import InfraError, ObjectExists
from cluster.farm_settings import FarmSettings
from cluster.images.local import turn_here
from cluster.local import local_work
from cluster.publish import MANIFEST, clear_unfinished
from cluster.storage import open_storage
from cluster.storage.base import sha256_of
from cluster.storage.os_errors import typed_os_errors
from cluster.storage.sources import source_of
from cluster.work import Work
from ladders.errors import FarmError
from ladders.model import Recipe
from pipelines.errors import MediaError, UnsupportedMedia
from serve.cli.exits import ExitCode, exit_code
from serve.cli.image_inputs import files_of
from serve.cli.media_commands import AsJson, local_folder, output_uri_of
from serve.cli.printable import printable, valid
from serve.cli.progress import Counter, counting
from serve.cli.report_table import counted
from serve.settings import known_recipes


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(resize)


@dataclass(slots=True)
class Tally:
    """What became of the pictures, shown as it becomes known."""

    shown: Counter
    made: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    failed: dict[str, FarmError] = field(default_factory=dict)

    def is_made(self, name: str) -> None:
        """It was made now."""
        self.made.append(name)
        self.shown.advance()

    def was_made(self, name: str) -> None:
        """It was made by an earlier run."""
        self.already.append(name)
        self.shown.advance()

    def has_failed(self, name: str, error: FarmError) -> None:
        """Nothing was made of it."""
        self.failed[name] = error
        self.shown.say(printable(f"error: {error.code}: {name}: {error.public_message}"))
        self.shown.advance()

    @property
    def code(self) -> ExitCode:
        """Partly done when some failed; that error's own code when all did."""
        if not self.failed:
            return ExitCode.DONE
        if self.made or self.already:
            return ExitCode.PARTLY
        return max(exit_code(error) for error in self.failed.values())


def resize(
    inputs: Annotated[list[Path], typer.Argument(help="Pictures, and folders of them.", metavar="FILE|DIR…")],
    out: Annotated[
        str, typer.Option(help="Folder or s3://bucket/prefix; each picture gets a folder.", metavar="DIR|URI")
    ],
    recipe: Annotated[str, typer.Option(help="Name or file; see `farm recipes list`.")] = "web",
    as_json: AsJson = False,
) -> None:
    """Make the variants of many pictures on this machine, without a farm running; a second run does what is left."""
    chosen = _of_pictures(recipe)
    settings = FarmSettings.load()
    output_uri = output_uri_of(out)
    files = files_of(inputs, local_folder(output_uri))
    with counting(as_json, len(files)) as shown:
        tally = Tally(shown)
        works = list(_wanted(files, output_uri, chosen, settings, tally))
        _turn(works, settings, tally)
    _tell(tally, output_uri, as_json)
    raise typer.Exit(tally.code)


def _of_pictures(recipe: str) -> Recipe:
    chosen = known_recipes().find(recipe)
    if chosen.image is None:
        raise UnsupportedMedia(f"the recipe {chosen.name} has no image part: choose another, such as web")
    return chosen


def _wanted(
    files: dict[str, Path], output_uri: str, recipe: Recipe, settings: FarmSettings, tally: Tally
) -> Iterator[Work]:
    """The work that is left: what was made of the same bytes by the same recipe stands."""
    for name, path in files.items():
        try:
            place = f"{output_uri}/{quote(os.fsencode(name))}"
            with typed_os_errors(path):
                if _is_made(place, path, recipe, settings):
                    tally.was_made(name)
                    continue
            found = source_of(str(path), settings.storage)
        except (MediaError, InfraError) as error:
            tally.has_failed(name, error)
        else:
            yield local_work(found, recipe, place, place, settings, job_id=name)


def _turn(works: list[Work], settings: FarmSettings, tally: Tally) -> None:
    def done(name: str, outcome: dict[str, Any]) -> None:
        if "result" in outcome:
            tally.is_made(name)
        else:
            tally.has_failed(name, _error(outcome))

    try:
        turn_here(works, settings, done)
    finally:
        for work in works:
            _forget_empty(work.output_uri)


def _is_made(place: str, path: Path, recipe: Recipe, settings: FarmSettings) -> bool:
    """ObjectExists when the place holds something else."""
    if (folder := local_folder(place)) is not None and not folder.exists():
        return False
    storage = open_storage(place, settings.storage)
    clear_unfinished(storage)
    if storage.stat(MANIFEST) is None:
        return False
    try:
        manifest = json.loads(storage.get_bytes(MANIFEST))
        digest, sha256 = manifest["recipe"]["digest"], manifest["report"]["source"]["sha256"]
    except (ValueError, KeyError, TypeError):
        digest = sha256 = None
    if digest == recipe.digest and sha256 == sha256_of(path):
        return True
    raise ObjectExists(f"{place} holds other pictures already: choose another folder or remove it")


def _error(outcome: dict[str, Any]) -> FarmError:
    if "media_error" in outcome:
        return MediaError.from_wire(outcome["media_error"])
    if "infra_error" in outcome:
        return InfraError.from_wire(outcome["infra_error"])
    raise outcome["bug"]


def _forget_empty(place: str) -> None:
    """A picture of which nothing was made leaves no empty folder behind."""
    folder = local_folder(place)
    if folder is not None:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _tell(tally: Tally, output_uri: str, as_json: bool) -> None:
    if as_json:
        failed = [
            {"file": valid(name), "code": error.code, "message": valid(error.public_message)}
            for name, error in tally.failed.items()
        ]
        # By name: pictures are ready in no order.
        made, already = ([valid(name) for name in sorted(names)] for names in (tally.made, tally.already))
        typer.echo(json.dumps({"output": valid(output_uri), "made": made, "already": already, "failed": failed}))
        return
    line = f"{counted(len(tally.made), 'picture')} made"
    if tally.already:
        line += f", {len(tally.already)} made before"
    if tally.failed:
        line += f", {len(tally.failed)} failed"
    typer.echo(printable(f"{line}; see {output_uri}"))

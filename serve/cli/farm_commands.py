"""Commands about the farm itself: doctor, up, recipes, keys, db."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
import yaml
from rich.console import Console

from ladders import catalog
from ladders.model import AudioRendition, Recipe
from pipelines.audio_encode import check_track
from pipelines.encoders import check_options, every_plan
from pipelines.errors import MediaError
from pipelines.plan import AudioTrackPlan
from serve.auth import new_key
from serve.cli.exits import ExitCode
from serve.cli.report_table import counted
from serve.errors import UsageError
from serve.interrupts import SIGNAL_EXIT, Stopped
from serve.settings import known_recipes, quiet_encoders

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(doctor)
    app.command()(up)
    recipes = typer.Typer(help="What can be made.", no_args_is_help=True)
    recipes.command("list")(recipes_list)
    recipes.command("check")(recipes_check)
    recipes.command("show")(recipes_show)
    app.add_typer(recipes, name="recipes")
    keys = typer.Typer(help="Who may ask.", no_args_is_help=True)
    keys.command("new")(keys_new)
    app.add_typer(keys, name="keys")
    database = typer.Typer(help="The job store.", no_args_is_help=True)
    database.command("upgrade")(db_upgrade)
    app.add_typer(database, name="db")


def doctor(
    cluster: Annotated[bool, typer.Option("--cluster", help="The running farm that this node belongs to.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what this machine can do, and why not where it cannot; or what the cluster is doing."""
    if cluster:
        _doctor_cluster(as_json)
        return
    from serve.doctor import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps([finding.to_wire() for finding in findings]))
    else:
        console = Console(highlight=False)
        for finding in findings:
            mark = "[green]yes[/]" if finding.ok else ("[red]no [/]" if finding.needed else "[yellow]no [/]")
            console.print(f"{mark}  {finding.name:<12} ", end="")
            console.print(finding.reason, markup=False, soft_wrap=True)
    if any(finding.needed and not finding.ok for finding in findings):
        raise typer.Exit(ExitCode.INFRASTRUCTURE)


def _doctor_cluster(as_json: bool) -> None:
    from serve.cli.cluster_table import print_cluster
    from serve.cluster_doctor import examine_cluster

    state = examine_cluster()
    if as_json:
        typer.echo(json.dumps(state.to_wire()))
    else:
        print_cluster(state, Console(highlight=False, soft_wrap=True))
    if state.problems:
        raise typer.Exit(ExitCode.INFRASTRUCTURE)


def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the API, on loopback.")] = 8000,
    data: Annotated[Path | None, typer.Option(help="Folder for the job store and outputs.", metavar="DIR")] = None,
) -> None:
    """Run the whole farm on this machine until Ctrl-C: Ray, the dispatcher and the API."""
    from cluster.farm_settings import FarmSettings
    from cluster.monitoring.logs import log_as_set_up
    from serve.embedded import EmbeddedFarm

    typer.echo("farm: starting Ray, the dispatcher and the API …")
    try:
        embedded = EmbeddedFarm(port=port, data_dir=data)
        log_as_set_up(FarmSettings.load(), embedded.settings)
        with embedded as farm:
            typer.echo(f"farm: the API is at {farm.url}, outputs go to {farm.storage_uri}")
            typer.echo("farm: sources may come from " + ", ".join(farm.source_prefixes))
            typer.echo("farm: try `farm submit FILE --wait`; Ctrl-C ends the farm, accepted jobs are kept")
            farm.serve_forever(lambda line: typer.echo(f"farm: {line}"))
    except Stopped as stop:
        raise typer.Exit(SIGNAL_EXIT + stop.number) from None


def recipes_list(as_json: AsJson = False) -> None:
    """Name every recipe."""
    recipes = known_recipes()
    found = [recipes.get(name) for name in recipes.names]
    if as_json:
        typer.echo(json.dumps([{"name": recipe.name, "description": recipe.description} for recipe in found]))
        return
    for recipe in found:
        typer.echo(f"{recipe.name:<12} {recipe.description}")


def recipes_show(
    recipe: Annotated[str, typer.Argument(help="Name or file.")],
    as_json: AsJson = False,
) -> None:
    """Print a recipe with every default filled in."""
    values = known_recipes().find(recipe).model_dump(mode="json")
    typer.echo(json.dumps(values) if as_json else yaml.safe_dump(values, sort_keys=False).rstrip())


def recipes_check(
    recipe: Annotated[
        list[str] | None, typer.Argument(help="Names or files; every known recipe when left out.")
    ] = None,
) -> None:
    """Read recipes and really open every encoder that they ask for."""
    quiet_encoders()
    broken = 0
    recipes = known_recipes()
    for name in recipe or recipes.names:
        try:
            opened = _open_encoders(recipes.find(name))
        except (catalog.LadderError, MediaError) as error:
            broken += 1
            typer.echo(f"{name}: {error.code}: {_without(name, error)}", err=True)
        else:
            typer.echo(f"{name}: fine, {counted(opened, 'encoder')} opened")
    if broken:
        raise UsageError(f"{counted(broken, 'recipe')} cannot be used")


def _without(name: str, error: catalog.LadderError | MediaError) -> str:
    """What is wrong, when the line has said of which file and the advice to check it is taken already."""
    problems = error.detail.get("problems")
    return "; ".join(problems) if problems else error.public_message.removeprefix(f"{name}: ")


def _open_encoders(recipe: Recipe) -> int:
    """Use every encoder that the recipe can ask for, on a frame, a sound and a picture; how many were opened."""
    plans = list(every_plan(recipe.video)) if recipe.video is not None else []
    for plan, frame_rate in plans:
        check_options(plan, frame_rate)
    tracks = [_track(rendition) for rendition in recipe.audio.renditions] if recipe.audio is not None else []
    for track in tracks:
        check_track(track)
    pictures = 0
    if recipe.image is not None:
        from pipelines.images.check import check_images

        pictures = check_images(recipe.image)
    return len(plans) + len(tracks) + pictures


def _track(rendition: AudioRendition) -> AudioTrackPlan:
    return AudioTrackPlan(
        name=rendition.name,
        stream_index=0,
        language="und",
        title=None,
        default=True,
        bitrate_bps=rendition.bitrate_bps,
        channels=rendition.channels,
        sample_rate_hz=rendition.sample_rate_hz,
    )


def keys_new(
    key_id: Annotated[str, typer.Option("--id", help="Lower-case letters and digits; begins the key and its entry.")],
    org: Annotated[str, typer.Option(help="The one org that the key may act for; * for every org.")] = "*",
    scope: Annotated[Literal["read", "write"], typer.Option(help="What it may do.")] = "write",
    as_json: AsJson = False,
) -> None:
    """Make an API key; it is shown once and stored nowhere."""
    try:
        key, entry = new_key(key_id, org, scope)
    except ValueError:
        raise UsageError(
            "--id takes lower-case letters and digits, --org letters, digits, dot, dash, underscore"
        ) from None
    if as_json:
        typer.echo(json.dumps({"key": key, "entry": entry}))
        return
    typer.echo(f"key, for the caller:          {key}")
    typer.echo(f"entry, for FARM_API_KEYS:     {entry}")


def db_upgrade() -> None:
    """Bring the job store's tables to this version."""
    from cluster.jobs import open_store
    from cluster.settings import DatabaseSettings, load

    store = open_store(load(DatabaseSettings))
    store.upgrade()
    store.close()
    typer.echo("the job store is up to date")

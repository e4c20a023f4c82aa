"""Commands that change who gets how much of a running farm: policy, prioritise."""

import json
from typing import Annotated, Any

import typer

from cluster.settings import load
from serve.cli.remote_commands import AsJson, JobId, show_job
from serve.client import FarmClient
from serve.errors import UsageError
from serve.settings import ClientSettings

ORG_FIELDS = ("weight", "running_steps", "queued_jobs", "bytes_a_day")
EVERY_ORG = "*"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(prioritise)
    policy = typer.Typer(help="Who gets how much of the farm.", no_args_is_help=True)
    policy.command("show")(show)
    policy.command("class")(of_class)
    policy.command("org")(of_org)
    app.add_typer(policy, name="policy")


def prioritise(
    job_id: JobId,
    priority: Annotated[str, typer.Argument(help="interactive, normal or bulk.", metavar="CLASS")],
    as_json: AsJson = False,
) -> None:
    """Put a queued or running job into another class; what of it runs already runs on."""
    with FarmClient(load(ClientSettings)) as farm:
        show_job(farm.prioritise(job_id, priority), as_json)


def show(as_json: AsJson = False) -> None:
    """Print weights, shares and limits."""
    with FarmClient(load(ClientSettings)) as farm:
        _print(farm.policy(), as_json)


def of_class(
    name: Annotated[str, typer.Argument(help="interactive, normal or bulk.", metavar="CLASS")],
    weight: Annotated[float, typer.Option(help="Its share of the lanes, beside the other classes'.")],
    as_json: AsJson = False,
) -> None:
    """Weigh a class."""

    def change(policy: dict[str, Any]) -> None:
        if name not in policy["classes"]:
            raise UsageError(f"{name} is none of {', '.join(policy['classes'])}")
        policy["classes"][name] = weight

    _change(change, as_json)


def of_org(
    name: Annotated[str, typer.Argument(help="The org; * for all without a line of their own.", metavar="ORG")],
    weight: Annotated[float | None, typer.Option(help="Its share of the lanes within a class.")] = None,
    running_steps: Annotated[int | None, typer.Option(help="Steps at once; -1 for no limit.")] = None,
    queued_jobs: Annotated[int | None, typer.Option(help="Jobs that have not ended; -1 for no limit.")] = None,
    bytes_a_day: Annotated[int | None, typer.Option(help="Bytes of sources in 24 hours; -1 for no limit.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Forget the org's own line.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give an org a share and limits; what is not named stays."""
    asked = dict(zip(ORG_FIELDS, (weight, running_steps, queued_jobs, bytes_a_day), strict=True))
    given = {field: None if value == -1 else value for field, value in asked.items() if value is not None}
    if clear == bool(given):
        raise UsageError("give --weight, --running-steps, --queued-jobs or --bytes-a-day, or --clear alone")

    def change(policy: dict[str, Any]) -> None:
        if clear:
            policy["orgs"].pop(name, None)
        elif name == EVERY_ORG:
            policy["every_org"] |= given
        else:
            policy["orgs"][name] = policy["orgs"].get(name, dict(policy["every_org"])) | given

    _change(change, as_json)


def _change(change: Any, as_json: bool) -> None:
    with FarmClient(load(ClientSettings)) as farm:
        policy = farm.policy()
        change(policy)
        _print(farm.change_policy(policy), as_json)


def _print(policy: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(policy))
        return
    typer.echo(f"policy {policy['version']}")
    for name, weight in policy["classes"].items():
        typer.echo(f"  class {name:<12} weight {weight:g}")
    for name, org in {EVERY_ORG: policy["every_org"], **policy["orgs"]}.items():
        limits = [f"{field.replace('_', ' ')} {org[field]}" for field in ORG_FIELDS[1:] if org[field] is not None]
        typer.echo(f"  org   {name:<12} weight {org['weight']:g}  {', '.join(limits) or 'no limits'}")

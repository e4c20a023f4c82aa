"""Commands about the nodes of a cluster: drain, node resources, node watch-spot."""

import json
import logging
import time
from typing import Annotated

import typer

from serve.cli.exits import ExitCode
from serve.cli.farm_commands import AsJson

LOOK_S = 2.0


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(drain)
    node = typer.Typer(help="This machine as a node of a cluster.", no_args_is_help=True)
    node.command("resources")(node_resources)
    node.command("watch-spot")(node_watch_spot)
    app.add_typer(node, name="node")


def drain(
    node: Annotated[str, typer.Argument(help="Ray's id of the node or its beginning, its address or its host name.")],
    deadline: Annotated[
        float | None, typer.Option(min=0, help="Seconds until the machine is gone, whatever runs there.", metavar="S")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the node has left the cluster.")] = False,
) -> None:
    """Take a node out: what runs there ends, nothing new is put there, and it leaves when it is done."""
    from cluster import drain as nodes
    from cluster.connect import connected

    with connected():
        node_id = nodes.node_named(node)
        nodes.drain(node_id, "asked for by `farm drain`", deadline)
        typer.echo(f"{node_id} gets nothing new")
        started = time.monotonic()
        while wait and any(one["NodeID"] == node_id for one in nodes.alive()):
            if deadline is not None and time.monotonic() - started > deadline:
                typer.echo(f"{node_id} has not left within {deadline:.0f} s", err=True)
                raise typer.Exit(ExitCode.PARTLY)
            time.sleep(LOOK_S)
    if wait:
        typer.echo(f"{node_id} has left")


def node_resources(as_json: AsJson = False) -> None:
    """Measure this machine, try its engines, and print what `ray start` is to be told; what is missing, on stderr."""
    from cluster.farm_settings import FarmSettings
    from cluster.node_offer import offer_of_this_node

    offer = offer_of_this_node(FarmSettings.load())
    for name, why in offer.why.items():
        typer.echo(f"farm: {name}: {why}", err=True)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "memory_bytes": offer.memory_bytes,
                    "resources": offer.resources,
                    "labels": offer.labels,
                    "why": offer.why,
                }
            )
        )
    else:
        typer.echo(" ".join(offer.ray_arguments()))


def node_watch_spot() -> None:
    """Beside Ray on a spot node of EC2: drain this node as soon as its end is announced."""
    from cluster.spot import SpotNotices, watch

    logging.basicConfig(format="farm: %(message)s", level=logging.WARNING)

    def drain_this_node(reason: str, deadline_s: float | None) -> None:
        # Imported and connected now: Ray costs 100 MB, and every driver that stays is a job on the head's list.
        from cluster import drain as nodes
        from cluster.connect import connected

        with connected():
            nodes.drain(nodes.this_node(), reason, deadline_s)
        gone = "" if deadline_s is None else f" and is gone in {deadline_s:.0f} s"
        typer.echo(f"farm: {reason}: it gets nothing new{gone}")

    watch(SpotNotices(), drain_this_node)

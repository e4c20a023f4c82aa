"""The state of a running farm as a person reads it."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from cluster.jobs import Backlog
from cluster.nodes import GB, Node
from cluster.policy import PRIORITIES
from serve.cluster_doctor import ClusterState


def print_cluster(state: ClusterState, console: Console) -> None:
    """Nodes, dispatcher, queue, leases, and what is wrong."""
    console.print(_table(("node", "address", "lanes busy", "memory", "scratch", "labels", ""), _nodes(state)))
    console.print(f"\ndispatcher: {state.dispatcher}", markup=False)
    if state.backlog:
        console.print(_table(("class", "org", "jobs", "stand", "oldest"), _queue(state.backlog)))
    else:
        console.print("queue: empty")
    if state.leases:
        leases = [(one.owner, one.jobs, _age(one.oldest_s), f"{one.ends_in_s:.0f} s") for one in state.leases]
        console.print(_table(("lease of", "jobs", "oldest", "ends in"), leases))
    for problem in state.problems:
        console.print(f"problem: {problem}", style="red", markup=False)


def _nodes(state: ClusterState) -> list[tuple[object, ...]]:
    return [
        (
            node.id[:12],
            node.address,
            f"{state.busy.get(node.id, 0)} of {node.lanes}",
            f"{node.memory_bytes / GB:.0f} GB",
            f"{node.scratch_bytes / GB:.0f} GB",
            _labels(node),
            "draining" if node.is_draining else "",
        )
        for node in sorted(state.nodes, key=lambda node: (node.lanes, node.address, node.id))
    ]


def _labels(node: Node) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(node.labels.items()) if not name.startswith("ray.io/"))


def _queue(backlog: list[Backlog]) -> list[tuple[object, ...]]:
    ordered = sorted(backlog, key=lambda group: (PRIORITIES[group.priority], group.org, group.status))
    return [(one.priority, one.org, one.jobs, one.status, _age(one.oldest_s)) for one in ordered]


def _table(headings: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

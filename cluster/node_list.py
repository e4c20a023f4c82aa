"""The nodes of the cluster, read from Ray."""

from typing import Any

import ray

from cluster.drain import alive, draining
from cluster.nodes import GB, LANE, SCRATCH_GB, Node


def nodes() -> list[Node]:
    """Every node that is there, those without lanes too; ClusterUnreachable."""
    leaving = draining()
    return [
        Node(
            id=node["NodeID"],
            address=node["NodeManagerAddress"],
            lanes=int(node["Resources"].get(LANE, 0)),
            memory_bytes=int(node["Resources"].get("memory", 0)),
            scratch_bytes=int(node["Resources"].get(SCRATCH_GB, 0)) * GB,
            labels=dict(node["Labels"]),
            is_draining=node["NodeID"] in leaving,
        )
        for node in alive()
    ]


def busy_lanes() -> dict[str, int]:
    """How many lanes of each node are taken by steps now, by the node's id."""
    state: Any = ray._private.state
    free: dict[str, dict[str, float]] = state.available_resources_per_node()
    return {node.id: node.lanes - int(free.get(node.id, {}).get(LANE, 0)) for node in nodes()}

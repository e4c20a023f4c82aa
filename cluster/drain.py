"""Taking a node out of the cluster: what runs there ends, and nothing new is put there.

Ray keeps the list, so that it survives every process of the farm. It is not undone: the reverse is a new node. A
drained node leaves by itself as soon as nothing of Ray's runs on it any more (the raylet ends 0.2 s after its last
actor); nothing is killed at the deadline, which only says when whoever announced it will.
"""

import time
from typing import Any

import ray
from ray.core.generated import autoscaler_pb2

from cluster.errors import ClusterUnreachable, DrainRefused, NodeMissing

RPC_S = 5.0  # the answer takes a few milliseconds where there is one
HEAD = "node:__internal_head__"  # the resource by which Ray marks the head
REASON = "DRAIN_NODE_REASON_PREEMPTION"  # the one that Ray never declines


def draining() -> set[str]:
    """The ids of the nodes that get nothing new, hexadecimal; ClusterUnreachable. Takes about a millisecond."""
    try:
        return set(_gcs().get_draining_nodes(timeout=RPC_S))
    except ray.exceptions.RayError as error:
        raise ClusterUnreachable(f"Ray's control service does not answer: {error}") from error


def drain(node_id: str, reason: str, deadline_s: float | None = None) -> None:
    """Give the node nothing new; it is gone in `deadline_s` seconds whatever runs there, None: when it is ready.

    Asked again, the latest deadline stands. NodeMissing; DrainRefused for the head, with which everything would end;
    ClusterUnreachable.
    """
    node = next((node for node in alive() if node["NodeID"] == node_id), None)
    if node is None:
        raise NodeMissing(f"there is no node {node_id} in the cluster")
    if HEAD in node["Resources"]:
        raise DrainRefused("the head is not drained: Ray ends with it, and every job is taken up again by the next one")
    deadline_ms = 0 if deadline_s is None else int((time.time() + deadline_s) * 1000)
    try:
        why_kind = autoscaler_pb2.DrainNodeReason.Value(REASON)  # type: ignore[attr-defined]
        accepted, why = _gcs().drain_node(node_id, why_kind, reason, deadline_ms, timeout=RPC_S)
    except ray.exceptions.RayError as error:
        raise ClusterUnreachable(f"Ray's control service does not answer: {error}") from error
    if not accepted:
        raise DrainRefused(f"Ray does not drain node {node_id}: {why}")


def node_named(name: str) -> str:
    """The id of the one node with that id (or a beginning of it), address or host name; NodeMissing."""
    found = {node["NodeID"]: node for node in alive()}
    named = [
        node_id
        for node_id, node in found.items()
        if node_id.startswith(name) or name in (node["NodeManagerAddress"], node["NodeManagerHostname"])
    ]
    if len(named) == 1:
        return str(named[0])
    there = ", ".join(f"{node['NodeManagerAddress']} ({node_id[:12]})" for node_id, node in found.items())
    said = "is more than one node" if named else "is no node of the cluster"
    raise NodeMissing(f"{name} {said}; there are {there}")


def this_node() -> str:
    """The id of the node that this process is connected through."""
    return str(ray.get_runtime_context().get_node_id())


def alive() -> list[dict[str, Any]]:
    """The nodes that are there, as Ray describes them; draining ones among them."""
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _gcs() -> Any:
    # The connection that this process has anyway: one more would cost each look a hundred times as much.
    return ray._private.worker.global_worker.gcs_client  # type: ignore[attr-defined]

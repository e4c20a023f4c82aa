"""What a running farm is doing: its nodes, what waits, who holds what. Asked from one of its nodes."""

from dataclasses import asdict, dataclass
from typing import Any

import ray

from cluster.connect import connected
from cluster.jobs import Backlog, Lease, open_store
from cluster.node_list import busy_lanes, nodes
from cluster.nodes import Node
from cluster.runtime import DISPATCHER, NAMESPACE
from cluster.settings import DatabaseSettings, load

ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class ClusterState:
    """One look at the farm."""

    nodes: list[Node]
    busy: dict[str, int]  # lanes with a step, by node
    dispatcher: str  # what it said, or why it said nothing
    backlog: list[Backlog]
    leases: list[Lease]
    problems: list[str]  # for which nothing gets done

    def to_wire(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def examine_cluster() -> ClusterState:
    """Ask Ray and the job store; SettingsInvalid, ClusterUnreachable, StoreUnavailable, StoreOutdated."""
    store = open_store(load(DatabaseSettings))
    try:
        store.ping()
        with connected():
            there, busy = nodes(), busy_lanes()
            dispatcher, is_alive = _ask_dispatcher()
        backlog, leases = store.backlog(), store.leases()
    finally:
        store.close()
    problems = [] if is_alive else [f"no dispatcher: {dispatcher}"]
    waits = any(group.status == "queued" for group in backlog)
    if waits and not any(node.lanes for node in there if not node.is_draining):
        problems.append("jobs wait and no node has lanes")
    problems += [f"{lease.owner} is silent: its jobs can be taken over" for lease in leases if lease.ends_in_s < 0]
    return ClusterState(there, busy, dispatcher, backlog, leases, problems)


def _ask_dispatcher() -> tuple[str, bool]:
    try:
        actor: Any = ray.get_actor(DISPATCHER, namespace=NAMESPACE)
        said = ray.get(actor.alive.remote(), timeout=ANSWER_S)
    except ValueError:
        return "there is none; `serve deploy serve-config.yaml` starts one", False
    except ray.exceptions.GetTimeoutError:
        return f"it has not answered within {ANSWER_S:.0f} s: it is just being started, or no node may have it", False
    except ray.exceptions.RayError as error:
        return f"it is lost, and started again: {' '.join(str(error).split())[:200]}", False
    return f"alive, drives {said['held']} jobs", True

"""What a worker reports of a step beside its result: where it ran, and what its media processes cost."""

import shutil
import sys
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cluster.media_process import Watch
from pipelines.wire import to_wire

NODE_GROUP = "ray.io/node-group"  # set by Ray's cluster launcher and by KubeRay: the node type's name
POOL = "pool"  # a label of ours, for nodes that are started by hand (ray-cluster.yaml)


def node_kind(labels: Mapping[str, str]) -> str:
    """Which of the operator's few kinds of node has these labels."""
    return labels.get(NODE_GROUP) or labels.get(POOL) or "plain"


def kind_of_this_node() -> str:
    """Of the node that this process is on; `plain` outside of a cluster."""
    ray = sys.modules.get("ray")  # whoever works without Ray must not wait for its import
    return _kind_by_ray() if ray is not None and ray.is_initialized() else node_kind({})


@cache
def _kind_by_ray() -> str:
    import ray

    labels: Any = ray.get_runtime_context().get_node_labels()
    return node_kind(labels)


def step_facts(watch: Watch, began_s: float, scratch_dir: Path, node: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """The facts of a step that began at `began_s` and ends now on `node`, small and plain."""
    return {
        "node": node,
        "node_kind": node_kind(labels),
        "wall_s": time.time() - began_s,
        "processes": [to_wire(cost) for cost in watch.costs],
        "scratch_free": _free_ratio(scratch_dir),
    }


def _free_ratio(folder: Path) -> float:
    """Of the file system that `folder` is on, or will be."""
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return usage.free / usage.total

"""The dispatcher as an actor of a real Ray cluster, in a process of its own: Ray keeps its first token for good."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.jobs import open_store
from cluster.settings import DatabaseSettings

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]

SCENARIO = """
import ray
from ray.cluster_utils import Cluster

from cluster.nodes import LANE
from cluster.runtime import NAMESPACE, ask_for_lanes, ensure_dispatcher
from cluster.tasks import RayRunner

nodes = Cluster(initialize_head=True, head_node_args={"labels": {"role": "worker"}, "resources": {LANE: 2}})
try:
    ray.init(nodes.address, namespace=NAMESPACE, log_to_driver=False)
    alive = ensure_dispatcher({"role": "control"}).alive.remote()
    print("on a worker:", ray.wait([alive], timeout=8)[0] != [])
    nodes.add_node(labels={"role": "control"})
    print("on a control node:", ray.get(alive, timeout=60)["held"] == 0)
    ask_for_lanes(3)
    ask_for_lanes(0)
    print("lanes:", sum(node.lanes for node in RayRunner().nodes()))
finally:
    ray.shutdown()
    nodes.shutdown()
"""


def test_a_dispatcher_that_belongs_on_a_control_node_waits_for_one_and_needs_no_autoscaler(tmp_path: Path) -> None:
    open_store(DatabaseSettings(data_dir=tmp_path)).upgrade()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "FARM_DATA_DIR": str(tmp_path),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [sys.executable, "-c", SCENARIO]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert done.stdout.splitlines() == ["on a worker: False", "on a control node: True", "lanes: 2"], done.stderr
    assert "autoscaler" not in done.stderr

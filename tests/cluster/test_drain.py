"""Taking nodes out of a real cluster while they work."""

from pathlib import Path

import pytest
from PIL import Image

from tests.support.media import clip
from tests.support.ray_farm import run_scenario

pytestmark = pytest.mark.slow

DRAINED = """
import json, os, subprocess, sys
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from cluster.drain import alive, drain, draining
from cluster.errors import DrainRefused, NodeMissing
from cluster.nodes import LANE
from cluster.runtime import NAMESPACE, ensure_dispatcher
from tests.support.ray_farm import RayFarm, logged, steps_on, until

nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "labels": {"role": "control"}})
try:
    leaves, stays = [nodes.add_node(num_cpus=0, resources={LANE: 1}) for _ in range(2)]
    ray.init(nodes.address, namespace=NAMESPACE, log_to_driver=False)
    os.environ["RAY_ADDRESS"] = nodes.address
    farm = RayFarm()
    ensure_dispatcher({"role": "control"})
    clip, photo = map(Path, sys.argv[1:])
    job = farm.submit(clip)
    until(lambda: steps_on(leaves.node_id) and steps_on(stays.node_id))
    command = [sys.executable, "-m", "serve", "drain", leaves.node_id[:16], "--wait"]
    draining_it = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    until(lambda: draining() == {leaves.node_id})
    print("running:", steps_on(leaves.node_id))
    asked = [sys.executable, "-m", "serve", "doctor", "--cluster", "--json"]
    looked = subprocess.run(asked, stdout=subprocess.PIPE, text=True)
    seen = json.loads(looked.stdout)
    (lease,) = seen["leases"]
    (group,) = seen["backlog"]
    going = [node["id"] for node in seen["nodes"] if node["is_draining"]]
    print("doctor:", looked.returncode, seen["dispatcher"], seen["problems"], len(seen["nodes"]))
    print("it sees:", going == [leaves.node_id], lease["jobs"], group["status"], group["jobs"])
    until(lambda: not steps_on(leaves.node_id))
    said, _ = draining_it.communicate(timeout=180)
    print(draining_it.returncode, said.replace(leaves.node_id, "it").splitlines())
    print("there:", len(alive()))
    ended = farm.ended(job)
    print(ended.status, ended.attempts, "again" if logged("tried again") else "nothing was tried again")
    picture = farm.ended(farm.submit_picture(photo))
    print(picture.status, picture.attempts)
    try:
        drain(nodes.head_node.node_id, "test")
    except DrainRefused:
        print("not the head")
    try:
        drain(leaves.node_id, "test")
    except NodeMissing:
        print("not one that is gone")
finally:
    ray.shutdown()
    nodes.shutdown()
"""


def test_a_drained_node_ends_its_chunks_and_leaves_and_no_job_notices(tmp_path: Path) -> None:
    source = clip(width=640, height=360, frames=600, gop=50)
    photo = tmp_path / "photo.png"
    Image.linear_gradient("L").resize((640, 480)).convert("RGB").save(photo)
    lines = run_scenario(DRAINED, tmp_path, arguments=(str(source), str(photo)))
    assert lines == [
        "running: 1",
        "doctor: 0 alive, drives 1 jobs [] 3",
        "it sees: True 1 processing 1",
        "0 ['it gets nothing new', 'it has left']",
        "there: 2",
        "ready 1 nothing was tried again",
        "ready 1",
        "not the head",
        "not one that is gone",
    ]

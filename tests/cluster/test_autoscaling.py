"""The queue makes nodes come and go: by Ray's autoscaler, with a provider whose nodes are processes of this machine."""

from pathlib import Path

import pytest
from PIL import Image

from tests.support.media import clip
from tests.support.ray_farm import run_scenario

pytestmark = pytest.mark.slow

SCALED = """
import os, subprocess, sys, time
from pathlib import Path
import psutil, ray, yaml
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from cluster.jobs import JobStatus
from cluster.node_list import nodes
from cluster.runtime import NAMESPACE, ensure_dispatcher
from tests.support.ports import free_ports
from tests.support.ray_farm import QUICK, RayFarm, until
from tests.support.jobs import counts

gcs, listen, inside = free_ports(3)
folder = Path.cwd()
address = f"{ray._private.services.get_node_ip_address()}:{gcs}"
config = {
    "cluster_name": "test",
    "max_workers": 2,
    "idle_timeout_minutes": 0.05,
    "provider": {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": address,
        "head_node_id": FAKE_HEAD_NODE_ID,
        "launch_multiple": True,
    },
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {
            "resources": {"CPU": 0, "cpu_lane": 1}, "node_config": {},
            # The provider starts nodes from its own process, where Ray cannot see what the launcher tells a node.
            "labels": {"role": "worker", "ray.io/node-group": "worker"}, "min_workers": 0, "max_workers": 2,
        },
    },
    "head_node_type": "ray.head.default",
    "upscaling_speed": 1.0,
    "auth": {}, "docker": {}, "file_mounts": {}, "cluster_synced_files": [], "file_mounts_sync_continuously": False,
    "rsync_exclude": [], "rsync_filter": [], "initialization_commands": [], "setup_commands": [],
    "head_setup_commands": [], "worker_setup_commands": [], "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
}
(folder / "autoscaling.yaml").write_text(yaml.safe_dump(config))
head = subprocess.Popen(
    [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=0", f"--port={gcs}",
     "--labels=role=control", "--include-dashboard=false", f"--dashboard-agent-listen-port={listen}",
     f"--dashboard-agent-grpc-port={inside}", "--autoscaling-config=autoscaling.yaml"],
    env=os.environ | {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1", "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    },
    stdout=(folder / "head.log").open("w"), stderr=subprocess.STDOUT, start_new_session=True,
)
def workers():
    return [node for node in nodes() if node.lanes]
try:
    until(lambda: "ray_process_exit.log" in (folder / "head.log").read_text())
    ray.init(address, namespace=NAMESPACE, log_to_driver=False)
    farm = RayFarm()
    ensure_dispatcher({"role": "control"})
    print("nodes for an empty queue:", len(workers()))
    jobs = []
    def are_enough():
        # However fast the first node is, there is always something that waits.
        if counts(farm.store)[JobStatus.QUEUED] < 2:
            jobs.append(farm.submit(Path(sys.argv[1]), QUICK))
        return len(workers()) == 2
    until(are_enough)
    print("nodes for the queue:", len(workers()))
    picture = farm.ended(farm.submit_picture(Path(sys.argv[2])))
    print(picture.status, picture.attempts)
    print({(str(job.status), job.attempts) for job in map(farm.ended, jobs)})
    until(lambda: not workers())
    print("nodes for an empty queue:", len(workers()))
    print(farm.ended(farm.submit_picture(Path(sys.argv[2]))).status)
finally:
    started = psutil.Process(head.pid).children(recursive=True)
    ray.shutdown()
    for process in [*started, head]:
        process.kill()
    head.wait()
"""


def test_jobs_start_nodes_from_none_and_an_empty_queue_lets_them_go(tmp_path: Path) -> None:
    source = clip(width=320, height=180, frames=150)
    photo = tmp_path / "photo.png"
    Image.linear_gradient("L").resize((640, 480)).convert("RGB").save(photo)
    assert run_scenario(SCALED, tmp_path, (str(source), str(photo))) == [
        "nodes for an empty queue: 0",
        "nodes for the queue: 2",
        "ready 1",
        "{('ready', 1)}",
        "nodes for an empty queue: 0",
        "ready",
    ]

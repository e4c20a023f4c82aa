"""The API behind HAProxy, as `ray-cluster.yaml` has it: what is answered there is what is answered anywhere."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from serve import problems
from serve.embedded import free_port

ROOT = Path(__file__).parents[2]
SERVED = """
import sys
from pathlib import Path
from serve.settings import ServeSettings, prepare_embedded_environment
from cluster.farm_settings import FarmSettings, prepare_ray_environment
prepare_embedded_environment(int(sys.argv[1]), Path(sys.argv[2]), True)
prepare_ray_environment()
import ray
from ray import serve
from cluster.jobs import open_store
from serve.app import start_api
store = open_store(FarmSettings.load().database)
store.upgrade()
store.close()
ray.init(address="local", num_cpus=1, include_dashboard=False, namespace="farm", log_to_driver=False)
start_api(ServeSettings())
print("started", flush=True)
sys.stdin.readline()
serve.delete("farm")
ray.shutdown()
"""
OWN_PORTS = ("RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_HAPROXY_STATS_PORT")  # the machine may have another HAProxy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the folder that the farm reads, and is served from."""
    path = tmp_path_factory.mktemp("served") / "clip.mp4"
    path.write_bytes(b"no video, which nobody looks at before it is accepted")
    return path


def haproxies(ports: dict[str, str]) -> list[psutil.Process]:
    """Those of the farm with these ports, whoever has started them last."""
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error):
            if one.name() == "haproxy" and ports.items() <= one.environ().items():
                found.append(one)
    return found


@pytest.fixture(scope="module")
def farm(source: Path) -> Iterator["tuple[subprocess.Popen[bytes], str]"]:
    """The process, which takes the API down at a line of input, and where it listens."""
    port = free_port()
    ports = {name: str(free_port()) for name in OWN_PORTS}
    with subprocess.Popen(
        [sys.executable, "-c", SERVED, str(port), str(source.parent / "data")],
        cwd=source.parent,
        env=os.environ
        | ports
        | {
            "PYTHONPATH": str(ROOT),
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(Path(sys.executable).with_name("farm-haproxy")),
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "3",  # of the 30 that load balancers may want
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        while (line := process.stdout.readline()) != b"started\n":  # Serve writes there too
            assert line, "it ended"
        assert haproxies(ports)
        yield process, f"http://127.0.0.1:{port}"
        try:
            process.communicate(b"\n" if process.poll() is None else None, timeout=60)
        finally:
            process.kill()
            for one in haproxies(ports):  # Serve leaves the one that it started last
                one.kill()


@pytest.fixture
def client(farm: "tuple[subprocess.Popen[bytes], str]") -> Iterator[httpx.Client]:
    with httpx.Client(base_url=farm[1], trust_env=False, timeout=30) as client:
        yield client


def test_an_upload_is_accepted_once_for_its_key(client: httpx.Client, source: Path) -> None:
    asked = {"source": source.as_uri()}
    answers = [
        client.post("/v1/media/clip-1/complete", json=asked, headers={"Idempotency-Key": "once"}) for _ in range(3)
    ]

    assert [answer.status_code for answer in answers] == [202] * 3
    assert len({answer.text for answer in answers}) == 1
    job = client.get(answers[0].headers["location"])
    assert (job.status_code, job.json()["media_id"]) == (200, "clip-1")


def test_an_upload_goes_past_what_serve_does_around_a_call(client: httpx.Client, source: Path) -> None:
    answer = client.post("/v1/media/clip-2/complete", json={"source": source.as_uri()})

    assert "x-request-id" not in answer.headers
    assert "x-request-id" in client.get(answer.headers["location"]).headers, "which Serve gives to each call of its own"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/media/clip-1/complete", {"source": 5}, 422),
        ("POST", "/v1/media/clip-1/complete", {"source": "file:///nowhere/clip.mp4"}, 403),
        ("POST", "/v1/media/clip-1/complete/", {}, 404),
        ("GET", "/v1/media/clip-1/complete", None, 405),
        ("GET", "/v1/media/none", None, 404),
        ("GET", "/nothing", None, 404),
    ],
)
def test_what_is_refused_is_refused_in_the_api_s_words(
    client: httpx.Client, method: str, path: str, body: dict[str, object] | None, status: int
) -> None:
    answer = client.request(method, path, json=body)

    assert (answer.status_code, answer.headers["content-type"]) == (status, problems.MEDIA_TYPE)
    assert answer.json()["status"] == status


def test_an_upload_from_a_page_that_a_browser_shows_is_refused(client: httpx.Client, source: Path) -> None:
    asked = {"source": source.as_uri()}
    answer = client.post("/v1/media/clip-1/complete", json=asked, headers={"Origin": "https://example.com"})

    assert answer.status_code == 401


def test_an_upload_that_is_in_hand_when_the_api_is_taken_down_is_answered(
    farm: "tuple[subprocess.Popen[bytes], str]", source: Path
) -> None:
    process, url = farm
    host, port = urlsplit(url).hostname, urlsplit(url).port
    body = json.dumps({"source": source.as_uri()}).encode()
    head = f"POST /v1/media/clip-3/complete HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, port), timeout=30) as slow:
        slow.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:10])
        time.sleep(0.5)
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        time.sleep(2.0)  # the replica is being drained
        slow.sendall(body[10:])
        answer = slow.recv(4096)

    assert answer.startswith(b"HTTP/1.1 202 ")
    assert process.wait(60) == 0

"""The API behind HAProxy, as `ray-cluster.yaml` has it: what is answered there is what is answered anywhere."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Served:
    """A farm's process, which takes the API down at a line of input, where it listens, and its other ports."""

    process: "subprocess.Popen[bytes]"
    url: str
    replica_port: int
    ports: dict[str, str]

    def haproxies(self) -> list[psutil.Process]:
        """Its proxies, whoever has started them last."""
        return self._named("haproxy")

    def replica(self) -> psutil.Process:
        """The one process that answers."""
        (found,) = self._named("ray::ServeRepli")  # as much of a name as the kernel keeps
        return found

    def replica_listens(self) -> bool:
        """Whether the replica takes calls."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.replica_port), timeout=1):
            return True
        return False

    def _named(self, name: str) -> list[psutil.Process]:
        found = []
        for one in psutil.process_iter():
            with suppress(psutil.Error):
                if one.name()[:15] == name and self.ports.items() <= one.environ().items():
                    found.append(one)
        return found


@contextmanager
def served(folder: Path, data: str) -> Iterator[Served]:
    """A farm with a data folder of its own in `folder`."""
    port, replica_port = free_port(), free_port()
    ports = {name: str(free_port()) for name in OWN_PORTS}
    ports["RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"] = str(replica_port)  # which the first replica takes
    ports["RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT"] = str(replica_port + 9)
    with subprocess.Popen(
        [sys.executable, "-c", SERVED, str(port), str(folder / data)],
        cwd=folder,
        env=os.environ
        | ports
        | {
            "PYTHONPATH": str(ROOT),
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(Path(sys.executable).with_name("farm-haproxy")),
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",  # of the 30 that load balancers may want
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        farm = Served(process, f"http://127.0.0.1:{port}", replica_port, ports)
        try:
            assert process.stdout is not None
            while (line := process.stdout.readline()) != b"started\n":  # Serve writes there too
                assert line, "it ended"
            yield farm
            process.communicate(b"\n" if process.poll() is None else None, timeout=60)
        finally:
            process.kill()
            for one in farm.haproxies():  # Serve leaves the one that it started last
                one.kill()


def until(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    """Wait until `holds` does."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def farm(source: Path) -> Iterator[Served]:
    with served(source.parent, "data") as farm:
        assert farm.haproxies()
        yield farm


@pytest.fixture
def client(farm: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=farm.url, trust_env=False, timeout=30) as client:
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


def test_a_proxy_that_was_replaced_ends(farm: Served, client: httpx.Client) -> None:
    """Serve finds it by the path of its own file among the arguments, and asks it to end."""
    before = farm.haproxies()
    arguments = [one.cmdline() for one in before]
    assert {Path(words[words.index("-f") + 1]).name for words in arguments} == {"haproxy.cfg"}

    farm.replica().kill()
    until(lambda: {one.pid for one in farm.haproxies()}.isdisjoint(one.pid for one in before))
    until(lambda: len(farm.haproxies()) == 1)
    until(lambda: client.get("/v1/media/none").status_code == 404)


def test_an_upload_that_is_in_hand_when_the_api_is_taken_down_is_answered(source: Path) -> None:
    """Also one that Serve does not count, once the replica takes no other calls."""
    body = json.dumps({"source": source.as_uri()}).encode()
    with served(source.parent, "other-data") as farm:
        host, port = urlsplit(farm.url).hostname, urlsplit(farm.url).port
        head = f"POST /v1/media/clip-3/complete HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        assert farm.replica_listens()
        with socket.create_connection((host, port), timeout=30) as slow:
            slow.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:10])
            time.sleep(0.5)  # HAProxy has handed it on
            assert farm.process.stdin is not None
            farm.process.stdin.write(b"\n")
            farm.process.stdin.flush()
            until(lambda: not farm.replica_listens())
            time.sleep(0.5)  # Serve, which knows of no call, goes on to end it
            slow.sendall(body[10:])
            answer = slow.recv(4096)

        assert answer.startswith(b"HTTP/1.1 202 ")
        assert farm.process.wait(60) == 0

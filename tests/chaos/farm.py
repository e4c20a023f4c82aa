"""A whole farm of real processes on this machine: Ray's head and workers, the API, PostgreSQL, an S3 server."""

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import yaml

from cluster.jobs import SqlStore, open_store
from tests.chaos.front import Front, fronting
from tests.chaos.nodes import ROOT, Node, Supervisor, head, variables, worker
from tests.chaos.recipes import RECIPES
from tests.support.ports import free_ports
from tests.support.postgres import Postgres, running_postgres
from tests.support.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed, running_seaweed

BUCKET = "chaos"
STORAGE_URI = f"s3://{BUCKET}/farm"
SOURCES_URI = f"s3://{BUCKET}/in"
READY_S = 180.0
LANES = 2
_OPTIONS = yaml.safe_load((ROOT / "ray-cluster.yaml").read_text())["docker"]["run_options"]


def as_in_a_cluster(*names: str) -> dict[str, str]:
    """The variables that begin with one of `names` and their values, as a real cluster is told them."""
    told = tuple(f"-e {name}" for name in names)
    return dict(option.removeprefix("-e ").split("=", 1) for option in _OPTIONS if option.startswith(told))


class ChaosFarm:
    """Started by `chaos_farm`; everything in it may be killed at any time and is started again."""

    def __init__(
        self, folder: Path, postgres: Postgres, seaweed: Seaweed, front: Front, host: str, others: dict[str, str]
    ) -> None:
        self.folder, self.postgres, self.seaweed, self.front = folder, postgres, seaweed, front
        self.host = host
        port, self.http_port = free_ports(2)
        self.address = f"{host}:{port}"
        self.url = f"http://127.0.0.1:{self.http_port}"
        (folder / "recipes").mkdir()
        for name, text in RECIPES.items():
            (folder / "recipes" / f"{name}.yaml").write_text(text)
        self.environment = variables(
            HOME=str(folder),
            FARM_EMBEDDED="1",  # on loopback, without keys
            FARM_DATABASE_URL=postgres.url("farm"),
            FARM_STORAGE_URI=STORAGE_URI,
            FARM_SOURCE_PREFIXES=SOURCES_URI,
            FARM_S3_ENDPOINT=front.endpoint,
            FARM_S3_ACCESS_KEY_ID=ACCESS_KEY,
            FARM_S3_SECRET_ACCESS_KEY=SECRET_KEY,
            FARM_RECIPES_DIR=str(folder / "recipes"),
            RAY_SERVE_USE_GRPC_BY_DEFAULT="1",  # as everywhere
            # How soon a node is missed, and what the proxy does for uploads.
            **as_in_a_cluster("RAY_health_check", "RAY_SERVE_HTTP_PROXY_CALLBACK"),
            **others,
        )
        self.head = head(folder, self.address, self.environment)
        self.workers: list[Node] = []
        self.head_up_at: list[float] = []  # Unix times at which a head that was started again answered
        self.store: SqlStore = open_store(postgres.settings("farm"))
        self._supervisor: Supervisor | None = None
        self._deploying: list[threading.Thread] = []

    def add_worker(self, name: str, host: str | None = None, inside: list[str] | None = None) -> Node:
        """Start one more node that encodes."""
        node = worker(name, self.folder, self.address, self.environment, LANES, host or self.host, inside or [])
        self.workers.append(node)
        node.start()
        return node

    def start(self, workers: int) -> None:
        """Start the head and so many workers, and wait until jobs are taken."""
        self.head.start()
        self.wait_for_port()
        for number in range(workers):
            self.add_worker(f"worker-{number}")
        self.deploy()
        self.wait_until_ready()

    def supervise(self) -> None:
        """From here on whatever node ends is started again."""
        self._supervisor = Supervisor([self.head, *self.workers], self._started)
        self._supervisor.start()

    def _started(self, node: Node) -> None:
        if node is self.head:
            thread = threading.Thread(target=self._back, name="deploy", daemon=True)
            self._deploying.append(thread)
            thread.start()

    def _back(self) -> None:
        with suppress(RuntimeError, TimeoutError):  # it was killed again: its next start deploys
            self.wait_for_port()
            self.head_up_at.append(time.time())
            self.deploy()

    def wait_for_port(self) -> None:
        """Until the head takes connections. TimeoutError."""
        import socket

        deadline = time.monotonic() + READY_S
        host, port = self.address.split(":")
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
                return
            time.sleep(0.1)
        raise TimeoutError(f"the head did not start: {self.head.log()}")

    def deploy(self) -> None:
        """Put the API onto the head. RuntimeError."""
        command = [sys.executable, "-m", "tests.chaos.deploy", self.address, str(self.http_port)]
        environment = self.environment | {
            "TMPDIR": str(self.head.folder / "tmp"),
            "FARM_DATA_DIR": str(self.head.folder / "data"),
        }
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=READY_S)
        if done.returncode != 0:
            raise RuntimeError(f"the API was not deployed: {done.stderr[-3000:]}")

    def wait_until_ready(self) -> None:
        """Until the API says that it is. TimeoutError."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).is_success:
                    return
            time.sleep(0.2)
        raise TimeoutError("the API was not ready")

    def s3(self) -> Any:
        """A client of the S3 server itself, not through the front."""
        return self.seaweed.client()

    def stop(self) -> None:
        """End everything of Ray's; the servers end by themselves."""
        if self._supervisor is not None:
            self._supervisor.stop()
        for node in (*self.workers, self.head):
            node.kill()
        for thread in self._deploying:
            thread.join(timeout=READY_S)
        self.store.close()


@contextmanager
def chaos_farm(
    others: dict[str, str] | None = None, *, workers: int = 2, host: str = "127.0.0.1"
) -> Iterator[ChaosFarm]:
    """The farm, started; `others` are variables of its environment. Without workers, nothing of Ray is started yet."""
    # Not under pytest's folders: the names of Ray's sockets would be too long there.
    folder = Path(tempfile.mkdtemp(prefix="farm-chaos-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        postgres = stack.enter_context(running_postgres())
        seaweed = stack.enter_context(running_seaweed(folder / "s3"))
        front = stack.enter_context(fronting(seaweed.endpoint, host))
        client = seaweed.client()
        client.create_bucket(Bucket=BUCKET)
        client.close()
        postgres.create_database("farm")
        farm = ChaosFarm(folder, postgres, seaweed, front, host, others or {})
        stack.callback(farm.stop)
        farm.store.upgrade()
        if workers:
            farm.start(workers)
        yield farm

"""Nodes of Ray as an operator runs them: `ray start --block`, started again by a supervisor when it ends."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.ports import free_ports

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).with_name("ray"))
LOOK_S = 0.3
AGAIN_S = 1.0  # as a supervisor waits between two starts
UP_S = 60.0  # of a node on a busy machine


@dataclass
class Node:
    """One node; what it runs is known by its own TMPDIR, which media processes inherit too."""

    name: str
    folder: Path
    arguments: list[str]
    environment: dict[str, str]
    inside: list[str] = field(default_factory=list)  # the command that enters its network namespace
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0  # Unix time

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "tmp").mkdir(exist_ok=True)

    def start(self) -> None:
        """Start it; what is left of its last run is ended first, as a supervisor does by the control group."""
        self.kill()
        ports = free_ports(5)
        names = ("dashboard-agent-listen", "dashboard-agent-grpc", "runtime-env-agent", "metrics-export")
        command = [
            *self.inside,
            *(RAY, "start", "--block", "--disable-usage-stats", "--include-log-monitor=false"),
            *("--object-store-memory=80000000", "--min-worker-port=0", "--max-worker-port=0"),
            *("--node-manager-port=0", "--object-manager-port=0"),
            *(f"--{name}-port={port}" for name, port in zip(names, ports, strict=False)),
            *self.arguments,
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self._variables(), cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        self.started_at = time.time()

    def _variables(self) -> dict[str, str]:
        own = {
            "TMPDIR": str(self.folder / "tmp"),
            "FARM_DATA_DIR": str(self.folder / "data"),
            "FARM_SCRATCH_DIR": self.environment.get("FARM_SCRATCH_DIR", str(self.folder / "scratch")),
        }
        return self.environment | own

    def processes(self) -> Iterator[psutil.Process]:
        """Everything that runs on it now."""
        mine = str(self.folder / "tmp")
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("TMPDIR") == mine and process.status() != psutil.STATUS_ZOMBIE:
                    yield process

    def kill(self) -> int:
        """Everything at once, as when the power goes; how many processes that were."""
        killed = 0
        while found := list(self.processes()):
            for process in found:
                with suppress(psutil.Error):
                    process.kill()
                    killed += 1
            psutil.wait_procs(found, timeout=5)
        if self.process is not None:
            self.process.wait(timeout=10)
            self.process = None
        return killed

    def log(self) -> str:
        """The end of what `ray start` said."""
        return (self.folder / "log").read_text(errors="replace")[-2000:]


class Supervisor:
    """Starts every node again that ended, until stopped; `started` is told which. The first node is the head.

    A new head knows nothing of the old one's workers, and Ray starts none while one of those runs on the same machine:
    they are ended with it.
    """

    def __init__(self, nodes: list[Node], started: Callable[[Node], None]) -> None:
        self._nodes = nodes
        self._started = started
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for that: nothing is started any more."""
        self._stopped.set()
        self._thread.join(timeout=120)

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_S):
            for node in self._nodes:
                if node.process is None or node.process.poll() is not None:
                    if node is self._nodes[0]:
                        for other in self._nodes[1:]:
                            other.kill()
                    if self._stopped.wait(AGAIN_S):
                        return
                    node.start()
                    self._started(node)


def head(folder: Path, address: str, environment: dict[str, str]) -> Node:
    """The control node, which has no lane; `address` is host:port."""
    host, port = address.split(":")
    arguments = [
        *("--head", f"--port={port}", f"--node-ip-address={host}", "--include-dashboard=false", "--num-cpus=2"),
        *("--labels=role=control", f"--ray-client-server-port={free_ports(1)[0]}", f"--temp-dir={folder / 'ray'}"),
    ]
    return Node("head", folder / "head", arguments, environment)


def worker(
    name: str, folder: Path, address: str, environment: dict[str, str], lanes: int, host: str, inside: list[str]
) -> Node:
    """A node that encodes."""
    lane = json.dumps({"cpu_lane": lanes})
    arguments = [f"--address={address}", f"--node-ip-address={host}", "--num-cpus=1", f"--resources={lane}"]
    arguments.append(
        f"--temp-dir={folder / name / 'r'}"
    )  # two nodes that start in one folder at once take each other's sockets
    return Node(name, folder / name, arguments, environment, inside)


def variables(**farm: str) -> dict[str, str]:
    """The environment of every process of the farm."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": os.urandom(32).hex(),
        "RAY_USAGE_STATS_ENABLED": "0",
        **farm,
    }

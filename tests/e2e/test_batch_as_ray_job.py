"""`ray job submit -- farm batch run …` on a cluster of its own whose head has a dashboard."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from PIL import Image

from cluster.jobs import BatchStatus, open_store
from cluster.settings import DatabaseSettings
from serve.embedded import free_port

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
START_S = 180


class Head:
    """Ray's head with a dashboard, and the farm deployed on it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.dashboard = free_port()
        self.api = int(environment["FARM_PORT"])

    def command(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One of the commands beside this Python."""
        name, *rest = map(str, arguments)
        return subprocess.run(
            [str(BIN / name), *rest],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=START_S,
            check=check,
        )

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        """Up and answering; every process that it started is gone afterwards."""
        command = [
            *(str(BIN / "ray"), "start", "--head", "--block", f"--port={free_port()}"),
            *(
                f"--ray-client-server-port={free_port()}",
                f"--dashboard-port={self.dashboard}",
                f"--dashboard-agent-listen-port={free_port()}",
            ),
            *("--dashboard-host=127.0.0.1", f"--temp-dir={self.folder / 'r'}", "--resources", '{"cpu_lane": 2}'),
            *("--num-cpus=2", "--object-store-memory=200000000"),
        ]
        with (self.folder / "ray.log").open("w") as log:
            ray = subprocess.Popen(
                command, env=self.environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._until_it_answers(f"http://127.0.0.1:{self.dashboard}/api/version")
            config = yaml.safe_load((ROOT / "serve-config.yaml").read_text())
            config["http_options"] = {"host": "127.0.0.1", "port": self.api}
            config["applications"][0]["args"] = {"replicas": 1, "replica_cpus": 0}
            (self.folder / "serve.yaml").write_text(yaml.safe_dump(config))
            self.command("serve", "deploy", "serve.yaml", "-a", f"http://127.0.0.1:{self.dashboard}")
            self._until_it_answers(f"http://127.0.0.1:{self.api}/readyz")
            yield
        finally:
            ray.send_signal(signal.SIGTERM)  # --block ends all processes of the node
            with contextlib.suppress(subprocess.TimeoutExpired):
                ray.wait(30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(ray.pid, signal.SIGKILL)
            ray.wait(30)

    def _until_it_answers(self, url: str) -> None:
        headers = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(url, headers=headers, trust_env=False, timeout=5).is_success:
                    return
            time.sleep(0.3)
        raise AssertionError((self.folder / "ray.log").read_text()[-3000:])


@pytest.mark.slow
def test_a_ray_job_runs_a_batch_and_ends_as_the_command_does(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("j")  # short: Ray's sockets lie below it, and have 107 characters
    pictures = folder / "in"
    pictures.mkdir()
    for number in range(4):
        Image.effect_noise((80, 60), 50).convert("RGB").save(pictures / f"{number}.jpg")
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FARM_", "RAY_"))}
    environment = kept | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "FARM_EMBEDDED": "1",
        "FARM_DATA_DIR": str(folder / "data"),
        "FARM_SCRATCH_DIR": str(folder / "scratch"),
        "FARM_SOURCE_PREFIXES": pictures.as_uri(),
        "FARM_PORT": str(port),
        "FARM_URL": f"http://127.0.0.1:{port}",
        "PYTHONPATH": str(ROOT),
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    head = Head(folder, environment)
    head.command("farm", "db", "upgrade")
    with head.started():
        submit = ("ray", "job", "submit", "--address", f"http://127.0.0.1:{head.dashboard}", "--")
        done = head.command(*submit, "farm", "batch", "run", f"{pictures.as_uri()}/", "--recipe", "avatar", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 items of 4; 4 ready" in done.stdout
    store = open_store(DatabaseSettings(database_url=f"sqlite:///{folder / 'data' / 'farm.db'}"))
    (batch,), _ = store.batches.list_batches()
    store.close()
    assert (batch.status, batch.ready) == (BatchStatus.READY, 4)

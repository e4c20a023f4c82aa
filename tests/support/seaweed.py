"""A real S3 server for tests: SeaweedFS in one process, on loopback, with signatures checked."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError

from cluster.settings import StorageSettings
from tests.support.ports import free_ports

START_S = 60.0
ACCESS_KEY, SECRET_KEY = "farm-tests", "farm-tests-secret"


@dataclass
class Seaweed:
    """A server, with its files under `folder`."""

    endpoint: str
    folder: Path
    command: list[str] = field(repr=False)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start the server and wait until it takes objects."""
        # Without credentials it would let everybody in, and prove nothing about signatures.
        environment = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "HOME": str(self.folder)}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=environment, cwd=self.folder, start_new_session=True
            )
        _wait_until_it_answers(self, self.process, self.folder / "log")

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would; what it stored is kept for the next start."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(timeout=10)
            self.process = None

    def settings(self, **others: Any) -> StorageSettings:
        """Settings that lead to this server."""
        values = {"data_dir": self.folder / "data", "s3_endpoint": self.endpoint, "s3_access_key_id": ACCESS_KEY}
        return StorageSettings(**{**values, "s3_secret_access_key": SECRET_KEY, **others})

    def client(self) -> Any:
        """A plain client with the server's credentials."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=20),
        )


@contextmanager
def running_seaweed(folder: Path) -> Iterator[Seaweed]:
    """The server, its files under `folder`, stopped at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    servers = ("master", "volume", "filer", "s3", "admin")
    names = [f"{server}.port{kind}" for server in servers for kind in ("", ".grpc")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    command = [
        *(str(Path(sys.executable).with_name("weed")), f"-logdir={folder}", "mini", f"-dir={folder}"),
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-{name}={port}" for name, port in ports.items()),
        *("-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        # Preallocated volumes of the default size fill a small disk.
        "-master.volumeSizeLimitMB=64",
    ]
    seaweed = Seaweed(f"http://127.0.0.1:{ports['s3.port']}", folder, command)
    try:
        seaweed.start()
        yield seaweed
    finally:
        seaweed.kill()  # its files are thrown away
        for port in ports.values():
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_answers(seaweed: Seaweed, process: subprocess.Popen[bytes], log: Path) -> None:
    client = seaweed.client()
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with suppress(BotoCoreError, ClientError):  # one that was started again has it
            client.create_bucket(Bucket="ready")
        with suppress(BotoCoreError, ClientError):
            # The S3 port answers before there is a volume to write to.
            client.put_object(Bucket="ready", Key="probe", Body=b"x")
            client.close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"the S3 server did not start: {log.read_text(errors='replace')[-2000:]}")

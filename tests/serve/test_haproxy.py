"""What HAProxy itself answers: the whole of it, run without Serve."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from ray.serve._private import haproxy_templates

from serve import problems
from serve.embedded import free_port
from serve.errors import NotServing
from serve.haproxy import DETAIL, PROBLEM

ROOT = Path(__file__).parents[2]
CONFIG = """
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
    errorfile 503 {error_file}
frontend api
    bind 127.0.0.1:{port}
    use_backend farm if {{ path_beg /v1 }}
    default_backend default_backend
backend default_backend
{unknown_path}
backend farm
    server gone 127.0.0.1:{gone}
"""
AS_SERVE_HAS_IT = next(line for line in haproxy_templates.HAPROXY_CONFIG_TEMPLATE.splitlines() if "status 404" in line)


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[str]:
    port, gone, config = free_port(), free_port(), tmp_path / "haproxy.cfg"
    error_file = tmp_path / "500.http"
    error_file.write_text("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", newline="")
    unknown_path = AS_SERVE_HAS_IT.replace("\\'", "'")
    config.write_text(CONFIG.format(port=port, gone=gone, error_file=error_file, unknown_path=unknown_path))
    command = [sys.executable, "-c", "from serve.haproxy import main; main()", "-db", "-f", str(config)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path) as process:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


@pytest.mark.parametrize("path", ["/v1/media/clip-1/complete", "/nothing"], ids=["no replica", "no application yet"])
def test_without_a_replica_a_call_is_told_to_come_again_in_the_api_s_words(haproxy: str, path: str) -> None:
    answer = httpx.post(f"{haproxy}{path}", trust_env=False)

    assert (answer.status_code, answer.headers["content-type"]) == (503, problems.MEDIA_TYPE)
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["code"] == "not_serving"


def test_the_words_are_those_of_the_api() -> None:
    made = problems.response(NotServing(DETAIL), {})

    assert json.loads(PROBLEM) == json.loads(bytes(made.body))
    assert made.headers["retry-after"] == "1"

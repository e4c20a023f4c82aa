"""What HAProxy itself answers: the whole of it, run without Serve."""

import json
import os
import socket
import subprocess
import sys
import threading
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
from serve.haproxy import DETAIL, PROBLEM, put_our_words_into, rewritten

ROOT = Path(__file__).parents[2]
TEMPLATE = haproxy_templates.HAPROXY_CONFIG_TEMPLATE.replace("{{ config.error_file_path }}", "/serve/500.http")
CONFIG = """
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
{error_files}
frontend api
    bind 127.0.0.1:{port}
    use_backend farm if {{ path_beg /v1 }}
    use_backend dying if {{ path_beg /dying }}
    default_backend default_backend
backend default_backend
{unknown_path}
backend farm
    server gone 127.0.0.1:{gone}
backend dying
    server dying 127.0.0.1:{dying}
"""


def of_serve(words: str) -> list[str]:
    """The lines of Serve's own template with these words."""
    return [line for line in TEMPLATE.splitlines() if words in line and not line.strip().startswith("#")]


@pytest.fixture
def dying() -> Iterator[int]:
    """The port of a server that takes a call and is gone."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def end() -> None:
            with suppress(OSError):
                while True:
                    call, _ = server.accept()
                    call.recv(1)
                    call.close()

        thread = threading.Thread(target=end)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.fixture
def haproxy(tmp_path: Path, dying: int) -> Iterator[str]:
    port, gone, config = free_port(), free_port(), tmp_path / "haproxy.cfg"
    error_file = tmp_path / "500.http"
    error_file.write_text("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", newline="")
    error_files = "\n".join(of_serve("errorfile")).replace("/serve/500.http", str(error_file))
    (unknown_path,) = of_serve("status 404")
    config.write_text(
        CONFIG.format(port=port, gone=gone, dying=dying, error_files=error_files, unknown_path=unknown_path)
    )
    command = [sys.executable, "-c", "from serve.haproxy import main; main()", "-db", "-f", str(config)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path) as process:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def test_of_serve_s_configuration_just_what_haproxy_answers_by_itself_is_replaced() -> None:
    was, now = TEMPLATE.splitlines(), rewritten(TEMPLATE, Path("/ours.http")).splitlines()
    changed = [(before, after) for before, after in zip(was, now, strict=True) if before != after]

    assert [before for before, _ in changed] == [*of_serve("errorfile"), *of_serve("status 404")]
    assert [after.split() for _, after in changed[:-1]] == [
        ["errorfile", status, "/ours.http"] for status in ("502", "503", "504")
    ]
    assert "return status 503" in changed[-1][1]
    assert rewritten("\n".join(now), Path("/ours.http")).splitlines() == now, "a second time changes nothing"


@pytest.mark.parametrize("known", ["errorfile", "status 404"])
def test_a_configuration_that_is_known_in_part_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], known: str
) -> None:
    config = tmp_path / "haproxy.cfg"
    config.write_text("\n".join(of_serve(known)))
    put_our_words_into(config)
    assert "farm-haproxy: " in capsys.readouterr().err

    config.write_text(TEMPLATE)
    put_our_words_into(config)
    put_our_words_into(config)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "path",
    ["/v1/media/clip-1/complete", "/nothing", "/dying"],
    ids=["no replica", "no application yet", "a replica that ends with the call in hand"],
)
def test_what_no_replica_answers_is_told_to_come_again_in_the_api_s_words(haproxy: str, path: str) -> None:
    answer = httpx.post(f"{haproxy}{path}", trust_env=False)

    assert (answer.status_code, answer.headers["content-type"]) == (503, problems.MEDIA_TYPE)
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["code"] == "not_serving"


def test_the_words_are_those_of_the_api() -> None:
    made = problems.response(NotServing(DETAIL), {})

    assert json.loads(PROBLEM) == json.loads(bytes(made.body))
    assert made.headers["retry-after"] == "1"

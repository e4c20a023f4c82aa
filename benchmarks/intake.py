"""The upload-complete call, durable, through Serve's own ingress and HAProxy, beside an endpoint that does nothing.

No lanes are declared, so jobs are accepted and none runs: what is measured is the accept path alone. The load comes
from the same cores.
"""

import itertools
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks import load
from benchmarks.haproxy import haproxies, own_ports

CLIENTS = (8, 32, 64)
OVERLOAD = 2000  # clients: more than a replica lets wait
SAME_KEY = 1000  # posts at once
HAPROXY = str(Path(sys.executable).with_name("farm-haproxy"))


def rates(seconds: float) -> dict[str, Any]:
    """For both ingresses: calls a second and latencies, of `seconds` each, and how the empty endpoint compares."""
    return {"default": _rates(seconds, ha_proxy=False), "haproxy": _rates(seconds, ha_proxy=True)}


def _rates(seconds: float, *, ha_proxy: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "clip.mp4"
        source.write_bytes(b"x" * 1000)
        queue: Any = multiprocessing.get_context("spawn").Queue()
        serving = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(folder, ha_proxy, queue), daemon=False
        )
        serving.start()
        port = queue.get(timeout=120)
        body = json.dumps({"source": source.as_uri(), "org": "bench", "recipe": "standard"}).encode()
        try:
            return _measure(port, body, seconds)
        finally:
            queue.put("stop")
            serving.join(90)


def _measure(port: int, body: bytes, seconds: float) -> dict[str, Any]:
    numbers = itertools.count()

    def accept(_: int) -> bytes:
        return load.request("POST", f"/v1/media/clip-{next(numbers)}/complete", body)

    def empty(_: int) -> bytes:
        return load.request("GET", "/empty/")

    load.run(port, 8, _for(2.0, accept))
    found: dict[str, Any] = {}
    for clients in CLIENTS:
        nothing = load.run(port, clients, _for(min(seconds, 10.0), empty)).figures(min(seconds, 10.0))
        accepted = load.run(port, clients, _for(seconds, accept)).figures(seconds)
        accepted["of_empty"] = round(accepted["per_s"] / nothing["per_s"], 3)
        found[f"{clients} clients"] = accepted | {"empty_per_s": nothing["per_s"]}
    over = load.run(port, OVERLOAD, _for(min(seconds, 10.0), accept))
    found["overload"] = over.figures(min(seconds, 10.0)) | {"refused_without_retry_after": over.without_retry_after}
    found["one key"] = _one_key(port, body)
    return found


def _one_key(port: int, body: bytes) -> dict[str, int]:
    """A thousand posts of one idempotency key at once."""
    asked = load.request("POST", "/v1/media/once/complete", body, "Idempotency-Key: bench-once\r\n")
    left = dict.fromkeys(range(SAME_KEY), 1)
    answers = load.run(port, SAME_KEY, lambda number: asked if left.pop(number, None) else None, bodies=True)
    return {
        "posts": SAME_KEY,
        "accepted": answers.statuses[202],
        "refused": sum(answers.statuses[status] for status in load.REFUSALS),
        "different_answers": len(answers.bodies),
    }


def _for(seconds: float, make: Callable[[int], bytes]) -> Callable[[int], bytes | None]:
    stop_at = time.monotonic() + seconds
    return lambda number: make(number) if time.monotonic() < stop_at else None


def _serve(folder: str, ha_proxy: bool, queue: Any) -> None:
    """A process with Ray, the API, and an endpoint that does nothing."""
    from cluster.farm_settings import FarmSettings, prepare_ray_environment
    from cluster.jobs import open_store
    from serve.embedded import free_port
    from serve.settings import ServeSettings, prepare_embedded_environment

    port = free_port()
    os.chdir(folder)  # an embedded farm reads what lies below the folder it was started in
    prepare_embedded_environment(port, Path(folder) / "data", True)
    ports = own_ports()
    if ha_proxy:  # as in a cluster
        os.environ |= {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_HAPROXY_BINARY_PATH": HAPROXY} | ports
    prepare_ray_environment()
    import ray
    from ray import serve as ray_serve

    from benchmarks.empty_endpoint import EmptyDeployment
    from serve.app import start_api

    store = open_store(FarmSettings.load().database)
    store.upgrade()
    store.close()
    ray.init(address="local", include_dashboard=False, namespace="farm", log_to_driver=False)
    start_api(ServeSettings())
    ray_serve.run(EmptyDeployment.bind(), name="empty", route_prefix="/empty")
    queue.put(port)
    queue.get()
    ray_serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()
    for process in haproxies(ports):
        with suppress(psutil.NoSuchProcess):
            process.kill()

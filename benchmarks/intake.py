"""The upload-complete call, durable, one Serve replica, eight clients, beside an endpoint that does nothing.

No lanes are declared, so jobs are accepted and none runs: what is measured is the accept path alone.
"""

import http.client
import json
import multiprocessing
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

CLIENTS = 8
SECONDS = 10.0


def rates() -> dict[str, Any]:
    """Requests per second and latencies of both, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "clip.mp4"
        source.write_bytes(b"x" * 1000)
        queue: Any = multiprocessing.get_context("spawn").Queue()
        serving = multiprocessing.get_context("spawn").Process(target=_serve, args=(folder, queue), daemon=False)
        serving.start()
        port = queue.get(timeout=120)
        try:
            body = json.dumps({"source": source.as_uri(), "org": "bench", "recipe": "standard"})
            _load(port, "POST", "/v1/media/warm-{n}/complete", body, 2.0)
            empty = _load(port, "GET", "/empty/", None, SECONDS)
            accept = _load(port, "POST", "/v1/media/clip-{n}/complete", body, SECONDS)
        finally:
            queue.put("stop")
            serving.join(60)
    return {"clients": CLIENTS, "accept": accept, "empty": empty, "ratio": round(accept["per_s"] / empty["per_s"], 3)}


def _serve(folder: str, queue: Any) -> None:
    """A process with Ray, the API, and an endpoint that does nothing."""
    from cluster.farm_settings import FarmSettings, prepare_ray_environment
    from cluster.jobs import open_store
    from serve.embedded import free_port
    from serve.settings import ServeSettings, prepare_embedded_environment

    port = free_port()
    os.chdir(folder)  # an embedded farm reads what lies below the folder it was started in
    prepare_embedded_environment(port, Path(folder) / "data", True)
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


def _load(port: int, method: str, path: str, body: str | None, seconds: float) -> dict[str, Any]:
    """Eight connections, each with one request in flight, for `seconds`."""
    took: list[float] = []
    other: list[int] = []
    stop_at = time.monotonic() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        count = 0
        while time.monotonic() < stop_at:
            count += 1
            began = time.monotonic()
            where = path.format(n=f"{number}-{count}")
            connection.request(method, where, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            took.append(time.monotonic() - began)
            if not 200 <= answer.status < 300:
                other.append(answer.status)
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took.sort()
    return {
        "per_s": round(len(took) / seconds, 1),
        "p50_ms": round(1000 * took[len(took) // 2], 1),
        "p99_ms": round(1000 * took[int(len(took) * 0.99)], 1),
        "requests": len(took),
        "not_2xx": len(other),
    }

"""The API against its own OpenAPI document: every check of schemathesis, 50 generated requests per operation."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.batches.results import write_results
from cluster.farm_settings import FarmSettings
from cluster.jobs import BatchStatus, Renewal
from serve.api import create_api
from serve.auth import new_key
from tests.serve.conftest import PROGRESS, ApiFarm, MakeFarm
from tests.support.asgi_server import served
from tests.support.jobs import claim, counts, finish

ROOT = Path(__file__).parents[2]
EXAMPLES = 50
LIMIT_S = 240  # of one busy core; it takes about 30 s
SECRET = "whsec_" + "A" * 43 + "="
KEY, ENTRY = new_key("test")


@pytest.mark.slow
def test_every_answer_to_generated_requests_is_what_the_document_says(make_farm: MakeFarm, tmp_path: Path) -> None:
    farm = make_farm(embedded=False, api_keys=ENTRY, callback_hosts="media.example.com", webhook_secrets=SECRET)
    jobs = _one_job_per_status(farm)
    manifest = farm.upload("list.csv", b"source\n")
    known = {"FARM_TEST_JOBS": " ".join(jobs), "FARM_TEST_SOURCE": farm.upload(), "FARM_TEST_MANIFEST": manifest}
    known["FARM_TEST_BATCHES"] = " ".join(_one_batch_per_end(farm, manifest))
    hooks = {"SCHEMATHESIS_HOOKS": "tests.serve.schemathesis_hooks", "PYTHONPATH": str(ROOT)}
    with served(create_api(farm.deps)) as url, _ending_jobs(farm):
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
        options = ["--checks=all", f"--max-examples={EXAMPLES}", "--seed=1", "--workers=2", "--no-color"]
        header = ["--header", f"Authorization: Bearer {KEY}", f"--report-dir={tmp_path}"]
        done = subprocess.run(
            [*command, *options, *header],
            cwd=tmp_path,  # it leaves files to replay failures with
            env=os.environ | known | hooks,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    # That the requests reached something is as much the point: many of them, and uploads that were accepted.
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated is not None
    assert int(generated[1]) > 10 * EXAMPLES
    assert sum(counts(farm.store).values()) > 2 * len(jobs)
    assert len(farm.store.batches.list_batches(limit=100)[0]) > 4


def _one_job_per_status(farm: ApiFarm) -> list[str]:
    """Generated ids alone would meet nothing but 404."""
    client = farm.client(headers={"Authorization": f"Bearer {KEY}"})
    ids = []
    for _ in range(4):
        answer = client.post("/v1/media/clip/complete", json={"source": farm.upload()})
        ids.append(answer.json()["job_id"])
    held = claim(farm.store, "test", 600.0, 3)
    error = {"code": "empty_file", "message": "empty", "retryable": False, "detail": {}}
    for job, status in zip(held, ("failed", "cancelled", "ready"), strict=True):
        farm.store.renew_all([Renewal(job.id, job.fence, PROGRESS)], 600.0)
        finish(farm.store, job, status, error=error if status == "failed" else None)
    return ids


def _one_batch_per_end(farm: ApiFarm, manifest: str) -> list[str]:
    """One that is read, one that was, and one that was cancelled."""
    client = farm.client(headers={"Authorization": f"Bearer {KEY}"})
    ids = []
    for number in range(3):
        answer = client.post("/v1/batches", json={"source": manifest, "max_items": number + 1})
        ids.append(answer.json()["batch_id"])
    client.post(f"/v1/batches/{ids[2]}/cancel")
    for batch in farm.store.batches.claim("test", 600.0, 3):
        if batch.id == ids[1]:
            farm.store.batches.feed(batch.id, batch.fence, [], cursor={}, ending=BatchStatus.READY)
        if batch.id != ids[0]:
            write_results(farm.store.batches.get(batch.id), farm.store.batches, FarmSettings.load(), lambda: None)
            farm.store.batches.finish(batch.id, batch.fence)
    return ids


@contextmanager
def _ending_jobs(farm: ApiFarm) -> Iterator[None]:
    """Ends every job soon, as a dispatcher would: whoever watches one shall not wait for ever."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.1):
            for job in claim(farm.store, "test", 600.0, 10):
                finish(farm.store, job, "cancelled")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)

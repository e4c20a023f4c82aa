"""The soak, before a farm that loses a job."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from benchmarks import soak
from serve.settings import ClientSettings
from tests.support.asgi_server import served


def test_a_job_that_never_ends_is_named_and_does_not_keep_the_soak_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "END_S", 1.0)
    farm = FastAPI()

    @farm.post("/v1/media/{media_id}/complete", status_code=202)
    async def complete(media_id: str) -> dict[str, str]:
        return {"job_id": media_id}

    @farm.get("/v1/jobs/{job_id}")
    async def job(job_id: str) -> dict[str, str | None]:
        return {"status": "ready", "finished_at": None if job_id == "m3" else "2026-11-27T00:00:00Z"}

    with served(farm) as url:
        told = soak.soaked(ClientSettings(url=url, api_key=SecretStr("")), tmp_path, 0.02)
    assert told["not_ended"] == ["m3"]
    assert told["jobs"] > soak.OPEN_JOBS

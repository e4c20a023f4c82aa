"""What may be announced as a finished media item."""

from pathlib import Path

import pytest

from cluster.publish import publish
from cluster.settings import StorageSettings
from cluster.storage import open_storage
from cluster.work import Work
from ladders.catalog import load_preset
from pipelines.errors import ProofFailed


def work_for(output: Path) -> Work:
    recipe = load_preset("preview")
    return Work(
        job_id="job-1",
        org="acme",
        media_id="clip",
        source_uri="file:///clip.mp4",
        source_etag="1",
        recipe=recipe.model_dump(mode="json"),
        recipe_digest=recipe.digest,
        kind="auto",
        output_uri=output.as_uri(),
        scratch_uri=output.as_uri(),
        publish_prefix=None,
        slots=1,
    )


def test_a_job_that_made_nothing_is_not_announced(tmp_path: Path) -> None:
    output, made = tmp_path / "out", tmp_path / "made"
    (made / "mp4").mkdir(parents=True)
    storage = open_storage(output.as_uri(), StorageSettings(data_dir=tmp_path))
    with pytest.raises(ProofFailed, match="nothing"):
        publish(made, {}, work_for(output), storage)
    assert not [path for path in output.rglob("*") if path.is_file()], "no manifest either"
    (made / "mp4" / "720p.mp4").write_bytes(b"a film")
    published = publish(made, {}, work_for(output), storage)
    assert storage.stat(published.manifest_key) is not None

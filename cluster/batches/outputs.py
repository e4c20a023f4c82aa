"""What came of one item as rows of its batch's results: one for each output, one without any where there is none."""

from collections.abc import Iterator, Sequence
from typing import Any

from cluster.jobs import ItemStatus, Job
from cluster.jobs.batch_model import Outcome

Row = dict[str, Any]


def rows_of(outcome: Outcome) -> Iterator[Row]:
    """The rows of one item, with the names of `cluster.batches.results.SCHEMA`; what is not there is null."""
    item, job = outcome.item, outcome.job
    error = item.error or {}
    row: Row = {
        "batch_id": item.batch_id,
        "item": item.number,
        "line": item.line,
        "source": item.source_uri,
        "media_id": item.media_id,
        "status": item.status.value,
        "error_code": error.get("code"),
        "error_message": error.get("message"),
    }
    if job is not None:
        row |= _of_job(job)
    report = job.report if job is not None else None
    outputs: list[Row] = list(_outputs(job, report)) if job is not None and report else []
    outputs = outputs or [{}]
    # What was made before cost this batch nothing.
    cost = 0.0 if item.status is ItemStatus.CURRENT and row.get("job_cost") is not None else row.get("job_cost")
    for output, share in zip(outputs, _shares(outputs), strict=True):
        yield row | output | {"cost": cost * share if cost is not None else None}


def _shares(outputs: Sequence[Row]) -> list[float]:
    """What part of the job's cost each output bears: by the CPU seconds that are known, else by pixels, else alike."""
    for weight in (
        lambda one: one.get("cpu_s") or 0.0,
        lambda one: (one.get("width") or 0) * (one.get("height") or 0),
        lambda _: 1.0,
    ):
        weights = [float(weight(one)) for one in outputs]
        if (total := sum(weights)) > 0:
            return [one / total for one in weights]
    raise AssertionError("there is at least one row")


def _of_job(job: Job) -> Row:
    report = job.report or {}
    stages, cost = report.get("stages", {}), report.get("cost") or {}
    took = (job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else None
    return {
        "job_id": job.id,
        "attempts": job.attempts,
        "kind": report.get("kind"),
        "source_bytes": job.source_bytes,
        "source_etag": job.source_etag,
        "duration_s": report.get("duration_s"),
        "job_s": took,
        "job_cpu_s": round(sum(stage.get("cpu_s", 0.0) for stage in stages.values()), 3) if stages else None,
        "revision": job.revision,
        "manifest_key": job.manifest_key,
        "recipe": job.recipe_name,
        "recipe_digest": job.recipe_digest,
        "versions": sorted(report.get("versions", {}).items()),
        "job_cost": cost.get("amount"),
        "currency": cost.get("currency"),
        "metadata": sorted((name, str(value)) for name, value in job.metadata.items()),
    }


def _outputs(job: Job, report: dict[str, Any]) -> Iterator[Row]:
    folder = (job.manifest_key or "").rpartition("/")[0]
    base = f"{folder}/" if folder else ""
    for image in report.get("images", ()):
        yield {
            "output": image["path"].rpartition("/")[2],
            "output_kind": "image",
            "codec": image["format"],
            "width": image["width"],
            "height": image["height"],
            "bytes": image["bytes"],
            "key": base + image["path"],
        }
    packaging = job.recipe.get("packaging", {})
    renditions = report.get("renditions", ())
    files = _files(renditions, packaging)
    for rendition in renditions:
        vmaf = rendition.get("vmaf") or {}
        yield {
            "output": rendition["name"],
            "output_kind": "video",
            "codec": rendition["codec"],
            "width": rendition["width"],
            "height": rendition["height"],
            "bytes": rendition["bytes"],
            "vmaf_mean": vmaf.get("mean"),
            "cpu_s": rendition["encode_cpu_s"],
            "key": _key(base, packaging, f"video-{rendition['name']}", files.get(rendition["name"])),
        }
    for track in report.get("audio", ()):
        yield {
            "output": track["name"],
            "output_kind": "audio",
            "codec": track["codec"],
            "bytes": track.get("proof", {}).get("bytes"),
            "key": _key(base, packaging, f"audio-{track['name']}", None),
        }


def _files(renditions: Sequence[Row], packaging: dict[str, Any]) -> dict[str, str]:
    """The renditions that are published as a file, as the planner chose them: the best in place of one too large."""
    names = [rendition["name"] for rendition in renditions]
    best = max(renditions, key=lambda one: one["width"] * one["height"])["name"] if renditions else ""
    wanted = {name if name in names else best for name in packaging.get("mp4", ())}
    return {name: f"mp4/{name}.mp4" for name in names if name in wanted}


def _key(base: str, packaging: dict[str, Any], playlist: str, file: str | None) -> str | None:
    """Where a player would begin with the output; None for sound that is nowhere but within a video's file."""
    if packaging.get("hls"):
        return f"{base}hls/{playlist}.m3u8"
    if packaging.get("dash"):
        return f"{base}dash/manifest.mpd"
    return f"{base}{file}" if file is not None else None

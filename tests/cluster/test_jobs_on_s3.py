"""A whole job whose source, scratch and outputs are on an S3 server: nothing may rely on a shared disk."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.farm_settings import FarmSettings
from cluster.job import JobRun
from cluster.local import LocalRunner
from cluster.settings import DatabaseSettings
from cluster.slots import Slots
from cluster.steps import required_plan
from cluster.storage import open_storage
from cluster.storage.sources import Sources
from cluster.tools import Tools
from cluster.work import Step, Work, names, scratch_prefix
from ladders.model import H264, AudioPart, AudioRendition, Packaging, Recipe, Rung, Stills, VideoPart
from pipelines.plan import ChunkPlan
from tests.support.media import Sound, clip
from tests.support.seaweed import Seaweed

pytestmark = pytest.mark.s3

RECIPE = Recipe(
    name="small",
    video=VideoPart(
        codec=H264(preset="ultrafast"),
        rungs=(Rung(name="90p", width=160, height=90, crf=30), Rung(name="180p", width=320, height=180, crf=30)),
        gop_seconds=1.0,
    ),
    audio=AudioPart(renditions=(AudioRendition(name="64k", bitrate_bps=64_000),)),
    packaging=Packaging(segment_seconds=2.0, mp4=("180p",)),
    stills=Stills(),
    vmaf="sampled",
)


@pytest.fixture
def settings(seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FarmSettings:
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path / "scratch"))
    loaded = FarmSettings.load()
    storage = seaweed.settings(source_cache_dir=tmp_path / "sources")
    return FarmSettings(storage, DatabaseSettings(data_dir=tmp_path), loaded.work)


@pytest.fixture
def scratch_uri(request: pytest.FixtureRequest, s3_uri: str, tmp_path: Path) -> str:
    return (tmp_path / "storage").as_uri() if getattr(request, "param", "s3") == "local" else s3_uri


@pytest.fixture
def work(seaweed: Seaweed, settings: FarmSettings, bucket: str, s3_uri: str, scratch_uri: str) -> Work:
    source = clip(frames=400, audio=(Sound(),))
    key = f"{s3_uri.removeprefix(f's3://{bucket}/')}/uploads/clip.mp4"
    seaweed.client().upload_file(str(source), bucket, key)
    uri = f"s3://{bucket}/{key}"
    with Sources(settings.storage, allowed=None) as sources:
        found = sources.open(uri)
    return Work(
        job_id="job-1", org="acme", media_id="clip", source_uri=uri, source_etag=found.etag,
        recipe=RECIPE.model_dump(mode="json"), recipe_digest=RECIPE.digest, kind="auto", output_uri=s3_uri,
        scratch_uri=scratch_uri, publish_prefix=None, slots=2,
    )  # fmt: skip


class Counting(LocalRunner):
    """Notes which steps were done anew, and breaks off before one of them."""

    def __init__(self, tools: Tools, stop_before: str | None = None) -> None:
        super().__init__(lambda _: tools, tools.settings)
        self.stop_before = stop_before
        self.asked: list[str] = []
        self.reused: list[str] = []

    async def run(self, work: Work, step: Step, node: str, on_progress):  # type: ignore[no-untyped-def]
        if str(step) == self.stop_before:
            raise KeyboardInterrupt
        self.asked.append(str(step))
        result = await super().run(work, step, node, on_progress)
        if result.get("reused"):
            self.reused.append(str(step))
        return result


def run(work: Work, runner: LocalRunner) -> dict[str, object]:
    return asyncio.run(JobRun(work, runner, Slots(2)).run())


def test_a_job_on_s3_publishes_what_its_manifest_lists_and_a_second_run_mends_what_was_damaged(
    work: Work, settings: FarmSettings
) -> None:
    tools = Tools.open(work, settings)
    made = run(work, LocalRunner(lambda _: tools, tools.settings))
    storage = open_storage(work.output_uri, settings.storage)
    folder = f"acme/clip/{made['revision']}"
    stored = {found.key: found.bytes for found in storage.list(folder)}
    assert made["manifest_key"] == f"{folder}/manifest.json"
    assert {f"{folder}/hls/master.m3u8", f"{folder}/dash/manifest.mpd", f"{folder}/mp4/180p.mp4"} <= set(stored)
    storage.delete(f"{folder}/hls/master.m3u8")
    storage.put_bytes(f"{folder}/mp4/180p.mp4", b"damaged")
    again = run(work, LocalRunner(lambda _: tools, tools.settings))
    assert (again["revision"], again["manifest_key"]) == (made["revision"], made["manifest_key"])
    assert {found.key: found.bytes for found in storage.list(folder)} == stored


def test_what_was_done_before_a_crash_is_found_and_not_done_again(work: Work, settings: FarmSettings) -> None:
    tools = Tools.open(work, settings)
    with pytest.raises(KeyboardInterrupt):
        run(work, Counting(tools, stop_before="finish"))
    resumed = Counting(tools)
    run(work, resumed)
    chunks = [step for step in resumed.reused if step.startswith("chunk")]
    assert "audio" in resumed.reused
    assert len(chunks) >= 2, "the clip was cut into several chunks, and every one was found"


def test_a_chunk_of_which_one_rendition_is_missing_gets_only_that_one_encoded(
    work: Work, settings: FarmSettings
) -> None:
    tools = Tools.open(work, settings)
    with pytest.raises(KeyboardInterrupt):
        run(work, Counting(tools, stop_before="finish"))
    where, (first, *_) = names(work), cuts(work, tools)
    kept = tools.scratch.stat(where.chunk(first, "180p"))
    assert kept is not None
    tools.scratch.delete(where.chunk_facts(first, "90p"))
    run(work, Counting(tools))
    after = tools.scratch.stat(where.chunk(first, "180p"))
    assert after is not None
    assert after.modified_s == kept.modified_s


def cuts(work: Work, tools: Tools) -> tuple[ChunkPlan, ...]:
    video = required_plan(names(work), tools).video
    assert video is not None
    return video.chunks


@pytest.mark.parametrize("scratch_uri", ["local", "s3"], indirect=True)
@pytest.mark.parametrize("harmed", ["chunks", "facts and audio"])
def test_results_that_were_damaged_or_lost_before_the_end_are_made_again_and_the_others_are_not(
    work: Work, settings: FarmSettings, harmed: str
) -> None:
    tools, where = Tools.open(work, settings), names(work)
    with pytest.raises(KeyboardInterrupt):
        run(work, Counting(tools, stop_before="finish"))
    _, last = cuts(work, tools)
    if harmed == "chunks":
        tools.scratch.put_bytes(where.chunk(last, "180p"), b"damaged")
        tools.scratch.delete(where.chunk(last, "90p"))
    else:
        tools.scratch.put_bytes(where.chunk_facts(last, "180p"), b"")
        tools.scratch.put_bytes(where.audio("und-64k"), b"damaged")
    resumed = Counting(tools)
    made = run(work, resumed)
    rounds = resumed.asked.count("finish")
    anew = {step: rounds - resumed.reused.count(step) for step in ("chunk 0", "chunk 1", "audio")}
    assert anew == {"chunk 0": 0, "chunk 1": 1, "audio": int(harmed != "chunks")}
    report: Any = made["report"]
    assert [rendition["proof"]["ok"] for rendition in report["renditions"]] == [True, True]


def test_chunks_of_a_lost_plan_are_not_joined_by_another_that_cuts_elsewhere(
    work: Work, settings: FarmSettings
) -> None:
    tools = Tools.open(work, settings)
    with pytest.raises(KeyboardInterrupt):
        run(replace(work, slots=1), Counting(tools, stop_before="finish"))
    assert len(cuts(work, tools)) == 1
    tools.scratch.delete(names(work).plan)
    report: Any = run(work, Counting(tools))["report"]
    assert len(cuts(work, tools)) == 2
    assert [rendition["proof"]["ok"] for rendition in report["renditions"]] == [True, True]


def test_another_job_of_the_item_takes_from_the_bucket_what_is_whole_there(work: Work, settings: FarmSettings) -> None:
    tools = Tools.open(work, settings)
    made = run(work, LocalRunner(lambda _: tools, tools.settings))
    tools.output.put_bytes(f"acme/clip/{made['revision']}/video/90p/seg_00002.m4s", b"damaged")
    again = Counting(tools)
    changes: Any = {"job_id": "job-2", "recipe_digest": "d2", "earlier_manifest_key": made["manifest_key"]}
    report: Any = run(replace(work, **changes), again)["report"]
    assert again.asked == ["inspect", "finish", "inspect", "chunk 0", "chunk 1", "finish"]
    assert [one["reused_from"] for one in report["renditions"]] == [None, made["revision"]]
    assert report["audio"][0]["reused_from"] == made["revision"]


def test_sweeping_leaves_nothing_of_the_job_and_all_of_what_it_published(work: Work, settings: FarmSettings) -> None:
    tools = Tools.open(work, settings)
    made = run(work, LocalRunner(lambda _: tools, tools.settings))
    tools.sweep(work)
    assert list(tools.scratch.list(scratch_prefix(work.job_id))) == []
    assert tools.output.stat(str(made["manifest_key"])) is not None

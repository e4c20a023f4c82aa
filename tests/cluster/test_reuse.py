"""A media item that is made again: what its last revision has is taken, and only the rest is made."""

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import ResultsDamaged
from cluster.farm_settings import FarmSettings
from cluster.job import JobRun, OnStep
from cluster.local import LocalRunner
from cluster.media_process import Watch, run_media
from cluster.reuse import provable, read_taken
from cluster.slots import Slots
from cluster.steps import run_step
from cluster.storage.sources import source_of
from cluster.tools import Tools
from cluster.work import Step, Work, names
from ladders.model import H264, AudioPart, AudioRendition, Packaging, Recipe, Rung, Stills, VideoPart
from pipelines import version
from pipelines.errors import CorruptMedia, MediaError, MediaProcessFailed, MediaTimeout, ProofFailed, ScratchFull
from tests.support.media import Sound, clip

LOW = Rung(name="low", width=160, height=90, crf=34)
HIGH = Rung(name="high", width=320, height=180, crf=34)
TINY = Rung(name="tiny", width=128, height=72, crf=34)


def recipe(*rungs: Rung, tracks: tuple[int, ...] = (64,), **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "small",
        "video": VideoPart(codec=H264(preset="ultrafast"), rungs=rungs, gop_seconds=1.0) if rungs else None,
        "audio": AudioPart(renditions=tuple(AudioRendition(name=f"{n}k", bitrate_bps=n * 1000) for n in tracks)),
        "packaging": Packaging(segment_seconds=2.0, mp4=("high",) if HIGH in rungs else ()),
        "stills": Stills(poster=False, sprites=False),
        "vmaf": "off",
    }
    return Recipe(**(values | changes))


@dataclass
class Revision:
    """What one job published, and what its media processes encoded for that."""

    folder: Path
    made: list[str]
    report: dict[str, Any]
    progress: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    def files(self, *folders: str) -> dict[str, bytes]:
        """By path, those in these folders."""
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        files = {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in paths}
        return {name: data for name, data in files.items() if name.startswith(folders)}

    def change(self, what: Callable[[dict[str, Any]], object]) -> None:
        """Its manifest, as if it had been written otherwise."""
        path = self.folder / "manifest.json"
        manifest = json.loads(path.read_text())
        what(manifest)
        path.write_text(json.dumps(manifest))

    def reused(self) -> dict[str, str | None]:
        entries = [*self.report["renditions"], *self.report["audio"]]
        return {entry["name"]: entry["reused_from"] for entry in entries}

    def rendition(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(entry for entry in self.report["renditions"] if entry["name"] == name)
        return found


class Farm:
    """Jobs of one media item, one after the other, on this machine."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, last: str | None = None) -> None:
        patch.setenv("FARM_SCRATCH_DIR", str(folder / "scratch"))
        self.settings = FarmSettings.load()
        self.storage = folder / "storage"
        self.made: list[str] = []
        self.jobs = 0
        self.last = last  # the manifest key of the last revision

        def noted(command: str, asked: Any, *rest: Any) -> Any:
            if command == "chunk":
                self.made += [f"{rendition.name} {asked.chunk.number}" for rendition in asked.video.renditions]
            if command == "audio":
                self.made += [track.name for track in asked.tracks]
            return run_media(command, asked, *rest)

        patch.setattr("cluster.steps.run_media", noted)

    def work(self, wanted: Recipe, source: Path, **changes: Any) -> Work:
        self.jobs += 1
        found = source_of(str(source), self.settings.storage)
        uri = self.storage.as_uri()
        work = Work(
            job_id=f"job-{self.jobs}", org="acme", media_id="clip", source_uri=found.uri, source_etag=found.etag,
            recipe=wanted.model_dump(mode="json"), recipe_digest=wanted.digest, kind="auto", output_uri=uri,
            scratch_uri=uri, publish_prefix=None, slots=2,
        )  # fmt: skip
        return replace(work, **changes)

    def run(self, wanted: Recipe, source: Path) -> Revision:
        """One job; its revision is the item's last one from then on."""
        return self.drive(self.work(wanted, source))

    def drive(self, work: Work, *, stop_before: str = "") -> Revision:
        self.made.clear()
        tools = Tools.open(work, self.settings)
        runner = Stopping(tools, stop_before)
        job = JobRun(replace(work, earlier_manifest_key=self.last), runner, Slots(2))
        published = asyncio.run(job.run())
        tools.sweep(work)
        self.last = published["manifest_key"]
        folder = (self.storage / published["manifest_key"]).parent
        return Revision(folder, sorted(self.made), published["report"], job.progress.snapshot())

    def reusable(self, wanted: Recipe, source: Path) -> list[str]:
        """What a job would take of the last revision."""
        work = self.work(wanted, source, earlier_manifest_key=self.last)
        reused: list[str] = run_step(work, Step("inspect"), Tools.open(work, self.settings), Watch())["reused"]
        return reused


class Stopping(LocalRunner):
    """Breaks off before one step."""

    def __init__(self, tools: Tools, before: str) -> None:
        super().__init__(lambda _: tools, tools.settings)
        self._before = before

    async def run(self, work: Work, step: Step, node: str, on_progress: OnStep) -> dict[str, Any]:
        if str(step) == self._before:
            raise KeyboardInterrupt
        return await super().run(work, step, node, on_progress)


@pytest.fixture(scope="module")
def source() -> Path:
    """Long enough for two chunks."""
    return clip(frames=250, audio=(Sound(),))


@pytest.fixture(scope="module")
def published(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Revision]:
    """A storage with the item's first revision, of two rungs and a track; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        first = Farm(folder, patch).run(recipe(LOW, HIGH), source)
    return folder, first


@pytest.fixture
def first(published: tuple[Path, Revision], tmp_path: Path) -> Revision:
    """The first revision, in a storage of the test's own."""
    folder, made = published
    shutil.copytree(folder / "storage", tmp_path / "storage")
    return replace(made, folder=tmp_path / made.folder.relative_to(folder))


@pytest.fixture
def farm(first: Revision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Farm:
    """A farm that has that revision."""
    return Farm(tmp_path, monkeypatch, f"acme/clip/{first.name}/manifest.json")


EVERYTHING = ["high 0", "high 1", "low 0", "low 1", "und-64k"]


def test_a_rung_that_is_added_is_encoded_alone_and_one_that_is_dropped_costs_no_encoder(
    farm: Farm, first: Revision, source: Path
) -> None:
    more = farm.run(recipe(TINY, LOW, HIGH), source)
    assert (first.made, more.made) == (EVERYTHING, ["tiny 0", "tiny 1"])
    kept = ("video/low/", "video/high/", "audio/", "mp4/")
    assert more.files(*kept) == first.files(*kept)
    assert more.files("video/tiny/seg_")
    assert more.progress["renditions"] == {"tiny": {"frames_done": 250, "frames": 250}}
    assert more.progress["reused"] == ["low", "high", "und-64k"]
    assert more.reused() == {"tiny": None, "low": first.name, "high": first.name, "und-64k": first.name}

    less = farm.run(recipe(HIGH), source)
    assert less.made == []
    assert less.files("video/", "audio/") == first.files("video/high/", "audio/")
    assert less.progress["chunks"] == {"done": 0, "total": 0}
    assert less.report["stages"].keys().isdisjoint({"chunk", "audio", "vmaf"})
    assert less.report["path"]["chunks"] == 0
    assert less.reused() == {"high": first.name, "und-64k": first.name}, "the revision that it was encoded for"


def test_a_reused_rendition_is_proven_anew_and_carries_over_what_only_encoding_tells(
    farm: Farm, first: Revision, source: Path
) -> None:
    vmaf = {"mean": 91.5, "one_percent_low": 80.0, "harmonic_mean": 91.0, "frames": 25}
    first.change(lambda manifest: manifest["report"]["renditions"][0].update(vmaf=vmaf, proof={"ok": "so it says"}))
    second = farm.run(recipe(LOW), source)
    before, after = first.rendition("low"), second.rendition("low")
    assert after == before | {"reused_from": first.name, "vmaf": vmaf}
    assert after["proof"]["ok"] is True
    assert second.report["audio"] == [first.report["audio"][0] | {"reused_from": first.name}]


def test_a_rung_whose_option_changed_is_made_again_alone_and_a_new_name_is_no_change(
    farm: Farm, first: Revision, source: Path
) -> None:
    second = farm.run(recipe(LOW.model_copy(update={"crf": 40.0}), HIGH.model_copy(update={"name": "top"})), source)
    assert second.made == ["low 0", "low 1"]
    before = {path.removeprefix("video/high/"): data for path, data in first.files("video/high/").items()}
    assert {path.removeprefix("video/top/"): data for path, data in second.files("video/top/").items()} == before


def test_another_bitrate_of_the_sound_leaves_the_first_one_and_the_pictures_alone(
    farm: Farm, first: Revision, source: Path
) -> None:
    second = farm.run(recipe(LOW, HIGH, tracks=(64, 32)), source)
    assert second.made == ["und-32k"]
    assert second.files("audio/und-64k/", "video/") == first.files("audio/und-64k/", "video/")


def test_what_is_damaged_or_gone_is_made_again_and_the_rest_is_not(farm: Farm, first: Revision, source: Path) -> None:
    kept = first.files("video/", "audio/")
    (first.folder / "video/low/seg_00002.m4s").write_bytes(b"damaged")
    (first.folder / "audio/und-64k/seg_00002.m4s").unlink()
    second = farm.run(recipe(TINY, LOW, HIGH), source)
    assert second.made == ["low 0", "low 1", "tiny 0", "tiny 1", "und-64k"]
    assert second.files("video/low/", "video/high/", "audio/") == kept
    assert second.reused() == {"tiny": None, "low": None, "high": first.name, "und-64k": None}
    assert second.progress["renditions"]["low"] == {"frames_done": 250, "frames": 250}


def test_a_rendition_under_the_identity_of_another_fails_its_proof_and_everything_is_made(
    farm: Farm, first: Revision, source: Path
) -> None:
    def swap(manifest: dict[str, Any]) -> None:
        low, high = manifest["report"]["renditions"]
        low["identity"], high["identity"] = high["identity"], low["identity"]

    first.change(swap)
    assert farm.run(recipe(LOW, HIGH), source).made == EVERYTHING


@pytest.mark.parametrize(
    ("error", "cause", "forgotten"),
    [
        (ProofFailed("59 frames instead of 60"), None, True),
        (MediaProcessFailed("refused"), CorruptMedia("no frame"), True),
        (MediaProcessFailed("refused"), MediaTimeout("too slow"), False),
        (ScratchFull("no room"), None, False),
    ],
)
def test_only_what_is_said_against_a_rendition_has_it_made_again(
    farm: Farm, source: Path, error: MediaError, cause: MediaError | None, forgotten: bool
) -> None:
    work = farm.work(recipe(LOW), source, earlier_manifest_key=farm.last)
    tools, where = Tools.open(work, farm.settings), names(work)
    run_step(work, Step("inspect"), tools, Watch())
    taken = read_taken(where, tools)
    with pytest.raises(ResultsDamaged if forgotten else type(error)), provable(taken, where, tools):
        raise error from cause
    assert taken.keys() == {"video/low", "audio/und-64k"}
    assert set(read_taken(where, tools)) == (set() if forgotten else taken.keys())


def test_nothing_is_reused_of_another_source_by_another_engine_or_from_what_cannot_be_read(
    farm: Farm, first: Revision, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert farm.reusable(recipe(LOW, HIGH), source) == ["low", "high", "und-64k"]
    shutil.copy(source, tmp_path / "same-bytes.mp4")
    assert farm.reusable(recipe(LOW, HIGH), tmp_path / "same-bytes.mp4") == []
    with monkeypatch.context() as patch:
        patch.setattr(version, "ENGINE", version.ENGINE + 1)
        assert farm.reusable(recipe(LOW, HIGH), source) == []
    first.change(lambda manifest: manifest["report"]["audio"][0].pop("identity"))
    assert farm.reusable(recipe(LOW, HIGH), source) == ["low", "high"]
    (first.folder / "video/low/init.mp4").unlink()
    assert farm.reusable(recipe(LOW, HIGH), source) == ["high"]
    first.change(lambda manifest: manifest["report"]["renditions"][1].pop("encode_cpu_s"))
    assert farm.reusable(recipe(LOW, HIGH), source) == [], "what a later version could not report on"
    for text in ("", "{}", '{"report": {"kind": "image"}, "artifacts": []}', "[]"):
        (first.folder / "manifest.json").write_text(text)
        assert farm.reusable(recipe(LOW, HIGH), source) == []
    (first.folder / "manifest.json").unlink()
    assert farm.reusable(recipe(LOW, HIGH), source) == []


def test_a_rendition_that_was_measured_less_than_is_asked_is_made_again(
    farm: Farm, first: Revision, source: Path
) -> None:
    first.change(lambda manifest: manifest["report"]["renditions"][1].update(vmaf_mode="sampled"))
    reusable = {vmaf: farm.reusable(recipe(LOW, HIGH, vmaf=vmaf), source) for vmaf in ("off", "sampled", "full")}
    assert reusable == {
        "off": ["low", "high", "und-64k"],
        "sampled": ["high", "und-64k"],
        "full": ["und-64k"],
    }


def test_a_job_that_was_killed_goes_on_with_what_it_had_chosen_whatever_was_published_meanwhile(
    farm: Farm, first: Revision, source: Path
) -> None:
    work = farm.work(recipe(TINY, HIGH), source)
    with pytest.raises(KeyboardInterrupt):
        farm.drive(work, stop_before="finish")
    made = sorted(farm.made)
    farm.last = None
    second = farm.drive(work)
    assert (made, second.made) == (["tiny 0", "tiny 1"], [])
    assert second.reused() == {"tiny": None, "high": first.name, "und-64k": first.name}


def test_sound_alone_is_reused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    song = clip(suffix="m4a", codec=None, audio=(Sound(rate_hz=44_100),))
    farm = Farm(tmp_path, monkeypatch)
    before = farm.run(recipe(tracks=(64,)), song)
    after = farm.run(recipe(tracks=(64, 96)), song)
    assert (before.made, after.made) == (["und-64k"], ["und-96k"])
    assert after.files("audio/und-64k/") == before.files("audio/und-64k/")
    assert after.report["audio"][0]["proof"] == before.report["audio"][0]["proof"]

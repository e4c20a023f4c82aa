"""Batches from their manifest to their results, with jobs that end at once: a real store, real files, no Ray."""

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cluster.batches import counting, listing, results
from cluster.batches import feed as feed_module
from cluster.batches.feed import Feed
from cluster.batches.reading import media_id_of
from cluster.batches.results import SUCCESS
from cluster.errors import FenceLost, StoreUnavailable
from cluster.farm_settings import FarmSettings
from cluster.jobs import Batch, BatchStatus, ItemStatus, SqlStore, open_store
from cluster.storage import open_storage
from tests.support.batches import new_batch
from tests.support.jobs import claim, counts, finish

REPORT: dict[str, Any] = {
    "kind": "image",
    "images": [
        {"path": "images/w150.webp", "format": "webp", "width": 150, "height": 100, "bytes": 7},
        {"path": "images/w150.jpg", "format": "jpeg", "width": 150, "height": 100, "bytes": 9},
    ],
    "stages": {"image": {"cpu_s": 0.5}},
    "cost": {"amount": 0.004, "currency": "EUR", "nodes": {}},
    "versions": {"engine": "2"},
}
ERROR = {"code": "not_media", "message": "no media", "retryable": False, "detail": {}}


class Farm:
    """Feeds batches, and ends their jobs as a dispatcher would."""

    def __init__(self, folder: Path) -> None:
        self.uploads = folder / "uploads"
        self.uploads.mkdir()
        self.settings = FarmSettings.load()
        self.store: SqlStore = open_store(self.settings.database)
        self.store.upgrade()
        self.output = open_storage(self.settings.storage.storage_uri, self.settings.storage)
        self.outcome: Callable[[str], str] = lambda _: "ready"

    def upload(self, name: str, content: bytes = b"x") -> str:
        path = self.uploads / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path.as_uri()

    def manifest(self, *lines: str) -> str:
        (self.uploads / "list.jsonl").write_text("\n".join(lines))
        return (self.uploads / "list.jsonl").as_uri()

    def batch(self, source: str, **changes: Any) -> Batch:
        manifest = source.endswith(".jsonl")
        path = Path(source.removeprefix("file://"))
        etag = None
        if manifest:
            from cluster.storage.local import fingerprint

            etag = fingerprint(path.stat())
        results = f"{self.settings.storage.storage_uri}/acme/batches"
        asked = new_batch(**{"source_uri": source, "source_etag": etag, "results_uri": results} | changes)
        return self.store.batches.create(asked)[0]

    def feed(self) -> Feed:
        (batch,) = self.store.batches.claim("feeder", 60, 1)
        return Feed(batch, self.store, self.settings)

    def work(self) -> int:
        """End what is queued; how many there were."""
        jobs = claim(self.store, "dispatcher", 60, 1000)
        for job in jobs:
            status = self.outcome(job.media_id)
            if status != "ready":
                finish(self.store, job, status, error=ERROR)
                continue
            key = f"{job.org}/{job.media_id}/0123456789abcdef/manifest.json"
            self.output.put_bytes(key, b"{}")
            finish(self.store, job, "ready", manifest_key=key, revision="r", report=REPORT)
        return len(jobs)

    def end(self, feed: Feed | None = None) -> Batch:
        """Feed and work until the batch has ended."""
        feed = feed or self.feed()
        for _ in range(200):
            if feed.step(slots=2):
                return self.store.batches.get(feed.batch.id)
            self.work()
        raise AssertionError(f"it never ends: {self.store.batches.get(feed.batch.id)}")

    def rows(self, batch: Batch) -> list[dict[str, Any]]:
        folder = f"acme/batches/{batch.id}"
        parts = json.loads(self.output.get_bytes(f"{folder}/{SUCCESS}"))["parts"]
        rows = []
        for part in parts:
            path = self.output.local_path(f"{folder}/{part['name']}")
            assert path is not None
            found = pq.read_table(path).to_pylist()
            assert len(found) == part["rows"]
            rows += found
        return rows


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Farm]:
    monkeypatch.setenv("FARM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path / "scratch"))
    monkeypatch.setenv("FARM_SOURCE_PREFIXES", (tmp_path / "uploads").as_uri())
    opened = Farm(tmp_path)
    yield opened
    opened.store.close()


def test_each_line_becomes_an_item_whatever_is_wrong_with_the_others(farm: Farm) -> None:
    good, gone, empty = farm.upload("a.jpg"), (farm.uploads / "gone.jpg").as_uri(), farm.upload("empty.jpg", b"")
    batch = farm.batch(
        farm.manifest(
            json.dumps({"source": good, "media_id": "mine", "kind": "image", "shoot": 7}),
            "{",
            json.dumps(gone),
            json.dumps("file:///etc/passwd"),
            json.dumps(empty),
            json.dumps({"source": good, "media_id": "../../x"}),
            json.dumps({"source": good, "org": "other"}),
        )
    )
    ended = farm.end()
    assert (ended.status, ended.items, ended.ready, ended.refused) == (BatchStatus.READY, 7, 1, 6)
    rows = farm.rows(batch)
    codes = ["invalid_item", "source_missing", "forbidden_uri", "empty_file", "invalid_item", "invalid_item"]
    assert [row["error_code"] for row in rows] == [None, None, *codes]
    assert rows[2]["error_message"] == "line 2: the line is no JSON"
    assert [(row["output"], row["width"], row["bytes"], row["key"]) for row in rows[:2]] == [
        ("w150.webp", 150, 7, "acme/mine/0123456789abcdef/images/w150.webp"),
        ("w150.jpg", 150, 9, "acme/mine/0123456789abcdef/images/w150.jpg"),
    ]
    assert (dict(rows[0]["metadata"]), rows[0]["job_cpu_s"]) == ({"shoot": "7"}, 0.5)


def test_the_costs_of_all_rows_are_what_the_batch_cost_and_what_was_there_cost_nothing(farm: Farm) -> None:
    lines = [json.dumps({"source": farm.upload(f"{n}.jpg"), "media_id": f"m{n}"}) for n in range(3)]
    farm.outcome = lambda media_id: "failed" if media_id == "m2" else "ready"
    first = farm.batch(farm.manifest(*lines))
    ended = farm.end()
    assert ended.cost == pytest.approx(0.008)
    rows = farm.rows(first)
    assert sum(row["cost"] or 0.0 for row in rows) == pytest.approx(0.008)
    assert [(row["cost"], row["job_cost"], row["currency"]) for row in rows] == [
        *[(pytest.approx(0.002), 0.004, "EUR")] * 4,
        (None, None, None),
    ]
    farm.outcome = lambda _: "ready"
    again = farm.batch(farm.manifest(*lines))
    assert farm.end().cost == pytest.approx(0.004), "of the one that had failed"
    rows = farm.rows(again)
    assert [row["cost"] for row in rows if row["status"] == "current"] == [0.0] * 4
    assert sum(row["cost"] for row in rows) == pytest.approx(0.004)


def test_every_row_has_what_the_data_team_asks_for(farm: Farm) -> None:
    batch = farm.batch(farm.manifest(json.dumps(farm.upload("a.jpg"))))
    farm.end()
    seconds = {"duration_s", "cpu_s", "job_s", "job_cpu_s"}
    wanted = {"source", "output", "status", "error_code", "attempts", "bytes", "width", "height", "vmaf_mean", "cost"}
    for row in farm.rows(batch):
        assert wanted | seconds | {"versions", "recipe", "recipe_digest"} <= row.keys()
        assert (row["status"], row["attempts"], dict(row["versions"])) == ("ready", 1, {"engine": "2"})


def test_a_prefix_is_gone_through_in_order_by_its_glob_without_hidden_names(farm: Farm) -> None:
    for name in ("b/1.jpg", "b/2.png", "b-c/3.jpg", "b/deep/4.jpg", ".hidden/5.jpg", "b/.6.jpg", "7.jpg", "b/é 8.jpg"):
        farm.upload(name)
    (farm.uploads / "link").symlink_to(farm.uploads / "b")
    batch = farm.batch(farm.uploads.as_uri() + "/**/*.jpg", max_items=None)
    farm.end()
    sources = [item.source_uri or "" for item in farm.store.batches.items(batch.id)[0]]
    names = [source.removeprefix(farm.uploads.as_uri() + "/") for source in sources]
    assert names == ["7.jpg", "b/1.jpg", "b/deep/4.jpg", "b/%C3%A9%208.jpg", "b-c/3.jpg"]


def test_whoever_takes_a_batch_over_goes_on_behind_the_last_item_of_it(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "GROUP", 3)
    monkeypatch.setattr(feed_module, "GROUPS_A_STEP", 1)
    for number in range(10):
        farm.upload(f"in/{number}.jpg")
    (farm.uploads / "in" / "x").mkdir()
    farm.upload("in/x/10.jpg")
    for source in (
        farm.uploads.as_uri() + "/in/",
        farm.manifest(*(json.dumps(farm.upload(f"{n}")) for n in range(11))),
    ):
        batch = farm.batch(source)
        while not farm.feed().step(slots=2):  # a new owner for every step
            farm.work()
            held = farm.store.batches.get(batch.id)
            farm.store.batches.release(held.id, held.fence)
        items, _ = farm.store.batches.items(batch.id, limit=100)
        assert len({item.source_uri for item in items}) == len(items) == 11


def test_a_glob_that_names_little_is_listed_in_pieces_that_nobody_lists_again(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PASSED", 5)
    monkeypatch.setattr(feed_module, "LISTING_S", 0.0)
    for number in range(40):
        farm.upload(f"in/{number:02}.{'png' if number in (20, 39) else 'jpg'}")
    batch = farm.batch(farm.uploads.as_uri() + "/in/*.png")
    cursors: list[str] = []
    while True:
        feed = farm.feed()  # a new owner for every step
        if feed.step(slots=2):
            break
        farm.work()
        held = farm.store.batches.get(batch.id)
        cursors.append(str(held.cursor["after"]))
        farm.store.batches.release(held.id, held.fence)
    assert cursors[:5] == ["04.jpg", "09.jpg", "14.jpg", "19.jpg", "20.png"]
    assert cursors == sorted(cursors)
    assert farm.store.batches.get(batch.id).ready == 2


def test_a_prefix_is_counted_in_pieces_beside_the_work_and_not_anew_after_a_hiccup(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "LISTING_S", 0.0)
    for name, value in (("GROUP", 2), ("LEAST_WINDOW", 4), ("WINDOW_PER_SLOT", 0)):
        monkeypatch.setattr(feed_module, name, value)
    for number in range(12):
        farm.upload(f"in/{number:02}.jpg")
    batch = farm.batch(farm.uploads.as_uri() + "/in/")
    feed = farm.feed()
    for _ in range(5):
        feed.step(slots=2)
    now = farm.store.batches.get(batch.id)
    assert (now.total, now.open) == (None, 3), "jobs before all is counted, one window of them"
    monkeypatch.setattr(farm.store.batches, "settle", away)
    with pytest.raises(StoreUnavailable):
        feed.step(slots=2)
    monkeypatch.undo()
    for _ in range(8):
        monkeypatch.setattr(feed_module, "LISTING_S", 0.0)
        feed.step(slots=2)
    assert farm.store.batches.get(batch.id).total == 12
    assert farm.end(feed).ready == 12


def away(*_: Any) -> Batch:
    raise StoreUnavailable("the job store cannot be reached")


@pytest.mark.parametrize(("counted", "total"), [(100, 7), (3, None)])
def test_a_prefix_too_large_to_be_counted_is_not_counted_again(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, counted: int, total: int | None
) -> None:
    monkeypatch.setattr(counting, "MOST_COUNTED", counted)
    for name, value in (("GROUP", 2), ("LEAST_WINDOW", 4), ("WINDOW_PER_SLOT", 0)):
        monkeypatch.setattr(feed_module, name, value)
    for number in range(7):
        farm.upload(f"in/{number}.jpg")
    batch = farm.batch(farm.uploads.as_uri() + "/in/")
    feed = farm.feed()
    feed.step(slots=2)
    assert farm.store.batches.get(batch.id).total == total

    def objects(*_: Any) -> Iterator[Any]:
        raise AssertionError("it is counted again")

    monkeypatch.setattr(counting, "objects", objects)
    assert farm.end(feed).ready == 7


def test_a_commit_that_was_lost_neither_loses_nor_doubles_an_item(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "GROUP", 2)
    batch = farm.batch(farm.manifest(*(json.dumps(farm.upload(f"{n}.jpg")) for n in range(5))))
    feed = farm.feed()
    real, calls = farm.store.batches.feed, 0

    def flaky(*args: Any, **named: Any) -> Batch:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StoreUnavailable("the job store cannot be reached")
        return real(*args, **named)

    monkeypatch.setattr(farm.store.batches, "feed", flaky)
    with pytest.raises(StoreUnavailable):
        feed.step(slots=2)
    assert farm.end(feed).ready == 5
    assert farm.store.batches.get(batch.id).items == 5


def test_no_more_jobs_are_open_than_the_window_holds(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("GROUP", 2), ("LEAST_WINDOW", 4), ("WINDOW_PER_SLOT", 0)):
        monkeypatch.setattr(feed_module, name, value)
    farm.batch(farm.manifest(*(json.dumps(farm.upload(f"{n}.jpg")) for n in range(9))))
    feed = farm.feed()
    worked = []
    while not feed.step(slots=2):
        worked.append(farm.work())
    assert worked == [4, 4, 1]


def test_what_was_made_before_is_skipped_while_it_is_there(farm: Farm) -> None:
    lines = [json.dumps(farm.upload(f"{n}.jpg")) for n in range(3)]
    farm.batch(farm.manifest(*lines))
    farm.end()
    first = (farm.uploads / "0.jpg").as_uri()
    shutil.rmtree(Path(farm.settings.storage.storage_uri.removeprefix("file://")) / "acme" / media_id_of(first))
    (farm.uploads / "1.jpg").write_bytes(b"another picture")
    again = farm.batch(farm.manifest(*lines))
    ended = farm.end()
    assert (ended.current, ended.ready) == (1, 2)
    current = [row for row in farm.rows(again) if row["status"] == "current"]
    assert [row["output"] for row in current] == ["w150.webp", "w150.jpg"], "rows of what was made before"
    farm.batch(farm.manifest(*lines), recipe_digest="e" * 64)
    assert farm.end().ready == 3, "another recipe makes other pictures"


def test_stopping_at_an_error_lets_running_jobs_end_and_retry_goes_on(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("GROUP", 2), ("LEAST_WINDOW", 4), ("WINDOW_PER_SLOT", 0)):
        monkeypatch.setattr(feed_module, name, value)
    lines = [json.dumps({"source": farm.upload(f"{n}.jpg"), "media_id": f"m{n}"}) for n in range(8)]
    batch = farm.batch(farm.manifest(*lines), on_error="stop")
    farm.outcome = lambda media_id: "failed" if media_id == "m1" else "ready"
    ended = farm.end()
    assert (ended.status, ended.items, ended.ready, ended.failed) == (BatchStatus.STOPPED, 4, 3, 1)
    farm.outcome = lambda _: "ready"
    farm.store.batches.retry(batch.id)
    feed = farm.feed()
    feed.step(slots=2)
    farm.work()
    feed.step(slots=2)
    assert farm.store.batches.get(batch.id).total == 8, "all lines, also those that were not read before"
    ended = farm.end(feed)
    assert (ended.status, ended.items, ended.ready, ended.failed) == (BatchStatus.READY, 8, 8, 0)
    assert len(farm.rows(batch)) == 16
    jobs = {item.job_id for item in farm.store.batches.items(batch.id)[0]}
    assert len(jobs) == 8
    assert sum(counts(farm.store).values()) == 8, "the failed job was tried again, not made anew"


def test_a_job_that_is_retried_by_itself_opens_its_batch_again_and_counts_in_it(farm: Farm) -> None:
    lines = [json.dumps({"source": farm.upload(f"{n}.jpg"), "media_id": f"m{n}"}) for n in range(3)]
    batch = farm.batch(farm.manifest(*lines))
    farm.outcome = lambda media_id: "failed" if media_id == "m1" else "ready"
    assert farm.end().failed == 1
    job = farm.store.latest_for_media("acme", "m1")
    assert job is not None
    farm.store.retry(job.id)
    opened = farm.store.batches.get(batch.id)
    assert (opened.status, opened.finished_at, opened.open, opened.failed) == (BatchStatus.RUNNING, None, 1, 0)
    farm.outcome = lambda _: "ready"
    ended = farm.end()
    assert (ended.status, ended.ready, ended.failed) == (BatchStatus.READY, 3, 0)
    assert {row["status"] for row in farm.rows(batch)} == {"ready"}


def test_a_job_that_is_retried_while_its_batch_runs_is_waited_for(farm: Farm) -> None:
    lines = [json.dumps({"source": farm.upload(f"{n}.jpg"), "media_id": f"m{n}"}) for n in range(2)]
    batch = farm.batch(farm.manifest(*lines))
    feed = farm.feed()
    feed.step(slots=2)
    first, second = claim(farm.store, "dispatcher", 60, 2)
    finish(farm.store, first, "failed", error=ERROR)
    feed.step(slots=2)
    assert farm.store.batches.get(batch.id).failed == 1
    farm.store.retry(first.id)
    finish(farm.store, second, "failed", error=ERROR)
    farm.store.retry(second.id)  # before anybody noticed
    ended = farm.end(feed)
    assert (ended.ready, ended.failed) == (2, 0)


def test_of_lines_with_one_media_id_the_first_is_made_and_the_others_are_refused(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "GROUP", 2)  # the last two are read after the first was committed
    sources = [farm.upload(f"{n}.jpg") for n in range(4)]
    batch = farm.batch(farm.manifest(*(json.dumps({"source": source, "media_id": "same"}) for source in sources)))
    ended = farm.end()
    assert (ended.ready, ended.refused) == (1, 3)
    items = farm.store.batches.items(batch.id)[0]
    assert [item.status for item in items] == [ItemStatus.READY, *[ItemStatus.REFUSED] * 3]
    assert items[3].error is not None
    assert items[3].error["message"] == "line 4: another line of this batch has its media_id"


def test_of_lines_with_one_media_id_the_same_one_is_made_in_every_run_and_retry(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [farm.upload(f"{n}.jpg") for n in range(3)]
    lines = [json.dumps({"source": source, "media_id": "same"}) for source in sources]
    for group in (128, 1):  # 1: the others are read after the first was committed
        monkeypatch.setattr(feed_module, "GROUP", group)
        for made in (ItemStatus.READY, ItemStatus.CURRENT, ItemStatus.CURRENT):
            batch = farm.batch(farm.manifest(*lines), recipe_digest=f"{group:064}")
            for _ in range(2):
                farm.end()
                items = farm.store.batches.items(batch.id)[0]
                assert [item.status for item in items] == [made, ItemStatus.REFUSED, ItemStatus.REFUSED]
                farm.store.batches.retry(batch.id)
            farm.end()


def test_a_line_that_failed_keeps_its_media_id_in_a_retry(farm: Farm) -> None:
    sources = [farm.upload(f"{n}.jpg") for n in range(2)]
    batch = farm.batch(farm.manifest(*(json.dumps({"source": source, "media_id": "same"}) for source in sources)))
    farm.outcome = lambda _: "failed"
    assert farm.end().failed == 1
    farm.outcome = lambda _: "ready"
    farm.store.batches.retry(batch.id)
    farm.end()
    statuses = [item.status for item in farm.store.batches.items(batch.id)[0]]
    assert statuses == [ItemStatus.READY, ItemStatus.REFUSED]
    assert sum(counts(farm.store).values()) == 1, "its job was tried again"


def test_a_refused_line_stops_a_batch_too(farm: Farm) -> None:
    batch = farm.batch(
        farm.manifest(json.dumps(farm.upload("a.jpg")), "{", json.dumps(farm.upload("b.jpg"))), on_error="stop"
    )
    assert farm.end().status is BatchStatus.STOPPED
    assert [item.status for item in farm.store.batches.items(batch.id)[0]] == [ItemStatus.READY, ItemStatus.REFUSED]


def test_a_source_that_has_come_meanwhile_is_turned_by_a_retry(farm: Farm) -> None:
    late = (farm.uploads / "late.jpg").as_uri()
    batch = farm.batch(farm.manifest(json.dumps({"source": late, "kind": "image", "who": "ann"})))
    assert farm.end().refused == 1
    farm.upload("late.jpg")
    farm.store.batches.retry(batch.id)
    ended = farm.end()
    assert (ended.ready, ended.refused) == (1, 0)
    job = farm.store.latest_for_media("acme", media_id_of(late))
    assert job is not None
    assert (job.kind, job.metadata) == ("image", {"who": "ann"})


def test_a_cancelled_batch_ends_with_the_jobs_that_it_had(farm: Farm) -> None:
    batch = farm.batch(farm.manifest(*(json.dumps(farm.upload(f"{n}.jpg")) for n in range(3))))
    feed = farm.feed()
    feed.step(slots=2)
    farm.store.batches.request_cancel(batch.id)
    ended = farm.end(feed)
    assert (ended.status, ended.cancelled, ended.ready) == (BatchStatus.CANCELLED, 3, 0)
    assert {row["status"] for row in farm.rows(batch)} == {"cancelled"}


@pytest.mark.parametrize("content", [None, b"changed"])
def test_a_manifest_that_is_gone_or_another_one_fails_the_batch(farm: Farm, content: bytes | None) -> None:
    farm.batch(farm.manifest(json.dumps(farm.upload("a.jpg"))))
    (farm.uploads / "list.jsonl").unlink()
    if content is not None:
        (farm.uploads / "list.jsonl").write_bytes(content)
    ended = farm.end()
    assert ended.status is BatchStatus.FAILED
    assert ended.error is not None
    assert ended.error["code"] == ("source_missing" if content is None else "source_changed")


def test_max_items_and_the_total_bound_a_batch(farm: Farm) -> None:
    lines = [json.dumps(farm.upload(f"{n}.jpg")) for n in range(5)]
    batch = farm.batch(farm.manifest(*lines), max_items=3)
    feed = farm.feed()
    feed.step(slots=2)
    assert farm.store.batches.get(batch.id).total == 3
    assert farm.end(feed).items == 3


def test_results_come_in_shards_and_those_of_an_earlier_ending_are_gone(farm: Farm) -> None:
    batch = farm.batch(farm.manifest(*(json.dumps(farm.upload(f"{n}.jpg")) for n in range(3))), shard_rows=4)
    feed = farm.feed()
    folder = f"acme/batches/{batch.id}"
    farm.output.put_bytes(f"{folder}/part-00007.parquet", b"of an earlier ending")
    farm.end(feed)
    names = sorted(found.key for found in farm.output.list(folder))
    assert names == [f"{folder}/{name}" for name in (SUCCESS, "part-00000.parquet", "part-00001.parquet")]
    assert len(farm.rows(batch)) == 6


@pytest.mark.parametrize("taken_at", ["shard", "list"])
def test_who_lost_a_batch_while_writing_its_results_changes_none_of_its_heirs(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, taken_at: str
) -> None:
    batch = farm.batch(farm.manifest(*(json.dumps(farm.upload(f"{n}.jpg")) for n in range(3))), shard_rows=4)
    first, folder = farm.feed(), f"acme/batches/{batch.id}"
    first.step(slots=2)
    farm.work()
    real_shard, real_open = results._write_shard, results.open_results
    left: list[Any] = []

    def taken_over() -> None:
        """An heir takes the batch and ends it, with more parts than the first one knows of."""
        monkeypatch.setattr(results, "_write_shard", real_shard)
        monkeypatch.setattr(results, "open_results", real_open)
        farm.store.batches.release(batch.id, first.batch.fence)
        assert farm.end(farm.feed()).finished_at is not None
        farm.output.put_bytes(f"{folder}/part-00009.parquet", b"of the heir")
        left.extend((found.key, farm.output.get_bytes(found.key)) for found in farm.output.list(folder))

    def write_shard(path: Path, rows: Any, most: int) -> int:
        count = real_shard(path, itertools.islice(rows, 1), most)  # not what the heir has
        taken_over()
        return count

    class Slow:
        """The folder, whose listing takes long."""

        def __init__(self, storage: Any) -> None:
            self._storage = storage

        def __getattr__(self, name: str) -> Any:
            return getattr(self._storage, name)

        def list(self) -> Any:
            taken_over()
            return self._storage.list()

    if taken_at == "shard":
        monkeypatch.setattr(results, "_write_shard", write_shard)
    else:
        monkeypatch.setattr(results, "open_results", lambda *args: Slow(real_open(*args)))
    with pytest.raises(FenceLost):
        first.step(slots=2)
    assert [(found.key, farm.output.get_bytes(found.key)) for found in farm.output.list(folder)] == left


def test_results_that_may_not_be_written_fail_the_batch_with_the_reason(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    farm.batch(farm.manifest(json.dumps(farm.upload("a.jpg"))), results_uri=(tmp_path / "file").as_uri())
    ended = farm.end()
    assert (ended.status, ended.ready) == (BatchStatus.FAILED, 1)
    assert ended.error is not None
    assert ended.error["code"] == "storage_refused"


def test_a_feeder_that_lost_its_lease_changes_nothing(farm: Farm) -> None:
    batch = farm.batch(farm.manifest(json.dumps(farm.upload("a.jpg"))))
    feed = farm.feed()
    farm.store.batches.release(batch.id, feed.batch.fence)
    farm.feed()
    with pytest.raises(FenceLost):
        feed.step(slots=2)
    assert farm.store.batches.get(batch.id).items == 0

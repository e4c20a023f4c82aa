"""Jobs without a database: what may follow what, and when two requests are the same."""

import time
import uuid
from typing import Any

import pytest

from cluster.errors import InvalidJob
from cluster.jobs.model import ENDED, MOVES, JobStatus, new_id
from tests.support.jobs import new_job


def test_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    before_ms = time.time_ns() // 1_000_000
    ids = []
    for _ in range(200):
        ids.append(new_id())
        time.sleep(0.00001)
    assert ids == sorted(ids)
    parsed = uuid.UUID(ids[0])
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert before_ms <= parsed.int >> 80 <= time.time_ns() // 1_000_000
    assert len({new_id() for _ in range(20_000)}) == 20_000


def test_every_status_can_be_reached_and_a_ready_job_stays_ready() -> None:
    assert set().union(*MOVES.values()) == set(JobStatus)
    assert set(MOVES) == set(JobStatus)
    assert MOVES[JobStatus.READY] == frozenset()
    for status in ENDED:
        assert MOVES[status] <= {JobStatus.QUEUED}


def test_the_same_request_is_the_same_whatever_was_found_meanwhile() -> None:
    first = new_job(metadata={"a": 1, "b": [2]})
    again = new_job(
        metadata={"b": [2], "a": 1}, source_etag="e2", source_bytes=1, traceparent="00-x", recipe={"new": 1}
    )
    assert first.request_hash() == again.request_hash()


@pytest.mark.parametrize(
    "change",
    [
        *({"org": "other"}, {"media_id": "m2"}, {"kind": "audio"}, {"recipe_name": "hevc"}, {"priority": "bulk"}),
        *({"source_uri": "s3://uploads/in/b.mp4"}, {"callback_url": "https://a.example/"}, {"metadata": {"a": 1}}),
    ],
)
def test_a_request_that_asks_for_something_else_is_another(change: dict[str, Any]) -> None:
    assert new_job(**change).request_hash() != new_job().request_hash()


@pytest.mark.parametrize(
    "change",
    [
        *({"media_id": "a\0b"}, {"org": "\ud83d"}, {"metadata": {"a": ["x\0"]}}, {"metadata": {"\udc00": 1}}),
        *({"metadata": {"a": float("nan")}}, {"metadata": {"a": float("-inf")}}, {"priority": "urgent"}),
    ],
)
def test_a_job_that_not_every_database_could_keep_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidJob):
        new_job(**change).check()


def test_ordinary_text_of_all_kinds_is_kept() -> None:
    new_job(media_id="日本語 😀 \\u0041", metadata={"é": "\x01\n", "big": 2**80, "deep": [[[1.5]]]}).check()


def test_no_org_can_take_the_folder_of_intermediate_results_which_is_swept() -> None:
    with pytest.raises(InvalidJob, match="scratch"):
        new_job(org="scratch").check()

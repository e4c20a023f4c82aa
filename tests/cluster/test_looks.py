"""Looks at sources, some of which never answer."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import looks as looks_module
from cluster.errors import StorageUnavailable
from cluster.looks import Looks, share_of

URI = "s3://uploads/photo.jpg"


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks_module, "PATIENCE_S", 0.05)
    monkeypatch.setattr(looks_module, "LOOK_S", 0.5)
    monkeypatch.setattr(looks_module, "MOST_SLOW", 16)


@pytest.fixture
def share() -> Iterator[threading.Event]:
    """A file share that hangs until it is set."""
    back = threading.Event()
    yield back
    back.set()


def test_sources_that_never_answer_hold_up_no_other_and_end_in_an_error_that_may_pass(share: threading.Event) -> None:
    async def scenario() -> tuple[bool, list[bool | BaseException]]:
        looks = Looks()
        hung = [asyncio.create_task(looks.at(URI, lambda: share.wait(20))) for _ in range(12)]
        await asyncio.sleep(0)  # all of them are before the other one
        other = await looks.at(URI, lambda: True)
        assert not any(task.done() for task in hung)
        return other, await asyncio.gather(*hung, return_exceptions=True)

    other, ends = asyncio.run(scenario())
    assert other
    assert {type(end) for end in ends} == {StorageUnavailable}
    assert isinstance(ends[0], StorageUnavailable)
    assert ends[0].retryable


def test_where_many_have_not_answered_no_more_threads_wait_until_some_have(share: threading.Event) -> None:
    async def scenario() -> None:
        looks = Looks()
        await asyncio.gather(*(looks.at(URI, lambda: share.wait(20)) for _ in range(16)), return_exceptions=True)
        before = threading.active_count()
        with pytest.raises(StorageUnavailable, match="16 sources"):
            await looks.at(URI, lambda: True)
        assert threading.active_count() == before
        share.set()
        async with asyncio.timeout(5):
            while any(share.slow for share in looks._shares.values()):  # noqa: ASYNC110 - threads tell nobody
                await asyncio.sleep(0.01)
        assert await looks.at(URI, lambda: True)

    asyncio.run(scenario())


def test_a_look_s_own_error_is_told_as_it_is() -> None:
    def look() -> bool:
        raise StorageUnavailable("503")

    with pytest.raises(StorageUnavailable, match="503"):
        asyncio.run(Looks().at(URI, look))


def test_a_share_on_which_everything_hangs_keeps_no_look_at_another_place_waiting(share: threading.Event) -> None:
    async def scenario() -> bool:
        looks = Looks()
        hung = [asyncio.create_task(looks.at("s3://hung/a.jpg", lambda: share.wait(20))) for _ in range(40)]
        await asyncio.gather(*hung, return_exceptions=True)
        again = [asyncio.create_task(looks.at("s3://hung/a.jpg", lambda: True)) for _ in range(40)]
        answer = await looks.at("s3://well/a.jpg", lambda: True)
        ends = await asyncio.gather(*again, return_exceptions=True)
        assert {type(end) for end in ends} == {StorageUnavailable}
        return answer

    assert asyncio.run(scenario())


def test_files_of_one_file_system_are_of_one_share_and_a_bucket_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("overlay / overlay rw 0 0\nnas:/a /mnt/a nfs4 rw 0 0\nnas:/b /mnt/a\\040b nfs4 rw 0 0\n")
    monkeypatch.setattr(looks_module, "MOUNTS", mounts)
    assert share_of("file:///mnt/a/x/1.jpg") == share_of("file:///mnt/a/2.jpg") == "/mnt/a"
    assert share_of("file:///mnt/a%20b/1.jpg") == "/mnt/a b"
    assert share_of("file:///mnt/about/1.jpg") == share_of("file:///srv/1.jpg") == "/"
    assert share_of("s3://mnt/a/1.jpg") == "s3://mnt"

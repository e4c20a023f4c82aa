"""Looks at sources, some of which never answer."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from cluster import looks as looks_module
from cluster.errors import StorageUnavailable
from cluster.looks import Looks


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
        hung = [asyncio.create_task(looks.at(lambda: share.wait(20))) for _ in range(12)]
        other = await asyncio.wait_for(looks.at(lambda: True), 0.4)
        return other, await asyncio.gather(*hung, return_exceptions=True)

    other, ends = asyncio.run(scenario())
    assert other
    assert {type(end) for end in ends} == {StorageUnavailable}
    assert isinstance(ends[0], StorageUnavailable)
    assert ends[0].retryable


def test_where_many_have_not_answered_no_more_threads_wait_until_some_have(share: threading.Event) -> None:
    async def scenario() -> None:
        looks = Looks()
        await asyncio.gather(*(looks.at(lambda: share.wait(20)) for _ in range(16)), return_exceptions=True)
        before = threading.active_count()
        with pytest.raises(StorageUnavailable, match="16 sources"):
            await looks.at(lambda: True)
        assert threading.active_count() == before
        share.set()
        async with asyncio.timeout(5):
            while looks._slow:  # noqa: ASYNC110 - threads tell nobody
                await asyncio.sleep(0.01)
        assert await looks.at(lambda: True)

    asyncio.run(scenario())


def test_a_look_s_own_error_is_told_as_it_is() -> None:
    def look() -> bool:
        raise StorageUnavailable("503")

    with pytest.raises(StorageUnavailable, match="503"):
        asyncio.run(Looks().at(look))

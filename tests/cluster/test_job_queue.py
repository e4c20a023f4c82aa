"""What waits, for whom, and by which policy: the same tests on SQLite and on a real PostgreSQL server."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cluster.errors import PolicyChanged
from cluster.jobs import Job, Renewal, SqlStore, Usage, open_store
from cluster.policy import OrgPolicy, Policy
from cluster.settings import DatabaseSettings
from tests.support.jobs import claim, create, new_job


def created(store: SqlStore, **changes: Any) -> Job:
    return create(store, new_job(**changes))[0]


def claimed(store: SqlStore, lease_s: float = 60, **changes: Any) -> Job:
    created(store, **changes)
    (mine,) = claim(store, "me", lease_s, 1)
    return mine


def test_the_backlog_says_by_org_and_class_what_waits_what_runs_and_since_when(store: SqlStore) -> None:
    created(store, org="a", priority="interactive")
    (_running,) = claim(store, "me", 60, 1)
    created(store, org="b", priority="bulk")
    created(store, org="b", priority="bulk")
    created(store, org="b")
    (delayed,) = claim(store, "me", 60, 1)
    store.release(delayed.id, delayed.fence, delay_s=60)
    ended = created(store, org="b", priority="interactive")
    store.request_cancel(ended.id)
    found = {(one.org, one.priority, one.status): one for one in store.backlog()}
    assert {key: one.jobs for key, one in found.items()} == {
        ("a", "interactive", "processing"): 1,
        ("b", "bulk", "queued"): 2,
        ("b", "normal", "delayed"): 1,
    }
    assert 0 <= found["b", "bulk", "queued"].oldest_s <= found["a", "interactive", "processing"].oldest_s < 60


def test_what_waits_is_weighed_as_it_is_claimed_and_no_further_than_asked(store: SqlStore) -> None:
    for number in range(8):
        created(store, media_id=f"picture-{number}", kind="image")
    created(store, media_id="auto", source_uri="s3://in/photo.JPG")
    created(store, media_id="clip", source_uri="s3://in/clip.mov")
    delayed = claimed(store, media_id="delayed", priority="interactive")
    store.release(delayed.id, delayed.fence, delay_s=60)
    assert store.queued_weight(100) == 9 / 16 + 1
    assert store.queued_weight(1) == 1


def test_leases_are_counted_by_owner_with_the_time_that_they_have(store: SqlStore) -> None:
    for number in range(4):
        created(store, media_id=f"m{number}")
    claim(store, "b", 60, 2)
    claim(store, "a", -5, 1)
    silent, alive = store.leases()
    assert (silent.owner, silent.jobs, alive.owner, alive.jobs) == ("a", 1, "b", 2)
    assert silent.ends_in_s <= -5
    assert 30 < alive.ends_in_s <= 60
    assert 0 <= alive.oldest_s < 60


def test_one_orgs_jobs_are_claimed_without_the_others(store: SqlStore) -> None:
    created(store, org="a", media_id="1", priority="bulk")
    created(store, org="b", media_id="2", priority="bulk")
    created(store, org="b", media_id="3")
    ended = created(store, org="c", media_id="4")
    store.request_cancel(ended.id)
    assert store.waiting() == {("bulk", "a"), ("bulk", "b"), ("normal", "b")}
    assert [job.media_id for job in store.claim("me", 60, 5, ("bulk", "b"))] == ["2"]
    assert store.claim("me", 60, 5, ("interactive", "b")) == []
    assert {job.media_id for job in claim(store, "me", 60, 5)} == {"1", "3"}


def test_many_leases_are_renewed_at_once_and_the_lost_ones_are_told(store: SqlStore) -> None:
    mine = claimed(store)
    zombie = claimed(store, media_id="m2", lease_s=-1)
    claim(store, "heir", 60, 1)
    renewals = [Renewal(mine.id, mine.fence, {"percent": 7}), Renewal(zombie.id, zombie.fence, {"percent": 99})]
    assert store.renew_all(renewals, 100) == {zombie.id}
    assert store.get(mine.id).progress == {"percent": 7}
    assert store.get(zombie.id).progress == {}
    assert store.renew_all([], 100) == set()


def test_a_policy_is_changed_only_by_who_knows_the_one_that_holds(store: SqlStore) -> None:
    assert store.policy() == Policy()
    wanted = Policy(orgs={"acme": OrgPolicy(weight=3, running_steps=2)})
    changed = store.change_policy(wanted)
    assert (changed.version, store.policy()) == (1, changed)
    with pytest.raises(PolicyChanged):
        store.change_policy(wanted)
    assert store.change_policy(changed.model_copy(update={"orgs": {}})).version == 2


def test_of_many_who_change_the_same_policy_one_does(database: DatabaseSettings, store: SqlStore) -> None:
    def change(_: int) -> bool:
        mine = open_store(database)
        try:
            mine.change_policy(Policy())
        except PolicyChanged:
            return False
        finally:
            mine.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(change, range(8))) == 1
    assert store.policy().version == 1


def test_an_orgs_usage_is_its_open_jobs_and_a_days_bytes(store: SqlStore) -> None:
    created(store, source_bytes=10)
    ended = created(store, source_bytes=5, priority="bulk")
    store.request_cancel(ended.id)
    created(store, org="other", source_bytes=100)
    assert store.usage("acme") == Usage(queued_jobs=1, bytes_a_day=15)
    assert store.usage("nobody") == Usage(queued_jobs=0, bytes_a_day=0)

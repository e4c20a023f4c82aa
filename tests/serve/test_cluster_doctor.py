import io
from pathlib import Path

from rich.console import Console

from cluster.jobs import open_store
from cluster.nodes import Node
from cluster.settings import DatabaseSettings
from serve.cli.cluster_table import print_cluster
from serve.cluster_doctor import ClusterState
from tests.support.jobs import claim, create, new_job


def test_leases_are_told_by_owner_and_a_silent_one_is_known_by_its_time(tmp_path: Path) -> None:
    store = open_store(DatabaseSettings(data_dir=tmp_path))
    store.upgrade()
    for number in range(5):
        create(store, new_job(media_id=f"m{number}"))
    claim(store, "alive", 60.0, 3)
    claim(store, "dead", 0.0, 1)
    alive, dead = store.leases()
    assert (alive.owner, alive.jobs, dead.owner, dead.jobs) == ("alive", 3, "dead", 1)
    assert 0 <= alive.oldest_s < 60
    assert 30 < alive.ends_in_s <= 60
    assert dead.ends_in_s <= 0
    waiting = [group for group in store.backlog() if group.status == "queued"]
    assert [group.jobs for group in waiting] == [1]
    store.close()


def test_a_person_sees_every_node_what_waits_and_what_is_wrong(tmp_path: Path) -> None:
    store = open_store(DatabaseSettings(data_dir=tmp_path))
    store.upgrade()
    create(store, new_job(org="acme", priority="bulk"))
    head = Node("h" * 56, "10.0.0.1", 0, 8_000_000_000, 0, {"role": "control", "ray.io/node-id": "x"})
    worker = Node("w" * 56, "10.0.0.2", 16, 64_000_000_000, 240_000_000_000, {"market": "spot"}, is_draining=True)
    state = ClusterState(
        [worker, head], {worker.id: 3}, "alive, drives 0 jobs", store.backlog(), [], ["no node has [lanes]"]
    )
    out = io.StringIO()
    print_cluster(state, Console(file=out, width=160))
    first, *rows = out.getvalue().splitlines()
    assert "lanes busy" in first
    assert rows[0].split() == ["h" * 12, "10.0.0.1", "0", "of", "0", "8", "GB", "0", "GB", "role=control"]
    assert rows[1].split()[2:] == ["3", "of", "16", "64", "GB", "240", "GB", "market=spot", "draining"]
    assert "bulk" in out.getvalue()
    assert "acme" in out.getvalue()
    assert rows[-1] == "problem: no node has [lanes]"
    store.close()

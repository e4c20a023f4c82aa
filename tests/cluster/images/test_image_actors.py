"""Which node's engine turns a batch; the actors are not started."""

from typing import Any

import pytest

from cluster.errors import WorkerLost
from cluster.images import actors
from cluster.images.actors import Engine, Engines
from cluster.nodes import Node


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    class Actor:
        ready: Any = None

    Actor.ready = type("Ready", (), {"remote": staticmethod(lambda: None)})
    monkeypatch.setattr(actors, "_start", lambda _node, _lanes: Actor())
    found = Engines(lambda _: False)
    found.follow([Node("n1", "10.0.0.1", 4, 8 << 30, 0), Node("n2", "10.0.0.2", 4, 8 << 30, 0)])
    return found


def test_a_batch_goes_elsewhere_while_its_node_s_engine_starts_and_a_large_picture_does_not(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "is_ready", lambda self: self.node == "n2")
    assert engines._engine_of("n1").node == "n2"
    assert engines._own_engine_of("n1").node == "n1", "its memory is set aside there"
    with pytest.raises(WorkerLost, match="leaving"):
        engines._own_engine_of("n3")


def test_an_engine_that_rests_is_started_for_a_large_picture(engines: Engines) -> None:
    del engines._of_node["n1"]
    engines._resting.add("n1")
    assert engines._own_engine_of("n1").node == "n1"

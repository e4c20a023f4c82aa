"""What the figures of a run are made of, by logs that were written by hand."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.__main__ import keep_logs
from tests.chaos.batches import FAULTS
from tests.chaos.chunks import counted, cuts_of, in_hand, losses
from tests.chaos.farm import as_in_a_cluster
from tests.chaos.front import WHOLE, Asked, Front
from tests.chaos.kills import Kill
from tests.chaos.outside import Outside
from tests.chaos.report import broken
from tests.chaos.resuming import told, waits, was_judged

JOB, OTHER = "0" * 36, "1" * 36
FIRST, SECOND = "0-159", "160-319"  # chunks of ten frames each
IDLE, BUSY = Outside("/", [(0.0, 900.0, 0.01)]), Outside("/", [(0.0, 900.0, 0.6)])


def front_of(begun: Sequence[tuple[float, str, str]], ended: Sequence[tuple[float, str, int]] = ()) -> Front:
    """One that was asked for chunks: (at, job, bytes of the frame map), and told of their ends: (at, job, number)."""
    asked = [Asked(at, "GET", f"chaos/farm/scratch/{job}/ab/frames.i64", span, 206) for at, job, span in begun]
    for at, job, number in ended:
        key = f"chaos/farm/scratch/{job}/ab/chunk-{10 * number:08d}-{10 * number + 10:08d}/90p.json"
        asked.append(Asked(at, "PUT", key, "", 200))
    return Front("", asked=asked)


def cut(front: Front, kills: Sequence[Kill]) -> dict[str, Any]:
    return counted(front, losses(kills, {JOB: [FIRST, SECOND], OTHER: [FIRST, SECOND]}))


def whole(**changes: Any) -> dict[str, Any]:
    """The figures of a run that kept everything, but for `changes`."""
    figures: dict[str, Any] = {
        "jobs": {"accepted": 100, **{name: [] for name in ("not ended", "ended twice", "never accepted")}},
        "batches": {"batches": 1, **{fault: [] for fault in FAULTS}},
        "one key, several jobs": [],
        "published twice": [],
        "other than in peace": [],
        "chunks": {"redone": 0, "unexplained": []},
        "kills": {"node": 62},
        "wished": {"kills": 62, "jobs": 100},
        "resumed_s": {},
        "intake": {"202": 1},
    }
    return {**figures, **changes}


@pytest.mark.parametrize(
    ("kill", "excused"),
    [
        (Kill("Ray worker", 5.0, "", 1, (f"chunk 0 of {JOB}",)), 1),
        (Kill("Ray worker", 5.0, "", 1, (f"chunk 1 of {JOB}",)), 0),
        (Kill("media process", 5.0, "", 1, (f"chunk 0 of {OTHER}",)), 0),
        (Kill("Serve replica", 5.0, "", 1), 0),
        (Kill("dispatcher", 5.0, "", 1), 1),
        (Kill("PostgreSQL", 0.1, "", 1), 1),  # it stays away for so long
        (Kill("raylet", 0.1, "", 1), 1),  # its workers outlive it
        (Kill("dispatcher", 0.1, "", 1), 0),
        (Kill("PostgreSQL", 9.0, "", 1), 0),
    ],
)
def test_a_chunk_that_was_begun_again_is_excused_by_what_it_was_lost_with_alone(kill: Kill, excused: int) -> None:
    front = front_of([(4.0, JOB, FIRST), (8.0, JOB, FIRST)], [(8.5, JOB, 0)])
    found = cut(front, [kill])
    assert (found["redone"], len(found["unexplained"])) == (1, 1 - excused)


def test_of_a_node_that_is_lost_only_its_own_chunks_and_those_begun_since_are_lost() -> None:
    node = Kill("node", 5.0, "worker-0", 9, (f"chunk 0 of {JOB}",))
    begun = [(4.0, JOB, FIRST), (8.0, JOB, FIRST), (4.5, JOB, SECOND), (8.0, JOB, SECOND)]
    begun += [(6.0, OTHER, FIRST), (9.0, OTHER, FIRST)]
    found = cut(front_of(begun), [node])
    assert [(job, span) for job, span, *_ in found["unexplained"]] == [(JOB, SECOND)]


def test_a_kill_excuses_a_chunk_once() -> None:
    front = front_of([(4.0, JOB, FIRST), (5.5, JOB, FIRST), (6.8, JOB, FIRST)], [(8.0, JOB, 0)])
    found = cut(front, [Kill("Ray worker", 5.0, "", 1, (f"chunk 0 of {JOB}",))])
    assert (found["redone"], found["in flight on what was killed"]) == (2, 1)
    assert found["unexplained"] == [(JOB, FIRST, 5.5, 6.8, 8.0)]
    assert broken(whole(chunks=found)) == ["1 of 2 chunks encoded again were not lost with a kill"]


def test_what_was_stored_is_not_lost_whatever_was_killed() -> None:
    front = front_of([(4.0, JOB, FIRST), (8.0, JOB, FIRST)], [(4.5, JOB, 0), (8.5, JOB, 0)])
    found = cut(front, [Kill("node", 5.0, "", 1, (f"chunk 0 of {JOB}",))])
    assert found.pop("unexplained") == [(JOB, FIRST, 4.0, 8.0, 4.5)]
    assert found == {"encoded": 1, "redone": 1, "in flight on what was killed": 0, "finished ones encoded again": 1}


def test_reading_the_whole_frame_map_begins_no_chunk() -> None:
    assert front_of([(4.0, JOB, FIRST), (5.0, JOB, WHOLE)]).begun() == {(JOB, FIRST): [4.0]}


def test_a_step_is_the_chunk_of_its_number_in_the_plan_also_when_an_earlier_one_was_not_begun() -> None:
    cuts = cuts_of([(OTHER, SECOND), (OTHER, FIRST)])
    assert cuts == {OTHER: [FIRST, SECOND]}
    steps = (f"chunk 1 of {JOB}", f"audio of {JOB}", "chunk 0 of nobody")
    assert in_hand({JOB: cuts[OTHER]}, steps) == {(JOB, SECOND)}


def told_of(kills: Sequence[Kill], outside: Outside = IDLE, head_up_at: Sequence[float] = ()) -> dict[str, Any]:
    """Told of one chunk that was begun at 4 and at 30, and jobs that a dispatcher began with at 1, 28 and 90."""
    front, cuts = front_of([(4.0, JOB, FIRST), (30.0, JOB, FIRST)]), {JOB: [FIRST]}
    waited = list(waits(kills, head_up_at, [1.0, 28.0, 90.0], front, cuts))
    return told(waited, kills, outside)


def resumed(kills: Sequence[Kill], head_up_at: Sequence[float] = ()) -> dict[str, float]:
    """Of that, seconds by the kind of the loss."""
    return {kind: figures["most"] for kind, figures in told_of(kills, head_up_at=head_up_at).items()}


NODE = Kill("node", 10.0, "worker-0", 9, (f"chunk 0 of {JOB}",))


def test_a_loss_is_over_when_what_was_in_hand_is_begun_again() -> None:
    assert resumed([NODE]) == {"node": 20.0}
    assert resumed([Kill("dispatcher", 10.0, "head", 1)]) == {"dispatcher": 18.0}
    assert resumed([Kill("head", 10.0, "head", 1)], head_up_at=[15.0]) == {"head": 13.0}
    assert resumed([Kill("node", 10.0, "worker-0", 9)]) == {}


@pytest.mark.parametrize(("at", "over_s"), [(6.0, 9.0), (12.0, 3.0), (20.0, -5.0)])
def test_a_loss_that_waited_for_another_one_is_told_by_itself_and_judged_from_that_one_on(
    at: float, over_s: float
) -> None:
    other = Kill("S3 server", at, "", 1)  # away for five seconds
    found = told_of([NODE, other])
    assert {kind: (one["most"], one["over_s"]) for kind, one in found.items()} == {
        "node, with another loss before it was": (20.0, over_s)
    }
    assert bool(broken(whole(resumed_s=found))) == (over_s > 0)


def test_what_waited_for_a_head_has_a_head_s_time() -> None:
    found = told_of([NODE, Kill("head", 4.0, "head", 20)], head_up_at=[28.5])
    assert found["node, with another loss before it was"]["over_s"] < 0


@pytest.mark.parametrize("other", [Kill("S3 server", 4.0, "", 1), Kill("media process", 12.0, "", 1)])
def test_what_did_not_hold_it_up_is_no_other_loss(other: Kill) -> None:
    assert resumed([NODE, other]) == {"node": 20.0}


def test_a_loss_while_others_have_the_machine_is_told_but_not_judged() -> None:
    found = told_of([NODE], BUSY)
    assert found["node, not judged: busy with what others do"]["most"] == 20.0
    assert broken(whole(resumed_s=found)) == []
    assert not was_judged(found, "node")


def test_a_reach_that_was_not_kept_is_a_broken_promise() -> None:
    assert broken(whole()) == []
    found = told_of([NODE, Kill("Ray worker", 3.0, "", 1, (f"chunk 0 of {JOB}",))])
    assert was_judged(found, "node")
    assert broken(whole(resumed_s=found)) == [
        "after the loss of a node work went on 10.0 s too late, 20.0 s after it at most"
    ]


@pytest.mark.parametrize(
    ("changes", "few"),
    [
        ({"kills": {"node": 3}}, "3 of 62 kills"),
        ({"kills": {}, "wished": {}}, "0 of 1 kills"),
        ({"jobs": whole()["jobs"] | {"accepted": 99}}, "99 of 100 jobs"),
        ({"batches": whole()["batches"] | {"batches": 0}}, "no batch"),
    ],
)
def test_a_run_that_broke_too_little_has_kept_nothing(changes: dict[str, Any], few: str) -> None:
    assert broken(whole(**changes)) == [f"too little was done to prove anything: {few}"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_batch_that_lacks_something_is_a_broken_promise(fault: str) -> None:
    assert broken(whole(batches={"batches": 1, **{name: ["b1"] if name == fault else [] for name in FAULTS}})) == [
        f"batches: {fault}: 1"
    ]


def test_others_are_weighed_by_how_long_they_had_the_machine() -> None:
    outside = Outside("/", [(0.0, 2.0, 0.1), (2.0, 8.0, 0.5), (8.0, 10.0, 0.9)])
    assert outside.part(1.0, 7.0) == pytest.approx(0.4)
    assert outside.part(20.0, 30.0) == 0.0


def test_logs_that_go_while_they_are_copied_cost_none_of_the_others(tmp_path: Path) -> None:
    logs = tmp_path / "farm" / "head" / "session_2026" / "logs"
    logs.mkdir(parents=True)
    (logs / "raylet.out").write_text("it began")
    os.mkfifo(logs / "gone")  # which is not copied either
    keep_logs(tmp_path / "farm", tmp_path / "kept")
    assert (tmp_path / "kept" / "head" / "session_2026" / "logs" / "raylet.out").read_text() == "it began"


def test_a_cluster_s_own_values_are_what_the_farm_is_told() -> None:
    told_of = as_in_a_cluster("RAY_health_check", "RAY_SERVE_ENABLE_HA_PROXY")
    assert told_of["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert len([name for name in told_of if name.startswith("RAY_health_check")]) == 4
    assert as_in_a_cluster("RAY_NOTHING") == {}

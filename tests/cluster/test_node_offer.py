"""What a node declares when it starts."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import node_offer
from cluster.errors import SettingsInvalid
from cluster.farm_settings import FarmSettings
from cluster.node_offer import Offer, ask_for_engines, lanes_for, memory_for_steps, offer_of_this_node, scratch_bytes

GB = 10**9


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path / "scratch"))


@pytest.mark.parametrize(
    ("cores", "memory_bytes", "has_gpu", "lanes"),
    [
        (32, 61 * GB, False, 16),
        (32, 20 * GB, False, 6),  # no more than have room
        (8, 30 * GB, True, 3),  # two cores feed the engines
        (2, 4 * GB, True, 1),
        (1, 1 * GB, False, 1),  # a node without a lane would be none
        (0.5, 4 * GB, False, 1),
    ],
)
def test_lanes_are_what_cores_and_memory_carry(cores: float, memory_bytes: int, has_gpu: bool, lanes: int) -> None:
    assert lanes_for(cores, memory_bytes, has_gpu) == lanes


def test_memory_leaves_room_for_ray() -> None:
    assert memory_for_steps(68 * GB) == pytest.approx(61.2 * GB)
    assert memory_for_steps(8 * GB) == 6 * GB
    assert memory_for_steps(2 * GB) == 1 * GB


def test_a_container_s_limits_count_and_not_the_machine_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_offer, "CGROUP", tmp_path)
    whole = node_offer.usable_cores(), node_offer.memory_bytes_here()
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert (node_offer.usable_cores(), node_offer.memory_bytes_here()) == whole
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("1000000000\n")
    assert (node_offer.usable_cores(), node_offer.memory_bytes_here()) == (0.5, GB)


def test_the_source_cache_is_not_offered_as_scratch_but_never_takes_more_than_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_SOURCE_CACHE_BYTES", str(GB))
    with_small_cache = scratch_bytes(FarmSettings.load())
    free = with_small_cache + GB
    monkeypatch.setenv("FARM_SOURCE_CACHE_BYTES", str(10**15))
    assert scratch_bytes(FarmSettings.load()) == pytest.approx(free / 2, rel=0.1)
    (tmp_path / "file").touch()
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path / "file" / "below"))
    with pytest.raises(SettingsInvalid, match="FARM_SCRATCH_DIR"):
        scratch_bytes(FarmSettings.load())


def test_an_engine_that_cannot_be_used_is_offered_as_none_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"name": "NVIDIA L4", "nvenc": [], "nvdec": ["h264"], "nvjpg": True, "counts": {"nvdec": 7}}
    found |= {"why": {"nvenc h264": "not here"}}
    monkeypatch.setattr(node_offer, "ask_for_engines", lambda: found)
    offer = offer_of_this_node(FarmSettings.load())
    assert {name: offer.resources[name] for name in ("nvenc", "nvdec", "nvjpg")} == {"nvenc": 0, "nvdec": 7, "nvjpg": 1}
    assert offer.labels == {"pool": "gpu", "nvdec-h264": "yes"}
    assert offer.why == {"nvenc h264": "not here"}
    assert offer.resources["cpu_lane"] >= 1
    for name, encoders in (("NVIDIA L4", 2), ("NVIDIA RTX 6000", 1)):
        monkeypatch.setattr(node_offer, "ask_for_engines", lambda name=name: found | {"name": name, "nvenc": ["h264"]})
        assert offer_of_this_node(FarmSettings.load()).resources["nvenc"] == encoders


def test_a_driver_that_hangs_or_crashes_keeps_no_node_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_offer, "PROBE_S", 0.5)
    for behaviour, why in (
        ("import time; time.sleep(30)", "did not answer"),
        ("import os; os.abort()", "ended with -6"),
    ):
        program = tmp_path / "python"
        program.write_text(f"#!/bin/bash\nexec {sys.executable} -c {shlex.quote(behaviour)}\n")
        program.chmod(0o755)
        with monkeypatch.context() as replaced:
            replaced.setattr(sys, "executable", str(program))
            found = ask_for_engines()
        assert (found["nvenc"], found["nvdec"], found["nvjpg"]) == ([], [], False)
        assert why in found["why"]["nvenc"]
        monkeypatch.setattr(node_offer, "PROBE_S", 30.0)


def test_slots_that_are_set_are_the_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_SLOTS", "7")
    monkeypatch.setattr(node_offer, "ask_for_engines", lambda: node_offer._no_engines("none here"))
    assert offer_of_this_node(FarmSettings.load()).resources["cpu_lane"] == 7


def test_a_shell_hands_it_to_ray_word_for_word() -> None:
    offer = Offer(5, {"cpu_lane": 1, "nvenc": 0}, {"pool": "cpu", "nvdec-h264": "yes"}, {})
    line = " ".join(offer.ray_arguments())
    script = f"offer={shlex.quote(line)}; printf '%s\\n' $offer"
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True).stdout.split("\n")[:-1] == [
        "--memory=5",
        '--resources={"cpu_lane":1,"nvenc":0}',
        "--labels=nvdec-h264=yes,pool=cpu",
    ]


def test_ray_takes_the_arguments(tmp_path: Path) -> None:
    from ray.scripts.scripts import start

    offer = Offer(5_000_000_000, {"cpu_lane": 1}, {"pool": "cpu"}, {})
    taken = start.make_context("start", ["--address=10.0.0.1:6379", *offer.ray_arguments()]).params
    assert taken["memory"] == 5_000_000_000
    assert json.loads(taken["resources"]) == {"cpu_lane": 1}
    assert taken["labels"] == "pool=cpu"

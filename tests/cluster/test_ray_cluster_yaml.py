"""ray-cluster.yaml is what Ray's launcher accepts, and follows the rules that the launcher does not check."""

import copy
import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.node_offer import Offer, lanes_for, memory_for_steps
from tests.support.commands import farm_commands_in

ROOT = Path(__file__).parents[2]
ENGINES = {"GPU", "nvdec", "nvenc", "nvjpg"}
INSTALLED_FOLDER = "/home/ray/farm"
# What EC2 gives: cores, bytes of memory.
INSTANCES = {"c7i.8xlarge": (32, 64 << 30), "g6.2xlarge": (8, 32 << 30)}

type Config = dict[str, Any]


@pytest.fixture
def config() -> Config:
    loaded: Config = yaml.safe_load((ROOT / "ray-cluster.yaml").read_text(encoding="utf-8"))
    return loaded


def broken_rules(config: Config) -> Iterator[str]:
    """What would start wrongly, or not start, although Ray's schema is content."""
    if not config["provider"].get("region"):
        yield "provider has no region"
    if not config["provider"].get("use_internal_ips"):
        yield "nodes get public addresses"
    for key in ("setup_commands", "head_setup_commands"):
        if key not in config:
            yield f"{key} is left to the launcher's default, which installs a nightly Ray or an unlocked boto3"
    if f"rayproject/ray:{locked_version('ray')}-py312" not in config["docker"]["image"]:
        yield "the image has another Ray than the lock"
    if "-e RAY_AUTH_MODE=token" not in config["docker"].get("run_options", []):
        yield "Ray's ports are open without a token"
    if "--dashboard-host=127.0.0.1" not in " ".join(config["head_start_ray_commands"]):
        yield "the dashboard, which starts jobs, listens on the network"
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        if "farm.env" not in " ".join(config[commands]):
            yield "a node starts without the farm's settings"
    yield from broken_worker_start(config)
    if "/home/ray/.ray/auth_token" not in config["file_mounts"]:
        yield "the token does not reach the nodes"
    yield from broken_scaling(config)
    for name, node_type in config["available_node_types"].items():
        for problem in broken_node_type(node_type, is_head=name == config["head_node_type"]):
            yield f"{name}: {problem}"


def room_of(cores: int, memory_bytes: int, *, has_gpu: bool) -> dict[str, int]:
    """What `farm node resources` finds on a machine of that size."""
    memory = memory_for_steps(memory_bytes)
    return {"cpu_lane": lanes_for(cores, memory, has_gpu), "memory": memory}


def broken_worker_start(config: Config) -> Iterator[str]:
    commands = " ".join(config["worker_start_ray_commands"])
    if "farm node resources" not in commands or "unset RAY_OVERRIDE_RESOURCES" not in commands:
        yield "a node offers what the launcher assumes, not what it has proven"
    if "farm node watch-spot" not in commands:
        yield "a spot node does not hear of its end"


def broken_scaling(config: Config) -> Iterator[str]:
    workers = [t for name, t in config["available_node_types"].items() if name != config["head_node_type"]]
    for node_type in workers:
        if not 0 <= node_type.get("min_workers", -1) <= node_type.get("max_workers", -1):
            yield "min_workers and max_workers are not set, or do not make a range"
    if sum(t.get("max_workers", 0) for t in workers) > config["max_workers"]:
        yield "the types may start more workers than max_workers allows"
    if not any(t.get("min_workers", 0) > 0 for t in workers):
        yield "no worker is always there"


def broken_node_type(node_type: Config, *, is_head: bool) -> Iterator[str]:
    node, labels, resources = node_type["node_config"], node_type.get("labels", {}), node_type["resources"]
    for key in ("InstanceType", "ImageId", "IamInstanceProfile"):
        if key not in node:
            yield f"no {key}"
    if node.get("MetadataOptions", {}).get("HttpTokens") != "required":
        yield "a forged request can fetch the node's keys"
    if labels.get("role") != ("control" if is_head else "worker"):
        yield "wrong role label"
    if is_head != ("cpu_lane" not in resources):
        yield "chunk tasks would run on the head, or never on this worker"
    if not is_head:
        cores, memory_bytes = INSTANCES[node["InstanceType"]]
        if resources["CPU"] != cores:
            yield f"the instance has {cores} cores"
        expected = room_of(cores, memory_bytes, has_gpu="GPU" in resources)
        if resources.get("cpu_lane") != expected["cpu_lane"]:
            yield f"the node will offer {expected['cpu_lane']} lanes, not {resources.get('cpu_lane')}"
        if not 0.95 < resources.get("memory", 0) / expected["memory"] <= 1:
            yield f"the node will offer {expected['memory']} bytes of memory"
        disk_gb = node["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"]
        if not 1 < resources.get("scratch_gb", 0) < disk_gb - 50:
            yield "the disk does not hold scratch, the kept sources and the system"
        spot = node.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        if labels.get("market") != ("spot" if spot else "on-demand"):
            yield "the market label does not say what is bought"
        if labels.get("pool") != ("gpu" if "GPU" in resources else "cpu"):
            yield "the pool label does not say what the node has"
    yield from broken_gpu_options(node_type)


def broken_gpu_options(node_type: Config) -> Iterator[str]:
    options = " ".join(node_type.get("docker", {}).get("worker_run_options", []))
    installs_gpu = "requirements-gpu.lock" in " ".join(node_type.get("worker_setup_commands", []))
    if "GPU" not in node_type["resources"]:
        if ENGINES & set(node_type["resources"]):
            yield "engines without a GPU"
        if "--gpus" in options or installs_gpu:
            yield "a container that asks for GPUs does not start here"
        return
    if "--gpus" not in options or not re.search(r"NVIDIA_DRIVER_CAPABILITIES=\S*video", options):
        yield "the container has no GPU, or no video engine"
    if node_type["resources"]["GPU"] != 1:
        yield "engine counts are per node: one GPU a node"
    if not installs_gpu:
        yield "the GPU packages are not installed"


def locked_version(package: str, lock: str = "requirements.lock") -> str:
    found = re.search(rf"^{package}==(\S+)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE)
    assert found, f"{lock} has no {package}"
    return found[1]


def test_ray_accepts_the_cluster_file_with_its_own_defaults_filled_in(config: Config) -> None:
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    assert not any("nightly" in command or "ray-wheels" in command for command in prepared["worker_setup_commands"])


def test_a_misspelt_key_is_refused_by_the_schema_that_ray_ships(config: Config) -> None:
    config["available_node_types"]["cpu"]["max_worker"] = 4
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(config))


def test_the_cluster_file_has_a_head_and_workers_with_and_without_gpus(config: Config) -> None:
    workers = [t for name, t in config["available_node_types"].items() if name != config["head_node_type"]]
    assert {(t["labels"]["pool"], t["labels"]["market"]) for t in workers} == {
        ("cpu", "on-demand"),
        ("cpu", "spot"),
        ("gpu", "on-demand"),
        ("gpu", "spot"),
    }


def test_the_cluster_file_breaks_none_of_our_rules(config: Config) -> None:
    assert list(broken_rules(config)) == []


def _set(*path: str, value: object) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        for key in path[:-1]:
            config = config[key]
        config[path[-1]] = value

    return change


def _drop(*path: str) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        for key in path[:-1]:
            config = config[key]
        del config[path[-1]]

    return change


TYPES = "available_node_types"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_drop("provider", "region"), "region"),
        (_set("provider", "use_internal_ips", value=False), "public"),
        (_drop("setup_commands"), "nightly"),
        (_set("docker", "image", value="rayproject/ray:2.59.0-py312-cpu"), "another Ray"),
        (_set("docker", "run_options", value=[]), "without a token"),
        (_set("head_start_ray_commands", value=["ray start --head --dashboard-host=0.0.0.0"]), "dashboard"),
        (_drop("file_mounts", "/home/ray/.ray/auth_token"), "token"),
        (_set(TYPES, "cpu_spot", "min_workers", value=-1), "range"),
        (_set(TYPES, "cpu", "min_workers", value=0), "always there"),
        (_set("max_workers", value=8), "more workers"),
        (_drop(TYPES, "cpu", "node_config", "InstanceType"), "InstanceType"),
        (_drop(TYPES, "cpu", "node_config", "MetadataOptions"), "keys"),
        (_set(TYPES, "head", "resources", "cpu_lane", value=1), "on the head"),
        (_set(TYPES, "cpu", "resources", "nvenc", value=2), "without a GPU"),
        (_set(TYPES, "cpu", "resources", "cpu_lane", value=4), "offer 16 lanes"),
        (_set(TYPES, "cpu_spot", "resources", "cpu_lane", value=32), "offer 16 lanes"),
        (_set(TYPES, "gpu_l4", "resources", "cpu_lane", value=1), "offer 3 lanes"),
        (_set(TYPES, "gpu_l4", "resources", "CPU", value=4), "has 8 cores"),
        (_set(TYPES, "cpu", "resources", "memory", value=64_000_000_000), "bytes of memory"),
        (_set(TYPES, "cpu", "resources", "scratch_gb", value=300), "does not hold"),
        (_set("worker_start_ray_commands", value=["ray start . farm.env"]), "has proven"),
        (_set("worker_start_ray_commands", value=["farm node resources; . farm.env"]), "hear of its end"),
        (_set(TYPES, "cpu", "docker", value={"worker_run_options": ["--gpus all"]}), "does not start"),
        (_drop(TYPES, "gpu_l4", "docker"), "no video engine"),
        (_set(TYPES, "gpu_l4", "resources", "GPU", value=4), "one GPU a node"),
        (_drop(TYPES, "gpu_l4", "worker_setup_commands"), "not installed"),
        (_set(TYPES, "gpu_l4", "labels", "market", value="spot"), "market"),
        (_drop(TYPES, "gpu_l4", "labels", "pool"), "pool"),
    ],
)
def test_a_mistake_that_ray_would_let_through_is_named(
    config: Config, change: Callable[[Config], None], complaint: str
) -> None:
    # The file shares parts by anchors; a change must touch one node type only.
    config = yaml.safe_load(yaml.dump(config, Dumper=_NoAliases))
    change(config)
    assert any(complaint in problem for problem in broken_rules(config))


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def test_nodes_install_only_files_that_make_dist_puts_into_the_mounted_folder(config: Config) -> None:
    assert config["file_mounts"][INSTALLED_FOLDER] == "dist"
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ndist:")[2].partition("\n\n")[0]
    commands = [*config["setup_commands"]]
    for node_type in config["available_node_types"].values():
        commands += node_type.get("worker_setup_commands", [])
    installed = set(re.findall(rf"{INSTALLED_FOLDER}/(\S+)", " ".join(commands)))
    assert installed == {"*.whl", "requirements.lock", "requirements-gpu.lock"}
    assert all(name in recipe for name in installed - {"*.whl"})
    assert "build -t wheel -d dist" in recipe


def test_gpu_nodes_get_the_same_versions_as_cpu_nodes() -> None:
    def versions(lock: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE))

    assert versions("requirements.lock").items() <= versions("requirements-gpu.lock").items()
    assert versions("requirements.lock").items() <= versions("requirements-dev.lock").items()


def test_every_command_of_ours_in_it_exists() -> None:
    text = (ROOT / "ray-cluster.yaml").read_text(encoding="utf-8")
    assert farm_commands_in(text) == {"node resources", "node watch-spot"}


def started(config: Config, folder: Path, *, market: str, offer: Offer) -> list[list[str]]:
    """How programs are called when a worker of that market starts: the shell is real, they only write it down."""
    settings = folder / "farm.env"
    settings.write_text("FARM_SCRATCH_DIR=/scratch\n")
    log = folder / "log"
    for name in ("ray", "farm", "setsid"):
        program = folder / name
        said = shlex.quote(" ".join(offer.ray_arguments()) if name == "farm" else "")
        argv = """python3 -c 'import json, os, sys; print(json.dumps([os.environ.get("FARM_SCRATCH_DIR"),"""
        argv += f""" os.environ.get("RAY_OVERRIDE_RESOURCES"), "{name}", *sys.argv[1:]]))' "$@" >> {log}"""
        program.write_text(f"#!/bin/bash\n{argv}\necho {said}\n")
        program.chmod(0o755)
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "RAY_HEAD_IP": "10.0.0.1",
        # As the launcher sets them.
        "RAY_OVERRIDE_RESOURCES": json.dumps({"cpu_lane": 16}),
        "RAY_OVERRIDE_LABELS": json.dumps({"role": "worker", "market": market}, separators=(",", ":")),
    }
    for command in config["worker_start_ray_commands"]:
        here = command.replace(f"{INSTALLED_FOLDER}/farm.env", str(settings))
        here = here.replace("/tmp/farm-spot", f"{folder}/spot")
        # Whoever runs the tests may not raise limits.
        script = f"ulimit() {{ :; }}\n({here}\nwait)"
        subprocess.run(["bash", "-c", script], env=environment, cwd=folder, check=True, timeout=30)
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_worker_offers_what_it_has_proven_word_for_word(config: Config, tmp_path: Path) -> None:
    resources = {"cpu_lane": 3, "nvenc": 0, "scratch_gb": 99}
    offer = Offer(30_000_000_000, resources, {"pool": "gpu", "nvdec-h264": "yes"}, {})
    stop, measure, start = started(config, tmp_path, market="on-demand", offer=offer)
    assert stop[2:] == ["ray", "stop"]
    assert measure == ["/scratch", None, "farm", "node", "resources"]
    assert start[:3] == ["/scratch", None, "ray"]
    assert start[-3:] == [
        "--memory=30000000000",
        '--resources={"cpu_lane":3,"nvenc":0,"scratch_gb":99}',
        "--labels=nvdec-h264=yes,pool=gpu",
    ]


def test_only_spot_nodes_listen_for_their_end(config: Config, tmp_path: Path) -> None:
    offer = Offer(1, {}, {}, {})
    called = started(config, tmp_path, market="spot", offer=offer)
    assert called[-1][2:] == ["setsid", "nohup", "farm", "node", "watch-spot"]
    (tmp_path / "log").unlink()
    assert "watch-spot" not in str(started(config, tmp_path, market="on-demand", offer=offer))

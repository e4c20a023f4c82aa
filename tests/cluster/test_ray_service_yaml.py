"""ray-service.yaml is what Ray's side of KubeRay reads, and says the same as the other files."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve.schema import ServeDeploySchema

from cluster.farm_settings import WorkSettings
from cluster.node_offer import lanes_for, memory_for_steps
from cluster.settings import StorageSettings
from tests.support.commands import farm_commands_in

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ray-service.yaml").read_text(encoding="utf-8")


@pytest.fixture
def service() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(TEXT)
    return loaded


@pytest.fixture
def cluster(service: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = service["spec"]["rayClusterConfig"]
    return found


def containers(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


def test_the_application_is_that_of_the_serve_config(service: dict[str, Any]) -> None:
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    ServeDeploySchema.model_validate(config)
    other = yaml.safe_load((ROOT / "serve-config.yaml").read_text(encoding="utf-8"))
    assert config["applications"] == other["applications"]


def test_every_image_has_the_locked_ray(cluster: dict[str, Any]) -> None:
    found = re.search(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    assert cluster["rayVersion"] == found[1]
    assert {container["image"] for container in containers(cluster)} == {f"farm:ray-{found[1]}"}


def test_ray_asks_for_a_token_and_keeps_its_state_in_redis_whose_password_is_a_secret(cluster: dict[str, Any]) -> None:
    assert cluster["authOptions"] == {"mode": "token"}
    redis = cluster["gcsFaultToleranceOptions"]
    assert set(redis["redisPassword"]["valueFrom"]) == {"secretKeyRef"}


def test_the_autoscaler_that_ray_ships_reads_it(service: dict[str, Any], cluster: dict[str, Any]) -> None:
    resource = {"metadata": {"name": "farm", "namespace": "default"}, "spec": cluster}
    config = _derive_autoscaling_config_from_ray_cr(resource)
    types = config["available_node_types"]
    head = types[config["head_node_type"]]
    workers = {name: one for name, one in types.items() if name != config["head_node_type"]}
    assert "cpu_lane" not in head["resources"]
    assert head["labels"] == {"role": "control"}
    assert {one["labels"]["market"] for one in workers.values()} == {"on-demand", "spot"}
    assert any(one["min_workers"] > 0 for one in workers.values()), "an upload never waits for a machine to start"
    for group in cluster["workerGroupSpecs"]:
        offered = workers[group["groupName"]]["resources"]
        pod_gib = int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"].removesuffix("Gi"))
        measured = memory_for_steps(pod_gib << 30)
        assert 0.99 < offered["memory"] / measured <= 1, "as `farm node resources`, which leaves some to Ray"
        assert offered["cpu_lane"] == lanes_for(offered["CPU"], measured, has_gpu=False)
    validate_config(prepare_config(config))


def test_ray_is_told_on_each_kind_of_pod_what_it_is_told_on_such_a_node_of_ray_cluster_yaml(
    cluster: dict[str, Any],
) -> None:
    options = yaml.safe_load((ROOT / "ray-cluster.yaml").read_text(encoding="utf-8"))["docker"]["run_options"]
    told = dict(option.removeprefix("-e ").split("=", 1) for option in options if option.startswith("-e "))
    assert told.pop("RAY_AUTH_MODE") == "token", "which is authOptions here"
    of_the_head_alone = ("RAY_SERVE_", "RAY_health_check_")
    assert {"RAY_health_check_period_ms", "RAY_task_events_report_interval_ms", "MALLOC_ARENA_MAX"} <= told.keys()
    for container in containers(cluster):
        is_head = container["name"] == "ray-head"
        expected = {name: value for name, value in told.items() if is_head or not name.startswith(of_the_head_alone)}
        found = {one["name"]: one["value"] for one in container["env"] if not one["name"].startswith("FARM_")}
        assert found == expected


def test_a_pod_that_is_taken_away_is_drained_first(cluster: dict[str, Any]) -> None:
    assert farm_commands_in(TEXT) == {"drain", "node resources"}
    for group in cluster["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        said = container["lifecycle"]["preStop"]["exec"]["command"][-1]
        deadline = re.search(r"--deadline (\d+) --wait", said)
        assert deadline
        assert int(deadline[1]) < pod["terminationGracePeriodSeconds"]


def test_scratch_holds_what_is_offered_and_the_sources_that_are_kept(cluster: dict[str, Any]) -> None:
    kept = StorageSettings().source_cache_bytes
    known = {f"FARM_{name.upper()}" for model in (WorkSettings, StorageSettings) for name in model.model_fields}
    for group in cluster["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        (volume,) = pod["volumes"]
        (container,) = pod["containers"]
        size = int(volume["emptyDir"]["sizeLimit"].removesuffix("G")) * 10**9
        assert int(group["resources"]["scratch_gb"]) * 10**9 + kept <= size
        settings = {one["name"]: one["value"] for one in container["env"] if one["name"].startswith("FARM_")}
        assert settings.keys() <= known
        assert all(value.startswith(container["volumeMounts"][0]["mountPath"]) for value in settings.values())

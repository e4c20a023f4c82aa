from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from ray.serve.schema import ServeDeploySchema

from cluster.errors import SettingsInvalid
from serve.app import AppArgs, build
from serve.auth import new_key

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "serve-config.yaml").read_text(encoding="utf-8"))
    return loaded


def test_the_config_is_what_ray_serve_accepts(config: dict[str, Any]) -> None:
    schema = ServeDeploySchema.model_validate(config)
    (application,) = schema.applications
    assert application.import_path == "serve.app:build"


def test_its_args_build_the_application(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_API_KEYS", new_key("a")[1])
    args = AppArgs(**config["applications"][0]["args"])
    deployment = build(args)._bound_deployment
    assert deployment.ray_actor_options is not None
    assert deployment.num_replicas == args.replicas == 2, "one can be lost"
    assert deployment.ray_actor_options["label_selector"] == {"role": "control"}
    assert deployment.init_args == ({"role": "control"},), "the dispatcher stays with the replicas"
    assert deployment.max_queued_requests > 0


def test_it_sets_nothing_that_ray_would_accept_misspelt(config: dict[str, Any]) -> None:
    ServeDeploySchema.model_validate(config | {"applications": [config["applications"][0] | {"deployments": []}]})
    assert "deployments" not in config["applications"][0]
    with pytest.raises(ValidationError, match="replica_count"):
        AppArgs.model_validate({"replica_count": 2})


def test_settings_that_cannot_work_stop_the_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsInvalid, match="FARM_API_KEYS"):
        build(AppArgs())
    monkeypatch.setenv("FARM_API_KEYS", "nonsense")
    with pytest.raises(SettingsInvalid, match=r"FARM_API_KEYS: .*entry 1"):
        build(AppArgs())

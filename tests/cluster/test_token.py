"""Ray's ports run code for whoever reaches them: nothing of the farm starts on a cluster that asks for no token."""

from pathlib import Path

import pytest

from cluster.errors import SettingsInvalid
from cluster.farm_settings import require_token
from tests.support.ray_farm import run_scenario


@pytest.mark.parametrize("address", ["10.0.0.5:6379", "head.internal:6379", "[fd00::5]:6379", "0.0.0.0:6379"])
@pytest.mark.parametrize("mode", ["", "disabled"])
def test_an_open_ray_that_others_reach_is_refused_with_the_remedy(
    address: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with pytest.raises(SettingsInvalid, match=r"RAY_AUTH_MODE.*`token`.*ray get-auth-token"):
        require_token(address)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    require_token(address)


@pytest.mark.parametrize("address", ["127.0.0.1:6379", "localhost:6379", "[::1]:6379"])
def test_a_ray_of_this_machine_alone_needs_no_token(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE")
    require_token(address)


OPEN = """
import os, subprocess, sys
import ray
from ray.cluster_utils import Cluster
from cluster.errors import SettingsInvalid
from cluster.runtime import ensure_dispatcher
from serve.app import AppArgs, build

nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
try:
    ray.init(nodes.address, log_to_driver=False)
    for start in (ensure_dispatcher, lambda: build(AppArgs())):
        try:
            start()
        except SettingsInvalid as error:
            print(str(error)[:14])
    command = [sys.executable, "-m", "serve", "drain", "any"]
    refused = subprocess.run(command, env=os.environ | {"RAY_ADDRESS": nodes.address}, capture_output=True, text=True)
    print(refused.returncode, refused.stderr[:38], refused.stderr.count("\\n"))
finally:
    ray.shutdown()
    nodes.shutdown()
"""


@pytest.mark.slow
def test_the_dispatcher_the_api_and_commands_refuse_an_open_cluster(tmp_path: Path) -> None:
    lines = run_scenario(OPEN, tmp_path, RAY_AUTH_MODE="disabled", FARM_API_KEYS="ci:" + "0" * 64)
    assert lines == ["RAY_AUTH_MODE:"] * 2 + ["1 error: settings_invalid: RAY_AUTH_MODE 1"]

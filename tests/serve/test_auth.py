import hashlib
from typing import Any

import pytest
from pydantic import ValidationError

from cluster.errors import SettingsInvalid
from cluster.settings import load
from serve.auth import ApiKey, identify, new_key, parse_keys
from serve.errors import NotAuthenticated
from serve.settings import ServeSettings
from tests.serve.conftest import ApiFarm, MakeFarm

LOOPBACK = "http://127.0.0.1:8000"


def test_a_new_key_is_known_by_its_entry_which_does_not_hold_the_key() -> None:
    key, entry = new_key("ci", org="acme", scope="read")
    assert key.startswith("mf_ci_")
    assert len(key) == len("mf_ci_") + 43
    assert key.rpartition("_")[2] not in entry
    assert parse_keys(entry) == (ApiKey(hashlib.sha256(key.encode()).digest(), "acme", "read"),)
    caller = identify(parse_keys(entry), f"Bearer {key}")
    assert (caller.org, caller.may_write) == ("acme", False)


def test_two_keys_are_live_at_once_while_one_replaces_the_other() -> None:
    (old, old_entry), (new, new_entry) = new_key("a", org="one"), new_key("b", org="two")
    keys = parse_keys(f" {old_entry}, {new_entry} ,")
    assert identify(keys, f"Bearer {old}").org == "one"
    assert identify(keys, f"bearer {new}").org == "two"


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic {key}", "{key}", "Bearer {key}x", "Bearer mf_a_é"]
)
def test_anything_but_a_known_key_is_refused(header: str | None) -> None:
    key, entry = new_key("a")
    with pytest.raises(NotAuthenticated):
        identify(parse_keys(entry), header and header.format(key=key))


def test_a_key_is_not_known_by_the_id_alone() -> None:
    (_, entry), (other, _) = new_key("a"), new_key("a")
    with pytest.raises(NotAuthenticated):
        identify(parse_keys(entry), f"Bearer {other}")


def test_no_header_matches_an_entry_of_zeros() -> None:
    with pytest.raises(NotAuthenticated):
        identify(parse_keys(f"zero:{'0' * 64}"), None)


@pytest.mark.parametrize(
    "entry", ["a", "a:", f"A:{'0' * 64}", f"a:{'0' * 63}", f"a:{'0' * 64}:../x", f"a:{'0' * 64}:*:admin", "mf_a_secret"]
)
def test_an_entry_that_cannot_be_read_stops_the_start_and_is_not_printed(
    entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_API_KEYS", f"{new_key('b')[1]},{entry}")
    with pytest.raises(SettingsInvalid, match=r"FARM_API_KEYS: .*entry 2") as failure:
        load(ServeSettings)
    assert f" {entry}" not in str(failure.value)


def test_an_open_farm_that_others_could_reach_does_not_start() -> None:
    for settings in ({}, {"embedded": True, "host": "0.0.0.0"}, {"embedded": False}, {"embedded": True, "host": "::"}):
        with pytest.raises(ValidationError, match="open to everybody"):
            ServeSettings(**settings)
    for host in ("127.0.0.1", "localhost", "::1"):
        assert ServeSettings(embedded=True, host=host).keys == ()
    assert ServeSettings(host="0.0.0.0", api_keys=f"a:{'0' * 64}").keys


def ask(farm: ApiFarm, path: str = "/v1/jobs", headers: dict[str, str] | None = None, **client: Any) -> int:
    return int(farm.client(**client).get(path, headers=headers or {}).status_code)


def test_an_open_farm_answers_its_own_machine_only(farm: ApiFarm) -> None:
    assert ask(farm) == 200
    assert ask(farm, host="::1", base_url="http://[::1]:8000") == 200
    assert ask(farm, base_url="http://localhost:8000") == 200
    assert ask(farm, host="10.0.0.9") == 401
    assert ask(farm, host="testclient") == 401


def test_an_open_farm_refuses_a_page_that_resolved_its_own_name_to_this_machine(farm: ApiFarm) -> None:
    assert ask(farm, base_url="http://evil.example.com:8000") == 401
    assert ask(farm, base_url="http://127.0.0.1.evil.example.com") == 401


def test_an_open_farm_refuses_a_page_of_somebody_else_in_a_browser_of_this_machine(farm: ApiFarm) -> None:
    for origin in ("https://evil.example.com", "null", "http://[", "file://"):
        assert ask(farm, headers={"Origin": origin}) == 401
    assert ask(farm, headers={"Origin": "http://localhost:8000"}) == 200


def test_an_open_farm_refuses_what_came_through_a_proxy(farm: ApiFarm) -> None:
    assert ask(farm, headers={"X-Forwarded-For": "10.0.0.9"}) == 401
    assert ask(farm, headers={"Forwarded": "for=10.0.0.9"}) == 401


@pytest.mark.parametrize(
    "path", ["/v1/jobs", "/v1/recipes", "/metrics", "/openapi.json", "/problems/x", "/nope", "//healthz", "/healthz/"]
)
def test_everything_but_the_health_checks_is_closed_without_a_key(make_farm: MakeFarm, path: str) -> None:
    key, entry = new_key("a")
    farm = make_farm(api_keys=entry)
    answer = farm.client().get(path, follow_redirects=False)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["code"] == "not_authenticated"
    assert ask(farm, "/v1/jobs", {"Authorization": f"Bearer {key}"}) == 200
    assert ask(farm, "/healthz") == ask(farm, "/readyz") == 200


def test_with_keys_being_on_the_same_machine_is_not_enough(make_farm: MakeFarm) -> None:
    farm = make_farm(api_keys=new_key("a")[1])
    assert ask(farm) == 401

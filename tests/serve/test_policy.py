"""Shares, limits and classes over HTTP and on the command line."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from cluster.jobs import Job
from cluster.policy import OrgPolicy, Policy
from serve import quotas
from serve.api import create_api
from serve.auth import new_key
from serve.cli import run
from serve.cli.exits import ExitCode
from serve.errors import LimitReached
from serve.intake import Upload
from tests.serve.conftest import ApiFarm, MakeFarm
from tests.support.asgi_server import served
from tests.support.jobs import claim, finish, new_job

Out = pytest.CaptureFixture[str]


@pytest.fixture
def running(farm: ApiFarm, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiFarm]:
    """A farm that FARM_URL leads to."""
    with served(create_api(farm.deps)) as url:
        monkeypatch.setenv("FARM_URL", url)
        yield farm


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "FRESH_S", 0.0)


def complete(farm: ApiFarm, media_id: str, **headers: str) -> tuple[int, dict[str, object], str | None]:
    body = {"source": farm.upload(), "org": "acme"}
    answer = farm.client().post(f"/v1/media/{media_id}/complete", json=body, headers=headers)
    return answer.status_code, answer.json(), answer.headers.get("retry-after")


def test_a_policy_is_read_changed_and_read_again(farm: ApiFarm) -> None:
    client = farm.client()
    policy = client.get("/v1/policy").json()
    assert (policy["version"], policy["orgs"]) == (0, {})
    policy["orgs"]["acme"] = {"weight": 2, "running_steps": 4}
    assert client.put("/v1/policy", json=policy).json()["version"] == 1
    assert farm.store.policy().of("acme") == OrgPolicy(weight=2, running_steps=4)
    answer = client.put("/v1/policy", json=policy)
    assert (answer.status_code, answer.json()["code"]) == (409, "policy_changed")


@pytest.mark.parametrize("wrong", [{"classes": {"urgent": 1}}, {"orgs": {"../x": {}}}, {"every_org": {"weight": 0}}])
def test_a_policy_that_cannot_hold_is_refused(farm: ApiFarm, wrong: dict[str, object]) -> None:
    assert farm.client().put("/v1/policy", json={"version": 0} | wrong).status_code == 422
    assert farm.store.policy() == Policy()


def test_a_key_of_one_org_neither_sees_nor_changes_the_policy(make_farm: MakeFarm) -> None:
    key, entry = new_key("acme", "acme")
    client = make_farm(api_keys=entry).client(headers={"Authorization": f"Bearer {key}"})
    assert client.get("/v1/policy").status_code == 403
    assert client.put("/v1/policy", json={"version": 0}).status_code == 403


@pytest.mark.usefixtures("_at_once")
def test_an_org_with_as_many_jobs_as_it_may_is_told_when_to_come_back(farm: ApiFarm) -> None:
    farm.store.change_policy(Policy(orgs={"acme": OrgPolicy(queued_jobs=1)}))
    assert complete(farm, "m1", **{"Idempotency-Key": "k"})[0] == 202
    status, body, retry_after = complete(farm, "m2")
    assert (status, body["code"], body["retryable"]) == (429, "limit_reached", True)
    assert retry_after == str(quotas.QUEUE_RETRY_S)
    assert complete(farm, "m1", **{"Idempotency-Key": "k"})[0] == 202, "a repeated call gets its answer all the same"
    (job,) = claim(farm.store, "test", 60, 1)
    finish(farm.store, job, "ready")
    assert complete(farm, "m2")[0] == 202


def test_uploads_that_come_at_once_do_not_pass_a_limit_together(farm: ApiFarm) -> None:
    farm.store.change_policy(Policy(orgs={"acme": OrgPolicy(queued_jobs=3)}))
    uploads = [Upload(new_job(media_id=f"m{number}", source_uri=farm.upload()), f"k{number}") for number in range(5)]

    async def at_once(*some: Upload) -> list[object]:
        return await asyncio.gather(*map(farm.deps.intake.accept, some), return_exceptions=True)

    answers = asyncio.run(at_once(*[uploads[0]] * 5, *uploads[1:], *[uploads[0]] * 5))
    refused = [one for one in answers if isinstance(one, LimitReached)]
    jobs = [one for one in answers if isinstance(one, Job)]
    assert (len(refused), len(jobs)) == (2, 12), "a call that is repeated takes no place"
    assert sorted({job.media_id for job in jobs}) == ["m0", "m1", "m2"]
    assert len(farm.store.list_jobs().jobs) == 3
    assert all(isinstance(one, Job) for one in asyncio.run(at_once(*uploads[:3], *uploads[:3])))


@pytest.mark.usefixtures("_at_once")
def test_an_org_hands_over_no_more_bytes_a_day_than_it_may(farm: ApiFarm) -> None:
    each = len(b"not really media")
    farm.store.change_policy(Policy(every_org=OrgPolicy(bytes_a_day=2 * each)))
    assert [complete(farm, f"m{number}")[0] for number in range(3)] == [202, 202, 429]


def test_jobs_that_this_process_accepts_count_before_the_store_is_asked_again(farm: ApiFarm) -> None:
    farm.store.change_policy(Policy(every_org=OrgPolicy(queued_jobs=2)))
    assert [complete(farm, f"m{number}")[0] for number in range(4)] == [202, 202, 429, 429]


def test_a_job_is_put_into_another_class(running: ApiFarm, capsys: Out) -> None:
    job = running.accept()
    assert run(["prioritise", job.id, "interactive"]) == ExitCode.DONE
    assert running.store.get(job.id).priority == "interactive"
    assert len(running.nudges) > 0
    assert capsys.readouterr().out.startswith(f"{job.id} queued ")
    assert run(["prioritise", job.id, "urgent"]) == ExitCode.USAGE
    assert "interactive" in capsys.readouterr().err


def test_the_command_line_changes_one_thing_and_leaves_the_rest(running: ApiFarm, capsys: Out) -> None:
    assert run(["policy", "class", "bulk", "--weight", "2"]) == ExitCode.DONE
    assert run(["policy", "org", "acme", "--weight", "3", "--running-steps", "8"]) == ExitCode.DONE
    assert run(["policy", "org", "acme", "--queued-jobs", "100"]) == ExitCode.DONE
    policy = running.store.policy()
    assert (policy.version, policy.classes.bulk) == (3, 2)
    assert policy.of("acme") == OrgPolicy(weight=3, running_steps=8, queued_jobs=100)
    capsys.readouterr()
    assert run(["policy", "show"]) == ExitCode.DONE
    assert "  org   acme         weight 3  running steps 8, queued jobs 100\n" in capsys.readouterr().out
    assert run(["policy", "org", "acme", "--running-steps", "-1", "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["orgs"]["acme"]["running_steps"] is None
    assert run(["policy", "org", "acme", "--clear"]) == ExitCode.DONE
    assert running.store.policy().orgs == {}


@pytest.mark.parametrize("arguments", [["acme"], ["acme", "--clear", "--weight", "2"]])
def test_an_org_without_a_change_is_a_mistake(arguments: list[str], capsys: Out) -> None:
    assert run(["policy", "org", *arguments]) == ExitCode.USAGE
    assert "--clear" in capsys.readouterr().err

"""A small client of our own HTTP API, for the `farm` command and the demo."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from serve.addresses import is_loopback_name
from serve.errors import FarmRefused, FarmUnreachable
from serve.settings import ClientSettings

TIMEOUT_S = 30.0
PATIENCE_S = 60.0  # with a stream that broke: a redeployed replica is back within seconds
RESUME_S = 1.0
SILENCE_S = 60.0  # of an event stream, which sends a comment every 15 s


class FarmClient:
    """One farm at a base URL; raises FarmRefused and FarmUnreachable."""

    def __init__(self, settings: ClientSettings) -> None:
        key = settings.api_key.get_secret_value()
        self._url = settings.url
        host = urlsplit(self._url).hostname or ""
        self._client = httpx.Client(
            base_url=self._url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=TIMEOUT_S,
            trust_env=not is_loopback_name(host),  # a proxy of the environment cannot reach this machine's own ports
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def complete(self, media_id: str, body: dict[str, Any], idempotency_key: str | None = None) -> dict[str, Any]:
        """Hand over an upload; the accepted job comes back."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._call("POST", f"/v1/media/{_step(media_id)}/complete", json=body, headers=headers)

    def job(self, job_id: str) -> dict[str, Any]:
        """One job as it stands."""
        return self._call("GET", f"/v1/jobs/{_step(job_id)}")

    def media(self, media_id: str, org: str) -> dict[str, Any]:
        """One media item with its artifacts and report."""
        return self._call("GET", f"/v1/media/{_step(media_id)}", params={"org": org})

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Ask for the job to be stopped."""
        return self._call("POST", f"/v1/jobs/{_step(job_id)}/cancel")

    def prioritise(self, job_id: str, priority: str) -> dict[str, Any]:
        """Put the job into another class."""
        return self._call("POST", f"/v1/jobs/{_step(job_id)}/priority", json={"priority": priority})

    def policy(self) -> dict[str, Any]:
        """Shares and limits."""
        return self._call("GET", "/v1/policy")

    def change_policy(self, policy: dict[str, Any]) -> dict[str, Any]:
        """Have another policy hold, made from the one that does."""
        return self._call("PUT", "/v1/policy", json=policy)

    def create_batch(self, body: dict[str, Any]) -> dict[str, Any]:
        """Begin a batch, or find the one that the same request began."""
        return self._call("POST", "/v1/batches", json=body)

    def estimate(self, body: dict[str, Any]) -> dict[str, Any]:
        """What it would take to turn sources of such forms."""
        return self._call("POST", "/v1/estimates", json=body)

    def batch(self, batch_id: str) -> dict[str, Any]:
        """One batch as it stands."""
        return self._call("GET", f"/v1/batches/{_step(batch_id)}")

    def cancel_batch(self, batch_id: str) -> dict[str, Any]:
        """Have the batch end now."""
        return self._call("POST", f"/v1/batches/{_step(batch_id)}/cancel")

    def retry_batch(self, batch_id: str) -> dict[str, Any]:
        """Have what failed tried again."""
        return self._call("POST", f"/v1/batches/{_step(batch_id)}/retry")

    def batch_results(self, batch_id: str) -> dict[str, Any]:
        """Where the results are, and of which parts."""
        return self._call("GET", f"/v1/batches/{_step(batch_id)}/results")

    def download_results(self, batch_id: str, part: int, path: Path) -> None:
        """One Parquet file of the results, written to `path`."""
        try:
            with self._client.stream("GET", f"/v1/batches/{_step(batch_id)}/results/{part}") as response:
                if not response.is_success:
                    response.read()
                    raise _refused(response)
                with path.open("wb") as file:
                    for piece in response.iter_bytes():
                        file.write(piece)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def events(self, job_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(type, data) of everything that happens to the job, from its beginning to its end.

        A stream that breaks is taken up again where it broke off: a farm that answered before, or that says itself
        that it cannot serve the stream now (too many watchers, a redeployed replica), is waited for.
        """
        kind, seen = "", "0"
        answered, give_up_at = False, math.inf
        while kind != "end":  # the farm ends long streams; the next one goes on where this one stopped
            try:
                for kind, data, event_id in self._stream(job_id, seen):
                    seen, answered, give_up_at = event_id or seen, True, math.inf
                    yield kind, data
            except (FarmUnreachable, FarmRefused) as error:
                passing = error.status >= 500 if isinstance(error, FarmRefused) else answered
                give_up_at = min(give_up_at, time.monotonic() + PATIENCE_S)
                if not passing or time.monotonic() > give_up_at:
                    raise
                time.sleep(RESUME_S)

    def _stream(self, job_id: str, after: str) -> Iterator[tuple[str, dict[str, Any], str]]:
        path, headers = f"/v1/jobs/{_step(job_id)}/events", {"Last-Event-ID": after}
        try:
            with self._client.stream("GET", path, headers=headers, timeout=SILENCE_S) as response:
                if not response.is_success:
                    response.read()
                    raise _refused(response)
                yield from _parse_events(response.iter_lines())
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            response = self._client.request(method, path, **arguments)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from None
        if not response.is_success:
            raise _refused(response)
        try:
            answer: dict[str, Any] = response.json()
        except ValueError:
            raise FarmUnreachable(f"what answers at {self._url} is not a farm") from None
        return answer

    def _unreachable(self, error: Exception) -> FarmUnreachable:
        return FarmUnreachable(f"no farm answers at {self._url} ({type(error).__name__}); is `farm up` running?")


def _step(name: str) -> str:
    """`name` as one step of a path, whatever the user typed."""
    return quote(name, safe="")


def _refused(response: httpx.Response) -> FarmRefused:
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict) or "code" not in problem:
        problem = {"detail": f"answered {response.status_code} without saying why", "code": "http_error"}
    return FarmRefused(
        _message(problem),
        status=response.status_code,
        code=str(problem["code"]),
        retryable=bool(problem.get("retryable", False)),
    )


def _message(problem: dict[str, Any]) -> str:
    """The problem's own sentence, and what it says of each part (allowed values, say) in brackets."""
    message = str(problem.get("detail", ""))
    parts = problem.get("errors")
    found = [str(part.get("detail", "")) for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    new = [detail for detail in dict.fromkeys(found) if detail and detail not in message]
    return f"{message} ({'; '.join(new)})" if new else message


def _parse_events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(type, data, id) of each event; the id is "" for those that cannot be resumed from."""
    kind, data, event_id = "message", "", ""
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            kind = value
        elif field == "id":
            event_id = value
        elif field == "data":
            data += value
        elif not line:
            if data:
                yield kind, json.loads(data), event_id
            kind, data, event_id = "message", "", ""

"""Callbacks: what a job's sender is told when the job has ended, as Standard Webhooks says.

At least once and in no promised order: a receiver drops what it has seen by `webhook-id`. A delivery is a row of the
outbox, written with the job's own ending, so it outlives every process (see serve.background for who sends them).
The farm lies inside a private network, so it calls listed hosts only, and connects to the very address it checked: a
name that resolves anew (DNS rebinding) or a redirect leads nowhere.
"""

import asyncio
import ipaddress
import json
import logging
import random
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx
from standardwebhooks.webhooks import Webhook

from cluster.jobs import Delivery
from cluster.monitoring import metrics
from serve.addresses import Address, is_loopback_name, parse_address
from serve.errors import CallbackRefused
from serve.settings import ServeSettings

if TYPE_CHECKING:
    from serve.api.deps import Deps

TIMEOUT_S = 15.0
# Waits before each try, in seconds: 75.6 hours in all, the schedule that the Standard Webhooks specification gives.
WAITS_S = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
JITTER = 0.1  # so that a receiver that comes back is not met by every delivery at once
MAX_RETRY_AFTER_S = 86_400.0
GONE = 410
LEASE_S = 4 * TIMEOUT_S  # a sender that dies in the middle delays its callbacks by this much

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing to tell; `event_id` is the same on every try."""

    event_id: str
    type: str
    time: datetime
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one try went; `retry_after_s` is what the receiver asked for."""

    delivered: bool
    status: int | None = None  # None: there was no answer
    gone: bool = False
    retry_after_s: float = 0.0
    problem: str = ""


def http_client() -> httpx.AsyncClient:
    """The client that callbacks are sent with: no redirects, and no proxy that would resolve names anew."""
    return httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=TIMEOUT_S)


def check_callback(url: str, settings: ServeSettings) -> httpx.URL:
    """The parsed `url` when callbacks may go to its host; raises CallbackRefused."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise CallbackRefused("the callback URL cannot be read") from None
    host = parsed.host.lower()
    if not host or parsed.userinfo or parsed.fragment:
        raise CallbackRefused("the callback URL needs a host, and neither a user nor a fragment")
    if parsed.scheme != "https" and not (parsed.scheme == "http" and settings.embedded and is_loopback_name(host)):
        raise CallbackRefused("the callback URL must begin with https://")
    listed = {host} if parsed.port is None else {f"{host}:{parsed.port}", f"[{host}]:{parsed.port}"}
    if not listed & set(settings.callback_hosts):
        raise CallbackRefused("callbacks to this host are not allowed (FARM_CALLBACK_HOSTS)")
    return parsed


async def resolve(url: httpx.URL, settings: ServeSettings) -> Address:
    """An address of the callback's host that the farm may connect to; raises CallbackRefused."""
    written = parse_address(url.host)
    if written is not None:
        return written  # listed as it stands
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(url.host, url.port or 443, type=socket.SOCK_STREAM)
    except OSError:
        raise CallbackRefused("the callback's host has no address") from None
    for info in infos:
        address = parse_address(str(info[4][0]))
        if address is not None and _may_connect(address, url.host, settings):
            return address
    raise CallbackRefused("the callback's host resolves to an address that is not on the public internet")


def _may_connect(address: Address, host: str, settings: ServeSettings) -> bool:
    if address.is_global and not address.is_multicast:
        return True
    if settings.embedded and address.is_loopback and is_loopback_name(host):
        return True
    return any(address in network for network in _networks(settings))


def _networks(settings: ServeSettings) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    networks = []
    for entry in settings.callback_hosts:
        try:
            networks.append(ipaddress.ip_network(entry))
        except ValueError:
            continue  # a name, or an address with a port
    return networks


def signed(event: Event, settings: ServeSettings, now: datetime) -> tuple[bytes, dict[str, str]]:
    """Body and headers of one try; every configured secret signs, so that a receiver may know either."""
    body = json.dumps(
        {"id": event.event_id, "type": event.type, "timestamp": event.time.isoformat(), "data": event.data},
        separators=(",", ":"),
    )
    secrets = [secret.get_secret_value() for secret in settings.webhook_secrets]
    signatures = [Webhook(secret).sign(event.event_id, now, body) for secret in secrets]
    headers = {
        "content-type": "application/json",
        "user-agent": "farm-webhooks/1",
        "webhook-id": event.event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
    return body.encode(), headers


async def send(url: str, event: Event, settings: ServeSettings, client: httpx.AsyncClient, now: datetime) -> Outcome:
    """Try once; every failure is an Outcome."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            target = check_callback(url, settings)
            address = await resolve(target, settings)
            body, headers = signed(event, settings, now)
            request = client.build_request(
                "POST",
                target.copy_with(host=str(address)),
                content=body,
                headers=headers | {"host": target.netloc.decode("ascii")},
                # The certificate must be the name's, although the connection goes to the address.
                extensions={"sni_hostname": target.host},
            )
            response = await client.send(request, stream=True)
            await response.aclose()  # what a receiver answers beyond its status is of no use
    except CallbackRefused as error:
        return Outcome(False, problem=error.public_message)
    except TimeoutError:
        return Outcome(False, problem=f"no answer within {TIMEOUT_S:.0f} s")
    except httpx.HTTPError as error:
        return Outcome(False, problem=f"{type(error).__name__}: {error}"[:200])
    status = response.status_code
    if response.is_success:
        return Outcome(True, status)
    wait_s = _retry_after_s(response.headers.get("retry-after", ""), now)
    return Outcome(False, status, gone=status == GONE, retry_after_s=wait_s, problem=f"answered {status}")


def _retry_after_s(value: str, now: datetime) -> float:
    """Seconds of a Retry-After header (a number or a date), bounded; 0 when there is none that can be read."""
    try:
        wait_s = (
            float(value) if value.strip().isdigit() else (_aware(parsedate_to_datetime(value)) - now).total_seconds()
        )
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def next_wait_s(tries: int, outcome: Outcome) -> float | None:
    """Seconds until the next try after `tries` of them failed; None when there shall be none."""
    if outcome.gone or tries >= len(WAITS_S):
        return None
    wait_s = WAITS_S[tries] * random.uniform(1.0, 1.0 + JITTER)  # noqa: S311 - jitter, not a secret
    return max(wait_s, outcome.retry_after_s)


async def deliver(delivery: Delivery, deps: "Deps", client: httpx.AsyncClient, now: datetime) -> None:
    """Try one callback and write down how that went. Raises StoreError; it is then tried again after its lease."""
    key = delivery.body.get("manifest_key")
    body = delivery.body | {"manifest_url": deps.output.url(key) if key else None}
    event = Event(delivery.id, delivery.event, delivery.created_at, body)
    trace = (await asyncio.to_thread(deps.store.get, delivery.job_id)).traceparent if deps.tracing.on else None
    with deps.tracing.span("callback", trace, "client", job_id=delivery.job_id, attempt=delivery.attempts) as span:
        outcome = await send(delivery.url, event, deps.settings, client, now)
        span.set(http_status=outcome.status)
        if not outcome.delivered:  # the problem may quote an address
            span.fail("no answer" if outcome.status is None else f"answered {outcome.status}")
    if outcome.delivered:
        deps.counts.add(metrics.CALLBACKS, "delivered")
        deps.counts.observe(metrics.CALLBACK_SECONDS, (datetime.now(UTC) - delivery.created_at).total_seconds())
        await asyncio.to_thread(deps.store.delivered, delivery.id, outcome.status or 0)
        return
    wait_s = next_wait_s(delivery.attempts, outcome)
    deps.counts.add(metrics.CALLBACKS, "given_up" if wait_s is None else "failed")
    log.warning(
        "callback %s of job %s, try %d: %s; %s",
        delivery.id,
        delivery.job_id,
        delivery.attempts,
        outcome.problem,
        "given up" if wait_s is None else f"again in {wait_s:.0f} s",
    )
    await asyncio.to_thread(deps.store.delivery_failed, delivery.id, outcome.status, wait_s)

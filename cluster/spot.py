"""A spot node's last two minutes: EC2 announces that it takes the node back, and the node is drained at once."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx

from cluster.errors import InfraError

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html asks to look every 5 s.
LOOK_S = 5.0
METADATA = "http://169.254.169.254"
TOKEN_S = 21_600
ANSWER_S = 2.0
TERMINATION = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"

Drain = Callable[[str, float | None], None]
"""Told why, and in how many seconds the node is gone; None: that is not known."""

log = logging.getLogger(__name__)


class SpotNotices:
    """What the instance metadata service says about this node, by its version 2, which asks for a token first."""

    def __init__(self, address: str = METADATA) -> None:
        # Never through a proxy: the address is this machine's own.
        self._client = httpx.Client(base_url=address, timeout=ANSWER_S, trust_env=False)
        self._token = ""

    def termination(self) -> datetime | None:
        """When the node is taken back, None while it is not; httpx.HTTPError or ValueError."""
        answer = self._get(TERMINATION)
        return None if answer is None else _time(answer.json()["time"])

    def rebalance(self) -> bool:
        """Whether EC2 thinks that it may soon take the node back; httpx.HTTPError."""
        return self._get(REBALANCE) is not None

    def _get(self, path: str) -> httpx.Response | None:
        """The answer, None for 404: nothing was announced."""
        answer = self._client.get(path, headers={"X-aws-ec2-metadata-token": self._token})
        if answer.status_code == httpx.codes.UNAUTHORIZED:  # no token yet, or one that ran out
            lasting = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_S)}
            asked = self._client.put("/latest/api/token", headers=lasting)
            self._token = asked.raise_for_status().text
            answer = self._client.get(path, headers={"X-aws-ec2-metadata-token": self._token})
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status()


def watch(notices: SpotNotices, drain: Drain) -> None:
    """Look until the node's end is announced and it is drained; a rebalance recommendation drains it before that."""
    is_drained, is_silent = False, False
    while True:
        try:
            ends = notices.termination()
            if ends is not None:
                drain("EC2 takes the spot node back", max(0.0, (ends - datetime.now(UTC)).total_seconds()))
                return
            if not is_drained and notices.rebalance():
                drain("EC2 recommends to leave the spot node", None)
                is_drained = True
            is_silent = False
        except (httpx.HTTPError, ValueError, KeyError) as error:
            if not is_silent:  # once, not every 5 s where there is no such service
                log.warning("the instance metadata service does not answer: %s", error)
            is_silent = True
        except InfraError as error:  # also a setting that is wrong: it is said, and the next notice may find it mended
            log.warning("the node is not drained yet: %s: %s", error.code, error.public_message)
        time.sleep(LOOK_S)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)

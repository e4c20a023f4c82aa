"""API keys: who is calling, and what they may see.

A key is `mf_<id>_<43 random characters>`. The farm keeps its SHA-256 alone: with 256 random bits there is nothing to
guess, so a slow password hash would only slow down every call. Two entries may be live at once, which is how a key is
rotated.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from serve.addresses import is_loopback_name
from serve.errors import Forbidden, NotAuthenticated

Scope = Literal["read", "write"]

ORG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"
_ENTRY = re.compile(rf"[a-z0-9]{{1,32}}:(?P<sha256>[0-9a-f]{{64}})(:(?P<org>\*|{ORG})(:(?P<scope>read|write))?)?")
_TOKEN = re.compile(r"mf_[a-z0-9]{1,32}_[A-Za-z0-9_-]{43}")
_NO_KEY = bytes(32)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One accepted key; `org` None is every org."""

    sha256: bytes
    org: str | None
    scope: Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent this request; `org` None may act for every org."""

    org: str | None
    may_write: bool

    def sees(self, org: str) -> bool:
        """Whether things of `org` exist as far as this caller is told."""
        return self.org is None or self.org == org

    def org_or(self, asked: str | None) -> str:
        """The org that a request is about: the one it names, else the caller's own, else `default`."""
        return asked or self.org or "default"

    def must_write(self) -> None:
        """Raises Forbidden for a key that may only read."""
        if not self.may_write:
            raise Forbidden("this key may read only")


OWNER = Caller(org=None, may_write=True)
"""The user of this machine, where the API is open to nobody else."""


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """The keys of FARM_API_KEYS; ValueError names the entry by its place, never by its content."""
    keys = []
    for number, entry in enumerate((part.strip() for part in text.split(",") if part.strip()), 1):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise ValueError(f"entry {number} is not `id:sha256[:org[:read|write]]`; make one with `farm keys new`")
        org = match["org"] or "*"
        scope: Scope = "read" if match["scope"] == "read" else "write"
        keys.append(ApiKey(bytes.fromhex(match["sha256"]), None if org == "*" else org, scope))
    return tuple(keys)


def new_key(key_id: str, org: str = "*", scope: Scope = "write") -> tuple[str, str]:
    """A fresh key and its entry for FARM_API_KEYS; the key itself is stored nowhere."""
    key = f"mf_{key_id}_{secrets.token_urlsafe(32)}"
    entry = f"{key_id}:{hashlib.sha256(key.encode()).hexdigest()}:{org}:{scope}"
    parse_keys(entry)
    return key, entry


def identify(keys: tuple[ApiKey, ...], authorization: str | None) -> Caller:
    """The caller behind an `Authorization` header; NotAuthenticated without a known key.

    Every known key is compared in full whatever was sent, so that the time taken tells nothing.
    """
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    well_formed = scheme.lower() == "bearer" and _TOKEN.fullmatch(token) is not None
    presented = hashlib.sha256(token.encode()).digest() if well_formed else _NO_KEY
    found: ApiKey | None = None
    for key in keys:
        if hmac.compare_digest(key.sha256, presented):
            found = key
    if found is None or not well_formed:
        raise NotAuthenticated("send a known key as `Authorization: Bearer mf_…`")
    return Caller(found.org, found.scope == "write")


def owner_of_this_machine(client_host: str | None, headers: Mapping[str, str]) -> Caller:
    """The caller of an API without keys: this machine's own user, NotAuthenticated for anybody else.

    Being connected from this machine is not enough: a browser here runs other people's pages. Their Origin gives them
    away, or their Host, where a page has let its own name resolve to 127.0.0.1 (DNS rebinding). And whatever came
    through a proxy came from somewhere else.
    """
    named = [f"//{headers.get('host', '')}"]
    if "origin" in headers:
        named.append(headers["origin"])
    local = client_host is not None and is_loopback_name(client_host) and all(map(_names_this_machine, named))
    if not local or "forwarded" in headers or "x-forwarded-for" in headers:
        raise NotAuthenticated("this farm has no API keys and answers its own machine only")
    return OWNER


def _names_this_machine(url: str) -> bool:
    try:
        return is_loopback_name(urlsplit(url).hostname or "")
    except ValueError:
        return False

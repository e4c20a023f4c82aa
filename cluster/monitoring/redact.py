"""Taking secrets out of what is written down, whoever wrote them into it.

A library's exception quotes whatever address it was given.
"""

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

GONE = "***"
LEAST_CHARACTERS = 6  # of a known secret: a shorter one would be found in every other word

# A query string may be a signature; a user part is a password. The path is what tells where it went wrong.
_USER = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s/?#\"'<>]*@", re.IGNORECASE)
_QUERY = re.compile(r"(?P<url>\b[a-z][a-z0-9+.-]*://[^\s?#\"'<>]*)\?[^\s#\"'<>]*", re.IGNORECASE)
# Also without an address before it: servers repeat the path and its query alone.
_NAMED = re.compile(
    r"(?P<name>\b(?:x-amz-[a-z-]+|awsaccesskeyid|signature|sig|policy|key-pair-id|[a-z_-]*(?:token|password|passwd|secret)"
    r"[a-z_]*|api[_-]?key)[\"']?\s*[=:]\s*[\"']?)[^\s&\"',;)}\]]+",
    re.IGNORECASE,
)
_HEADER = re.compile(r"(?P<name>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
_KEYS = re.compile(r"\bmf_[a-z0-9]{1,32}_[A-Za-z0-9_-]{8,}|\bwhsec_[A-Za-z0-9+/=]+|\b(?:AKIA|ASIA)[A-Z0-9]{12,}")


class Redactor:
    """Knows the secrets of this process by their values, and those of others by their looks."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({one for one in secrets if len(one) >= LEAST_CHARACTERS}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        """`text` without them."""
        if self._known is not None:
            text = self._known.sub(GONE, text)
        text = _KEYS.sub(GONE, text)
        if "://" in text:
            text = _QUERY.sub(rf"\g<url>?{GONE}", _USER.sub(rf"\g<scheme>{GONE}@", text))
        if "=" in text or ":" in text:  # looked for first: most texts are short and hold neither
            text = _NAMED.sub(rf"\g<name>{GONE}", text)
        return _HEADER.sub(rf"\g<name>{GONE}", text)


def secrets_of(*settings: BaseModel) -> list[str]:
    """Every secret in them: the values of secret fields, and the passwords of those that are URLs."""
    found = []
    for one in settings:
        for name in type(one).model_fields:
            value = getattr(one, name)
            for secret in value if isinstance(value, tuple) else (value,):
                if isinstance(secret, SecretStr):
                    found += _forms(secret.get_secret_value())
    return found


def _forms(secret: str) -> list[str]:
    """The secret as it stands, or what of a URL is secret, as it stands and decoded."""
    try:
        parts: Any = urlsplit(secret)
    except ValueError:
        return [secret]
    if not parts.scheme or not parts.netloc:
        return [secret] if not secret.startswith("sqlite:") else []
    return [parts.password, unquote(parts.password)] if parts.password else []

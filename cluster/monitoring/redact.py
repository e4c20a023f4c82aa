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

# Names are of some length at most: else a word of 20 KB would take seconds, and who sends it decides how many.
# A user part is a password.
_USER = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]{0,31}://)[^\s/?#\"'<>]*@", re.IGNORECASE)
# A query string may be a signature; the path is what tells where it went wrong. It ends where a space is: quotes and
# brackets may be part of it. Looked for from a word's beginning: from each letter of a long one would take minutes.
_QUERY = re.compile(r"(?<![^\s?])(?P<path>[^\s?]*)\?(?P<query>\S+)")
# Also what is no query: headers and settings by their names.
_NAMED = re.compile(
    r"(?P<name>\b(?:x-amz-[a-z-]{1,64}|awsaccesskeyid|signature|sig|policy|key-pair-id|[a-z_-]{0,64}(?:token|password|passwd|"
    r"secret)[a-z_]{0,64}|api[_-]?key)[\"']?\s*[=:]\s*[\"']?)[^\s&\"',;)}\]]+",
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
            text = _USER.sub(rf"\g<scheme>{GONE}@", text)
        if "?" in text:
            text = _QUERY.sub(_without_query, text)
        if "=" in text or ":" in text:  # looked for first: most texts are short and hold neither
            text = _NAMED.sub(rf"\g<name>{GONE}", text)
        return _HEADER.sub(rf"\g<name>{GONE}", text)


def _without_query(word: re.Match[str]) -> str:
    """Servers repeat the path and its query alone; what has neither a path nor a name in it is a question."""
    is_query = "/" in word["path"] or "=" in word["query"]
    return f"{word['path']}?{GONE}" if is_query else word[0]


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

"""Who may ask, from where, and whom the farm may call. The only module here that reads the environment."""

import base64
import binascii
import os
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

from cluster.settings import CONFIG, load
from ladders.catalog import Recipes
from serve.addresses import is_loopback_name
from serve.auth import ApiKey, parse_keys

CommaSeparated = Annotated[tuple[str, ...], NoDecode]


class ServeSettings(BaseSettings):
    """The settings of the HTTP side; every field is the environment variable FARM_ + its name in capitals."""

    model_config = CONFIG

    embedded: bool = False
    """Everything on this machine for its own user: the only mode in which the API may be open without keys."""
    host: str = "127.0.0.1"
    """Address that the HTTP server binds to."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port that the HTTP server binds to."""
    api_keys: SecretStr = SecretStr("")
    """Comma-separated entries `id:sha256[:org[:scope]]`, as printed by `farm keys new`; org `*` is every org, scope is
    `read` or `write`."""
    callback_hosts: CommaSeparated = ()
    """Comma-separated hosts that callbacks may go to (`media.example.com`, `media.example.com:8443`), and addresses or
    networks beside the public internet that those may resolve to (`10.1.2.3`, `10.0.0.0/8`)."""
    webhook_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Comma-separated `whsec_…` secrets; every callback carries one signature of each, so that they can be rotated."""
    body_limit_bytes: Annotated[int, Field(ge=1024)] = 64 * 1024
    """Largest request body, in bytes."""

    @field_validator("callback_hosts", "webhook_secrets", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("callback_hosts")
    @classmethod
    def _lower(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(host.lower() for host in value)

    @field_validator("webhook_secrets")
    @classmethod
    def _strong(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in value:
            prefix, _, encoded = secret.get_secret_value().partition("_")
            try:
                size = len(base64.b64decode(encoded, validate=True))
            except binascii.Error:
                size = 0
            # The bounds of the Standard Webhooks specification.
            if prefix != "whsec" or not 24 <= size <= 64:
                raise ValueError("a webhook secret is `whsec_` and the base64 of 24 to 64 random bytes")
        return value

    @field_validator("api_keys")
    @classmethod
    def _readable(cls, value: SecretStr) -> SecretStr:
        parse_keys(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _closed_unless_private(self) -> Self:
        if not self.keys and not (self.embedded and is_loopback_name(self.host)):
            raise ValueError(
                "the API would be open to everybody: set FARM_API_KEYS (make a key with `farm keys new`), "
                "or serve this machine alone with FARM_EMBEDDED=1 and FARM_HOST=127.0.0.1"
            )
        if self.callback_hosts and not self.webhook_secrets:
            raise ValueError("FARM_CALLBACK_HOSTS needs FARM_WEBHOOK_SECRETS: callbacks are always signed")
        return self

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """The keys that may ask; empty means open to this machine."""
        return parse_keys(self.api_keys.get_secret_value())


class RecipeSettings(BaseSettings):
    """What a farm, or the `farm` command, offers beside the packaged recipes."""

    model_config = CONFIG

    recipes_dir: Path | None = None
    """Folder of .yaml recipes, each named as its file; one named as a packaged recipe stands in for it."""


class ClientSettings(BaseSettings):
    """Where the `farm` command finds a running farm."""

    model_config = CONFIG

    url: str = "http://127.0.0.1:8000"
    """Base URL of the API."""
    api_key: SecretStr = SecretStr("")
    """The key to present; empty where the farm is open to this machine."""

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        parts = urlsplit(value)
        # Asking for the port is what finds one that is none.
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("must be http:// or https:// and a host, such as http://127.0.0.1:8000")
        return value.rstrip("/")


def prepare_embedded_environment(port: int, data_dir: Path | None, isolated: bool) -> None:
    """Set what every process of an embedded farm reads; `isolated` drops all other FARM_ variables first."""
    if isolated:
        for name in [name for name in os.environ if name.startswith("FARM_")]:
            del os.environ[name]
    os.environ |= {"FARM_EMBEDDED": "1", "FARM_HOST": "127.0.0.1", "FARM_PORT": str(port)}
    if data_dir is not None:
        os.environ["FARM_DATA_DIR"] = str(data_dir.absolute())
    # Who starts a farm of their own reads its lines.
    os.environ.setdefault("FARM_LOG_FORMAT", "text")
    os.environ.setdefault("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "serve.ingress.prepare_proxy")
    # A farm of one's own reads what lies where it was started, and nothing else unless told so.
    os.environ.setdefault("FARM_SOURCE_PREFIXES", Path.cwd().as_uri())
    os.environ.setdefault("FARM_RESULT_PREFIXES", Path.cwd().as_uri())


def known_recipes() -> Recipes:
    """What FARM_RECIPES_DIR and the package offer; raises InvalidRecipe, UnknownRecipe, SettingsInvalid."""
    return Recipes(load(RecipeSettings).recipes_dir)


def quiet_encoders() -> None:
    """Keep SVT-AV1 from printing its settings to stderr for every encoder that is opened."""
    os.environ.setdefault("SVT_LOG", "1")


def debugging() -> bool:
    """Whether FARM_DEBUG asks for the traceback of an error that nobody foresaw."""
    return os.environ.get("FARM_DEBUG", "0") not in ("", "0")

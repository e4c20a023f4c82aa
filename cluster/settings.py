"""Settings of the cluster, read from environment variables that begin with ``FARM_``.

The one place of this package that reads the environment. `load` names the variable when a value cannot be used.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cluster.errors import SettingsInvalid

S = TypeVar("S", bound=BaseSettings)

# Errors do not repeat the value: it may be a password.
CONFIG = SettingsConfigDict(env_prefix="FARM_", frozen=True, hide_input_in_errors=True)


def load[S: BaseSettings](cls: type[S], **given: Any) -> S:
    """The settings `cls` from the environment, and `given` before it; SettingsInvalid names every wrong variable."""
    try:
        return cls(**given)
    except ValidationError as error:
        errors = error.errors()
        # A default that is made of a wrong value is no second mistake of the user's.
        errors = [e for e in errors if e["type"] != "default_factory_not_called"] or errors
        names = ["__".join(str(step) for step in e["loc"]).upper() for e in errors]
        said = [e["msg"].removeprefix("Value error, ") for e in errors]
        wrong = [f"FARM_{name}: {text}" if name else text for name, text in zip(names, said, strict=True)]
        raise SettingsInvalid("; ".join(wrong)) from None


def _data_dir() -> Path:
    return Path.home() / ".local" / "share" / "farm"


def _under_data(name: str) -> Any:
    def default(data: dict[str, Any]) -> Any:
        return data["data_dir"] / name

    return default


class StorageSettings(BaseSettings):
    """Where artifacts go and sources may come from."""

    model_config = CONFIG

    data_dir: Path = Field(default_factory=_data_dir, description="Folder for everything that has no place of its own.")
    storage_uri: str = Field(
        default_factory=lambda data: _under_data("media")(data).absolute().as_uri(),
        description="Where artifacts are published: file:///folder or s3://bucket/prefix.",
    )
    source_prefixes: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Places that sources may come from, separated by commas; none when empty. {org} is whoever asks.",
    )
    result_prefixes: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Places beside storage_uri that batches may write results to, as in source_prefixes.",
    )
    public_url: str | None = Field(
        default=None, description="Address that serves storage_uri to players (a CDN); the storage's own when unset."
    )
    s3_endpoint: str | None = Field(default=None, description="Address of an S3-compatible server; AWS when unset.")
    s3_region: str = Field(default="us-east-1", description="Region of the buckets.")
    s3_access_key_id: str | None = Field(
        default=None,
        description="Access key; found as boto3 finds it when unset (environment, profile, instance role).",
    )
    s3_secret_access_key: SecretStr | None = Field(default=None, description="Secret of s3_access_key_id.")
    source_cache_dir: Path = Field(
        default_factory=_under_data("sources"), description="Folder on the local disk for downloaded sources."
    )
    source_cache_bytes: int = Field(
        default=50_000_000_000, gt=0, description="Bytes of sources that may stay in the cache between jobs."
    )

    @field_validator("source_prefixes", "result_prefixes", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("storage_uri", "source_prefixes", "result_prefixes")
    @classmethod
    def _known_storage(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for uri in (value,) if isinstance(value, str) else value:
            if not uri.startswith(("file:///", "s3://")):
                raise ValueError("must begin with file:/// or s3://")
        return value

    @field_validator("public_url", "s3_endpoint")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/") if value else None


class DatabaseSettings(BaseSettings):
    """Where jobs are kept."""

    model_config = CONFIG

    data_dir: Path = Field(default_factory=_data_dir, description="Folder for everything that has no place of its own.")
    database_url: SecretStr = Field(
        default_factory=lambda data: SecretStr(f"sqlite:///{_under_data('farm.db')(data).absolute()}"),
        description="sqlite:////folder/file.db on one machine, postgresql://user:password@host/name for a cluster.",
    )

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("sqlite:////", "postgresql://", "postgres://")):
            raise ValueError("must begin with sqlite://// (an absolute path) or postgresql://")
        return value


class LogSettings(BaseSettings):
    """How the processes of the farm write their log lines."""

    model_config = CONFIG

    log_format: Literal["json", "text"] = Field(default="json", description="One JSON object a line, or plain text.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least important lines that are written."
    )


def traces_wanted() -> bool:
    """Whether the standard variables of OpenTelemetry name a place that spans go to; its SDK reads the others."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(os.environ.get(name) for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))

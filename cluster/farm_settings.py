"""All settings that workers and the dispatcher need, composed once per process.

Every process of the farm reads its own environment: nothing of this crosses Ray, because some of it is secret.
"""

import ipaddress
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings

from cluster.errors import SettingsInvalid
from cluster.settings import CONFIG, DatabaseSettings, LogSettings, StorageSettings, load
from pipelines.images.limits import ImageLimits
from pipelines.limits import Limits


def _cores() -> int:
    return len(os.sched_getaffinity(0))


class WorkSettings(BaseSettings):
    """How steps are run, and what a source may be."""

    model_config = CONFIG | {"env_nested_delimiter": "__"}

    slots: int = Field(default_factory=_cores, ge=1, description="Steps at once on this machine (embedded mode).")
    threads_per_step: int = Field(default=1, ge=1, le=64, description="Threads of one decoder or measurement.")
    scratch_dir: Path = Field(
        default_factory=lambda: Path(tempfile.gettempdir()) / f"farm-{os.getuid()}",
        description="Folder on the local disk that media processes work in.",
    )
    media_stall_s: float = Field(default=60.0, gt=0, description="Seconds without progress until a media process ends.")
    media_memory_bytes: int = Field(
        default=12_000_000_000, gt=0, description="Bytes of address space of one media process."
    )
    media_file_bytes: int = Field(default=100_000_000_000, gt=0, description="Bytes of one file that it may write.")
    lease_s: float = Field(default=30.0, gt=1, description="Seconds until a silent dispatcher's jobs are taken over.")
    scratch_keep_s: float = Field(
        default=7 * 24 * 3600.0, gt=3600, description="Seconds that a failed job's finished chunks wait for a retry."
    )
    image_wait_s: float = Field(
        default=0.02, ge=0, le=10, description="Seconds that a picture waits for others, to go to an engine with them."
    )
    image_batch: int = Field(default=16, ge=1, le=256, description="Pictures that go to an engine together at most.")
    image_memory_bytes: int = Field(
        default=4_000_000_000, gt=0, description="Bytes of address space of one picture's media process."
    )
    image_speed_file: Path | None = Field(
        default=None, description="What `python -m benchmarks images-gpu` measured here; none: pictures go to CPUs."
    )
    image_limits: ImageLimits = Field(
        default_factory=ImageLimits, description="What a picture may be; FARM_IMAGE_LIMITS__MAX_PIXELS …"
    )
    limits: Limits = Field(default_factory=Limits, description="What a source may be; FARM_LIMITS__MAX_DURATION_S …")


@dataclass(frozen=True, slots=True)
class FarmSettings:
    """The settings of one process."""

    storage: StorageSettings
    database: DatabaseSettings
    work: WorkSettings
    log: LogSettings = field(default_factory=LogSettings)

    @classmethod
    def load(cls) -> "FarmSettings":
        """From the environment; SettingsInvalid names every variable that is wrong."""
        return cls(load(StorageSettings), load(DatabaseSettings), load(WorkSettings), load(LogSettings))


def prepare_ray_environment() -> None:
    """Set what Ray reads when it is IMPORTED, unless somebody has: call this before anything imports it."""
    # A token of this run only: Ray's ports are remote code execution for whoever reaches them, also on loopback.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Under `uv run` Ray would ship the folder to its workers and run that copy.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # The API's coroutines in the loop that Serve itself uses, without a thread's turn for each message, no lines of
    # Serve's on stderr, and its messages by the gRPC port that each replica has anyway: with 8 callers 400 uploads a
    # second instead of 280. RAY_SERVE_THROUGHPUT_OPTIMIZED stands for these, and has each replica listen on a port of a
    # fixed range besides, which another farm of this machine may have.
    os.environ.setdefault("RAY_SERVE_USE_GRPC_BY_DEFAULT", "1")
    # An answer above gRPC's own 4 MB would be none.
    os.environ.setdefault("RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH", "67108864")
    os.environ.setdefault("RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD", "0")
    os.environ.setdefault("RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP", "0")
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
    # A worker's log has no end by itself: 50 MB for a hundred thousand pictures.
    os.environ.setdefault("RAY_ROTATION_MAX_BYTES", "100000000")
    os.environ.setdefault("RAY_ROTATION_BACKUP_COUNT", "5")
    # Ray's record of every call, which nobody asks for: the dispatcher kept 8 KB of each step, the head the same again.
    os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
    # Each of Ray's 40 threads takes an arena of the allocator, and what is free in one is no use to another: in three
    # minutes of small videos a dispatcher held 7 MB more so, and 1 MB with two arenas.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")


def require_token(address: str) -> None:
    """SettingsInvalid where Ray is reached at `address` (host:port) by others than this machine, and asks for no token.

    Whoever reaches Ray's ports runs code on every node. Ray 2.60 listens on the machine's own address whatever
    `--node-ip-address` says: on loopback alone only where the machine has no network.
    """
    host = address.rpartition(":")[0].strip("[]")
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        is_loopback = host == "localhost"
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    if not is_loopback and mode != "token":
        raise SettingsInvalid(
            f"RAY_AUTH_MODE: Ray listens at {address}, where whoever reaches it runs code on every node: set it to "
            "`token` on every node, and copy the token that `ray get-auth-token --generate` makes to all of them"
        )


def ray_address() -> str:
    """Where this machine's processes find Ray: RAY_ADDRESS, else what `ray start` noted here."""
    return os.environ.get("RAY_ADDRESS") or "auto"

"""The application that Ray Serve runs: `serve deploy serve-config.yaml`, or `farm up` on one machine."""

import logging
from typing import Annotated

import ray
from pydantic import BaseModel, ConfigDict, Field
from ray import serve as ray_serve
from ray.serve import Application
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.schema import LoggingConfig

from cluster.farm_settings import FarmSettings, require_token
from cluster.settings import load
from serve.deployments import GatewayDeployment
from serve.ingress import APP
from serve.settings import ServeSettings, known_recipes


class AppArgs(BaseModel):
    """The `args` of serve-config.yaml. A misspelt one is an error, unlike in Ray's own deployment options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    replicas: Annotated[int, Field(ge=1, le=100)] = 2
    """Two survive the loss of one."""
    replica_cpus: Annotated[float, Field(ge=0, le=16)] = 0.2
    """A replica waits for the database most of its time."""
    max_ongoing_requests: Annotated[int, Field(ge=1)] = 2048
    """Per replica, streams of events among them; above what `serve.api.gate` refuses by itself, with a reason. Uploads
    that cross together count as one, behind HAProxy none: `serve.crossing` and the gate bound them."""
    max_queued_requests: Annotated[int, Field(ge=1)] = 4096
    """Before Ray Serve itself answers 503, without a Retry-After; its default is to queue without end."""
    control_nodes_only: bool = False
    """Keep replicas and the dispatcher off the nodes that encode (label role=control of ray-cluster.yaml)."""


def build(args: AppArgs) -> Application:
    """The application; settings and recipes that cannot work are found here, before any replica starts."""
    load(ServeSettings)
    FarmSettings.load()
    known_recipes()
    if ray.is_initialized():  # `serve deploy` builds on the cluster
        require_token(ray.get_runtime_context().gcs_address)
    # Nodes that encode may be bought on the spot market, and are gone within two minutes.
    labels = {"role": "control"} if args.control_nodes_only else {}
    return GatewayDeployment.options(
        num_replicas=args.replicas,
        max_ongoing_requests=args.max_ongoing_requests,
        max_queued_requests=args.max_queued_requests,
        ray_actor_options={"num_cpus": args.replica_cpus, "label_selector": labels},
        health_check_period_s=10,
        graceful_shutdown_timeout_s=10,
        # Calls are counted, timed and traced by the API itself; a line for each was a twentieth of an accepted one.
        logging_config=LoggingConfig(enable_access_log=False),
    ).bind(labels)


def start_api(settings: ServeSettings) -> None:
    """Serve the API on the Ray that this process is connected to, at the settings' host and port."""
    # The terminal is for what the farm has to say; Ray's log files have the rest.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    ray_serve.start(
        proxy_location=ProxyLocation.HeadOnly, http_options=HTTPOptions(host=settings.host, port=settings.port)
    )
    ray_serve.run(build(AppArgs(replicas=1, replica_cpus=0)), name=APP)

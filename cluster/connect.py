"""Joining the running cluster from one of its nodes, for a command or a sidecar that owns nothing there."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from cluster.errors import ClusterUnreachable
from cluster.farm_settings import ray_address, require_token


@contextmanager
def connected() -> Iterator[None]:
    """Inside, this process is one of the cluster's; SettingsInvalid where Ray is open, ClusterUnreachable."""
    address = ray_address()
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        said = " ".join(str(error).split())
        raise ClusterUnreachable(f"no Ray is reached from this machine (RAY_ADDRESS, {address}): {said}") from error
    try:
        require_token(ray.get_runtime_context().gcs_address)
        yield
    finally:
        ray.shutdown()

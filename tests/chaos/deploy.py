"""Puts the API onto the Ray of `address`, as `serve deploy serve-config.yaml` does: python -m tests.chaos.deploy."""

import sys

import ray
from ray import serve as ray_serve
from ray.serve.config import HTTPOptions, ProxyLocation

from serve.app import AppArgs, build
from serve.ingress import APP


def main(address: str, port: int) -> None:
    """Two replicas on the control node, listening on loopback."""
    ray.init(address, namespace="farm", log_to_driver=False)
    ray_serve.start(proxy_location=ProxyLocation.HeadOnly, http_options=HTTPOptions(host="127.0.0.1", port=port))
    ray_serve.run(build(AppArgs(replicas=2, replica_cpus=0.2, control_nodes_only=True)), name=APP)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""HAProxy of one's own beside others on this machine: the ports that Serve gives it, and what Serve leaves of it."""

from contextlib import suppress

import psutil

from serve.embedded import free_port


def own_ports() -> dict[str, str]:
    """Variables for Serve with free ports, in the place of 9101 and 8404."""
    names = ("RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_HAPROXY_STATS_PORT")
    return {name: str(free_port()) for name in names}


def haproxies(ports: dict[str, str]) -> list[psutil.Process]:
    """Those that were started with these `own_ports`, whoever their parent is: Serve leaves the one it started last."""
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error):
            if one.name() == "haproxy" and ports.items() <= one.environ().items():
                found.append(one)
    return found

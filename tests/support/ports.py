"""Free ports on loopback."""

from serve.embedded import free_port


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listens on at this moment."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)

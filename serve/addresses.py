"""Which names and addresses are this machine, and which are the public internet."""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_address(text: str) -> Address | None:
    """The IP address that `text` writes out (IPv4-mapped IPv6 as IPv4), None for a name."""
    try:
        address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if isinstance(mapped, ipaddress.IPv4Address) else address


def is_loopback_name(host: str) -> bool:
    """Whether `host` (a name or an address, without port) is this machine and nothing else."""
    address = parse_address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback

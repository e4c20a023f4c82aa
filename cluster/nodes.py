"""The nodes of the cluster as the dispatcher sees them: what each has room for."""

from dataclasses import dataclass, field

# A node's room for steps, declared when it starts. Not Ray's CPU: Serve replicas hold pieces of that, and on a small
# machine no whole one would be left.
LANE = "cpu_lane"
SCRATCH_GB = "scratch_gb"  # of the working disk, whole gigabytes (10^9 bytes)
GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Node:
    """One node that steps may run on; `memory_bytes` and `scratch_bytes` are what all its steps together may use."""

    id: str  # Ray's, hexadecimal
    address: str
    lanes: int
    memory_bytes: int
    scratch_bytes: int
    labels: dict[str, str] = field(default_factory=dict)
    is_draining: bool = False  # gets nothing new; what runs there ends by itself

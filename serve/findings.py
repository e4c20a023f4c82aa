"""What `farm doctor` says: one answer for each thing that it tried."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer; `needed` says that the farm cannot work without it."""

    name: str
    ok: bool
    reason: str
    needed: bool = True

    def to_wire(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, "ok": self.ok, "reason": self.reason, "needed": self.needed}

"""What every piece of a recipe has in common."""

from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A frozen piece of a recipe that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def unique(field: str, names: Iterable[str]) -> None:
    """Raise ValueError when a name stands twice in `field`."""
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"{field}: the name {name} stands there {count} times")

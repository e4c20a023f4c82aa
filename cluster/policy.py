"""Who gets how much of the farm: weights of the classes, shares and limits of the orgs. Changed while it runs.

    interactive   somebody waits for it
    normal        an upload
    bulk          whatever can wait

A class or org that has nothing to do leaves its share to the others.
"""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

ORG_NAMES = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$"


def _a_number(value: object) -> object:
    """Pydantic takes `true` and "1" for numbers, JSON does not."""
    if isinstance(value, bool | str):
        raise ValueError("must be a number")
    return value


Weight = Annotated[float, Field(gt=0, le=1_000_000), BeforeValidator(_a_number)]
Count = Annotated[int, Field(ge=0, le=10**18), BeforeValidator(_a_number)]

# Classes of work; of two that are owed the same the lower number is served first.
PRIORITIES = {"interactive": 0, "normal": 1, "bulk": 2}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Classes(_Strict):
    """Of the lanes that are busy, each class that waits gets its weight's share of the time."""

    # Uploads hardly feel a batch, and a batch that competes with nothing but uploads still gets a tenth of the farm:
    # with strict classes one busy week would keep a catalogue waiting for ever.
    interactive: Weight = 100.0
    normal: Weight = 10.0
    bulk: Weight = 1.0


class OrgPolicy(_Strict):
    """One org's share within each class, and its limits; None is no limit."""

    weight: Weight = 1.0
    running_steps: Count | None = None
    """Steps (chunks, mostly) that run at once."""
    queued_jobs: Count | None = None
    """Jobs that have not ended; one more is refused until some have."""
    bytes_a_day: Count | None = None
    """Bytes of the sources of the last 24 hours' jobs; a source that would exceed it is refused until they age."""


class Policy(_Strict):
    """The whole policy; `version` grows with every change."""

    version: Count = 0
    classes: Classes = Classes()
    every_org: OrgPolicy = OrgPolicy()
    """What holds for an org that `orgs` does not name."""
    orgs: dict[Annotated[str, Field(pattern=ORG_NAMES)], OrgPolicy] = Field(
        default_factory=dict,
        max_length=10_000,
        # Said outright, because the pattern alone would allow any other name.
        json_schema_extra={"additionalProperties": False},
    )

    def of(self, org: str) -> OrgPolicy:
        """What holds for `org`."""
        return self.orgs.get(org, self.every_org)

    def weight_of(self, priority: str) -> float:
        """The weight of a class."""
        return float(getattr(self.classes, priority))

"""How many objects a prefix names, counted beside the work, a piece at a time: so that an end can be foretold."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cluster.batches.listing import Listed, Passed, is_manifest, objects, parse_prefix
from cluster.jobs import Batch
from cluster.settings import StorageSettings

MOST_COUNTED = 100_000  # beyond, who asks is told no end


@dataclass(slots=True)
class Count:
    """One count, from where the batch was read on; whoever takes the batch over begins a shorter one."""

    uri: str
    settings: StorageSettings
    after: str
    found: int
    most: int
    is_over: bool
    _reading: Iterator[Listed | Passed] | None = None

    @classmethod
    def of(cls, batch: Batch, settings: StorageSettings) -> "Count":
        """Of everything that `batch` is of; over at once where that is known, or told by a manifest."""
        found, most = int(batch.cursor.get("line", 0)), MOST_COUNTED
        most = most if batch.max_items is None else min(most, batch.max_items)
        is_over = batch.total is not None or is_manifest(batch.source_uri) or found > MOST_COUNTED
        return cls(batch.source_uri, settings, str(batch.cursor.get("after", "")), found, most, is_over)

    def go_on(self, until: float, tell: Callable[[], None]) -> int | None:
        """Count on to the monotonic time `until`, by an object at least; the count, once that is over and not too high.

        `tell` is called at each object. Raises what says that the prefix cannot be read; the next call goes on there.
        """
        if self._reading is None:
            self._reading = objects(parse_prefix(self.uri), self.after, self.settings)
        try:
            for one in self._reading:
                tell()
                self.after = one.after
                self.found += isinstance(one, Listed)
                if self.found > self.most:
                    self.is_over = True
                    return self.most if self.most < MOST_COUNTED else None
                if time.monotonic() >= until:
                    return None
        except BaseException:
            self._reading = None  # a generator that has raised is at its end
            raise
        self.is_over = True
        return self.found

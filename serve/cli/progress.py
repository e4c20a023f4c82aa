"""Progress for a person: one bar per rendition on a terminal, plain lines in a log, nothing beside JSON."""

import sys
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_STEP_PERCENT = 10  # a log gets a line per tenth


class Display(Protocol):
    """Shows the snapshots of one job's progress."""

    def update(self, snapshot: dict[str, Any]) -> None:
        """Show `snapshot`, see cluster.progress."""
        ...

    def say(self, line: str) -> None:
        """Show a line beside the progress."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display(as_json: bool) -> Display:
    """The display that suits stderr, where progress goes so that stdout holds results alone."""
    if as_json:
        return Silent()
    return Bars() if sys.stderr.isatty() else Lines()


class Counter(Protocol):
    """Shows how many of a known number are done."""

    def advance(self) -> None:
        """One more is done."""
        ...

    def say(self, line: str) -> None:
        """Show a line beside the progress."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def counting(as_json: bool, total: int) -> Counter:
    """The counter of pictures that suits stderr."""
    if as_json:
        return Silent()
    return CountBar(total) if sys.stderr.isatty() else CountLines(total)


class Silent:
    """Shows nothing."""

    def update(self, snapshot: dict[str, Any]) -> None:
        """Nothing."""

    def advance(self) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class Lines(Silent):
    """A line whenever the stage changes, and for every tenth of the encoding."""

    def __init__(self) -> None:
        self._stage = ""
        self._step = 0

    def update(self, snapshot: dict[str, Any]) -> None:
        """Print what is new."""
        stage, percent = str(snapshot["stage"]), float(snapshot["percent"])
        step = int(percent) // PLAIN_STEP_PERCENT
        if stage != self._stage:
            self._stage, self._step = stage, 0
            print(stage, file=sys.stderr, flush=True)
        elif stage == "encoding" and step > self._step:
            self._step = step
            print(f"encoding {percent:.0f} %", file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """Print it."""
        print(line, file=sys.stderr, flush=True)


class Bars:
    """A bar per rendition, and a line that says what is going on."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description:>12}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,  # what follows is the result, or the one line that says why there is none
        )
        self._stage = self._progress.add_task("inspecting", total=None)
        self._bars: dict[str, TaskID] = {}

    def update(self, snapshot: dict[str, Any]) -> None:
        """Move the bars."""
        self._progress.update(self._stage, description=str(snapshot["stage"]))
        for name, rendition in snapshot["renditions"].items():
            if name not in self._bars:
                self._bars[name] = self._progress.add_task(name, total=rendition["frames"])
            self._progress.update(self._bars[name], completed=rendition["frames_done"])
        if snapshot["stage"] == "done":
            self._progress.update(self._stage, total=1, completed=1)

    def say(self, line: str) -> None:
        """Print it above the bars."""
        self._progress.console.print(line, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


class CountLines(Silent):
    """A line for every tenth."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0

    def advance(self) -> None:
        """Print what is new."""
        before = 10 * self._done // self._total
        self._done += 1
        if 10 * self._done // self._total > before:
            print(f"{self._done} of {self._total} pictures", file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """Print it."""
        print(line, file=sys.stderr, flush=True)


class CountBar:
    """One bar, with the number done and the time that is left."""

    def __init__(self, total: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description:>12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar = self._progress.add_task("pictures", total=total)

    def advance(self) -> None:
        """Move the bar."""
        self._progress.advance(self._bar)

    def say(self, line: str) -> None:
        """Print it above the bar."""
        self._progress.console.print(line, markup=False, emoji=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

"""One picture of a batch on its way: told of once, whatever becomes of it."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.errors import InfraError, WorkerLost
from cluster.farm_settings import FarmSettings
from cluster.images.process import ImageProcess
from cluster.images.turn import Publishing, checked, request_of, turn_alone
from cluster.media_process import Answer, Cancelled, Watch
from cluster.monitoring.logs import about_step
from cluster.scratch import typed_disk_errors
from cluster.tools import Tools
from cluster.work import Work
from pipelines.errors import MediaError, NeedsMemory
from pipelines.images.request import ImageRequest, ImageResult

Tell = Callable[[str, dict[str, Any]], None]
"""Told once for each picture: its job's id and {"result": …}, {"media_error": …}, {"infra_error": …}, {"bug": …}, or
{"needs_bytes": …} of one that was not begun, because its `memory_bytes` do not suffice."""


@dataclass(slots=True)
class Picture:
    """A picture, and who wants to know of it."""

    work: Work
    settings: FarmSettings
    tell: Tell
    watch: Watch = field(default_factory=Watch)
    not_by_dali: str = ""  # why, where DALI could have turned it
    _held: ExitStack = field(default_factory=ExitStack)  # its working folder

    def fetched(self, folder: Path) -> ImageRequest | None:
        """What is to be made of it in `folder`, its source being here; None when that failed, which was told then."""

        def fetch() -> ImageRequest:
            folder.mkdir()
            return request_of(self.work, folder, self._tools(), self.watch)

        request, failure = self._attempt(fetch)
        if request is None:
            self._told(failure)
        return request

    def turn(self, process: ImageProcess, folder: Path, *, fresh: bool) -> Callable[[], None]:
        """Turn it by `process`; what is left to do is publishing and telling, which use no CPU.

        Its own working folder will be `folder`, which is there no longer than it is needed.
        """

        def media() -> Publishing:
            self.watch.check()
            self._held.callback(shutil.rmtree, folder, ignore_errors=True)
            folder.mkdir()
            tools = self._tools()
            asked = request_of(self.work, folder, tools, self.watch)
            answer = turn_alone(asked, tools, process, self.watch, fresh=fresh)
            return checked(answer, self.work, folder, tools, self.watch, self.not_by_dali)

        publish, failure = self._attempt(media)
        return lambda: self._told(failure) if publish is None else self._publish(publish)

    def made(self, answer: Answer[ImageResult], folder: Path) -> None:
        """Publish what was made of it in `folder`, and tell."""
        self._publish(lambda: checked(answer, self.work, folder, self._tools(), self.watch)())

    def failed(self, error: MediaError | InfraError | Cancelled) -> None:
        """Tell that nothing was made of it."""

        def fail() -> None:
            raise error

        self._told(self._attempt(fail)[1])

    def _publish(self, publish: Publishing) -> None:
        published, failure = self._attempt(publish)
        self._told(failure if published is None else {"result": published})

    def _told(self, outcome: dict[str, Any]) -> None:
        self._held.close()
        self.tell(self.work.job_id, outcome)

    def _tools(self) -> Tools:
        return Tools.open(self.work, self.settings)

    def _needed(self, error: NeedsMemory) -> int:
        """What a process says that it needs, which can get no more than its limit."""
        said, most = error.detail.get("memory_bytes"), self.settings.work.image_memory_bytes
        return min(said, most) if type(said) is int and said > 0 else most

    def _attempt[T](self, do: Callable[[], T]) -> tuple[T | None, dict[str, Any]]:
        """What `do` returns, or why it failed: a bug that one picture brings to light is not the others' either."""
        try:
            with about_step(self.work, "image"), typed_disk_errors(self.settings.work.scratch_dir):
                return do(), {}
        except MediaError as error:
            if isinstance(error, NeedsMemory) and self.work.memory_bytes is not None:
                return None, {"needs_bytes": self._needed(error)}
            return None, {"media_error": error.to_wire()}
        except InfraError as error:
            return None, {"infra_error": error.to_wire()}
        except Cancelled:
            return None, {"infra_error": WorkerLost("the picture's job was cancelled").to_wire()}
        except Exception as error:  # noqa: BLE001 - handed to whoever drives the job, who raises it
            return None, {"bug": error}

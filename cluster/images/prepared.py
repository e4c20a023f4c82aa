"""A media process that is kept for many requests: a line in, lines out, and killed whole when it does not answer."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from cluster.media_answers import Lines, message_of, tail_of
from cluster.media_process import POLL_S, variables
from pipelines.errors import MediaProcessFailed

Check = Callable[[], None]
"""Called while nothing comes; what it raises ends the waiting."""

MAX_SAID_BYTES = 1 << 62  # over its life; whoever does not trust it to be brief says `listen`
REAPED_S = 1.0  # from the end of what it says until the kernel says how it ended


class Prepared:
    """One running process of `python -m pipelines COMMAND`, in a session of its own."""

    def __init__(self, command: str, starter: Executor, environment: dict[str, str]) -> None:
        """`starter` has one thread, which lives as long as this object: the kernel ends a process with that thread."""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = starter.submit(self._spawn, command, environment).result()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        self._waiting: list[bytes] = []
        self.listen(MAX_SAID_BYTES)

    def _spawn(self, command: str, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-s", "-m", "pipelines", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            env=variables() | environment,
            start_new_session=True,
        )

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        return self._process.pid

    def listen(self, most_bytes: int) -> None:
        """From here on it may say so much, or it is not listened to any more."""
        self._lines = Lines(self._stdout.fileno(), most_bytes)

    def ask(self, envelope: dict[str, Any], deadline: float, check: Check) -> None:
        """Say one line. TimeoutError when it does not read it until `deadline`."""
        data = memoryview(json.dumps(envelope, separators=(",", ":")).encode() + b"\n")
        while data:
            try:
                data = data[os.write(self._stdin.fileno(), data) :]
            except BlockingIOError:
                self._wait(self._stdin.fileno(), select.POLLOUT, deadline, check)
            except BrokenPipeError:
                raise self.ended() from None

    def message(self, deadline: float, check: Check) -> tuple[str, dict[str, Any]]:
        """The next line that it says. TimeoutError when there is none until `deadline`; MediaError when it is none."""
        while not self._waiting:
            self._wait(self._stdout.fileno(), select.POLLIN, deadline, check)
            read = self._lines.read()
            if read is None:
                raise self.ended()
            self._waiting += read
        return message_of(self._waiting.pop(0))

    def ended(self) -> MediaProcessFailed:
        """The error of a process that is not there any more."""
        how = "by itself"
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(REAPED_S)
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"by itself, with exit code {code}"
        return MediaProcessFailed(f"the media process for pictures ended {how}", detail={"native": self.native()})

    def native(self) -> str:
        """What it last wrote to stderr."""
        return tail_of(self._stderr)

    def forget_native(self) -> None:
        """What is read of stderr later is of the next picture."""
        self._stderr.seek(0)
        self._stderr.truncate()

    def close(self) -> None:
        """End it and whatever it started."""
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._stderr.close()

    @staticmethod
    def _wait(fd: int, event: int, deadline: float, check: Check) -> None:
        poll = select.poll()
        poll.register(fd, event)
        while True:
            check()
            if time.monotonic() > deadline:
                raise TimeoutError
            if poll.poll(1000 * POLL_S):
                return

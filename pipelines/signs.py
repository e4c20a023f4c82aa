"""Signs of life of a media process that works for minutes without a result."""

import time
from collections.abc import Callable
from typing import Any

REPORT_S = 0.5


def now_and_then(report: Callable[[dict[str, Any]], None], sign: dict[str, Any]) -> Callable[[], None]:
    """What may be called as often as one likes, and reports `sign` at most every `REPORT_S`."""
    told = 0.0

    def alive() -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= REPORT_S:
            told = now
            report(sign)

    return alive

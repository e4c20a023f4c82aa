"""What a media process answers for one piece of work: its result, or the error that says why there is none."""

import errno
from collections.abc import Callable
from typing import Any

from pipelines.confine import ProcessLimits
from pipelines.errors import CorruptMedia, LimitExceeded, MediaError, ScratchFull
from pipelines.wire import to_wire


def answer(work: Callable[[], Any], limits: ProcessLimits) -> tuple[str, Any]:
    """("result", …) or ("error", …) as plain values; whatever is a bug or a broken disk is raised."""
    try:
        return "result", to_wire(work())
    except MediaError as error:
        return "error", error.to_wire()
    except MemoryError:
        limit_mb = limits.memory_bytes // 1_000_000
        return "error", LimitExceeded(f"the media needs more than the {limit_mb} MB a media process may use").to_wire()
    except UnicodeDecodeError as error:
        return "error", CorruptMedia(
            "the media carries text that is not valid", detail={"native": str(error)}
        ).to_wire()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return "error", ScratchFull("no space is left on the working disk: free some or set FARM_SCRATCH_DIR").to_wire()

"""Working folders on the local disk that do not outlive the process that made them."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import SettingsInvalid
from pipelines.errors import ScratchFull

# farm-{pid}-{start time of that process}-{random}: a pid alone may belong to somebody else by now
_NAME = re.compile(r"farm-(\d+)-(\d+)-")


@contextmanager
def workdir(root: Path) -> Iterator[Path]:
    """A fresh folder under `root`, removed at the end whatever happens; SettingsInvalid when there can be none."""
    root = root.absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=f"farm-{os.getpid()}-{_started(os.getpid())}-", dir=root))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ScratchFull(f"no room left in {root} (FARM_SCRATCH_DIR)") from error
        raise SettingsInvalid(f"FARM_SCRATCH_DIR: no folder can be made in {root}: {error.strerror}") from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def sweep_dead(root: Path) -> int:
    """Remove the folders of processes that were killed; the number removed."""
    removed = 0
    for path in root.glob("farm-*-*-*"):
        match = _NAME.match(path.name)
        if match and _started(int(match[1])) != int(match[2]):
            shutil.rmtree(path, ignore_errors=True)
            removed += 1
    return removed


def _started(pid: int) -> int:
    """When process `pid` started, in clock ticks since boot; 0 when there is none."""
    try:
        # Field 22 of stat(5); the second field may hold spaces and brackets, so count from the last bracket.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return 0

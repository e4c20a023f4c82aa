"""What pictures are measured against: sharp and stock Pillow, fetched when first needed, run as processes of their own.

Both are locked by hash; neither is installed where this project's own packages are.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
TOOLS = HERE.parent / ".tools"
FETCH_S = 600
# Ours asks malloc to keep freed memory. Without the same, stock Pillow pays for 30,000 page faults in each photo of 12
# megapixels (580 ms of CPU instead of 520), and sharp for 5 % more CPU time.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


class NoRival(Exception):
    """It cannot be run here; the text says why."""


class Rival:
    """A process that is handed runs, one at a time, and answers each with the seconds that it took."""

    def __init__(self, command: Sequence[str], **environment: str) -> None:
        self._name = command[0]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=kept | KEEP_MEMORY | environment
        )
        self.versions: dict[str, str] = self._heard()["versions"]

    def run(self, asked: dict[str, Any]) -> dict[str, float]:
        """{"wall_s", "cpu_s"}"""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self._heard()

    def _heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise NoRival(f"{self._name} ended with {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def sharp(cores: int) -> Rival:
    """sharp, with threads for as many pictures as will be in flight at most: two for each core."""
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            raise NoRival(f"{name} is not installed: sharp comes from there (Debian packages nodejs, npm)")
    locked = HERE / "sharp" / "package-lock.json"
    folder = TOOLS / "sharp"

    def fetch() -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / "sharp" / name, folder / name)
        _done(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)

    _once(folder, locked, fetch)
    modules = {"NODE_PATH": str(folder / "node_modules")}
    return Rival(["node", str(HERE / "sharp" / "cascade.js")], UV_THREADPOOL_SIZE=str(2 * cores), **modules)


def stock_pillow() -> Rival:
    """Pillow as it comes from the index, in a virtual environment of its own."""
    locked = HERE / "pillow-requirements.txt"
    folder = TOOLS / "stock-pillow"
    python = str(folder / "bin" / "python")

    options = ["-q", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(locked)]

    def fetch() -> None:
        uv = shutil.which("uv") or shutil.which("uv", path=TOOLS / "bin")
        if uv is not None:
            with contextlib.suppress(NoRival):  # pip may know a mirror or certificates that uv does not
                _done([uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)], HERE)
                # This project's own settings for uv say that nothing may install Pillow.
                _done([uv, "pip", "install", "--no-config", "--python", python, *options], HERE)
                return
        _done([sys.executable, "-m", "venv", "--clear", str(folder)], HERE)
        _done([python, "-m", "pip", "install", *options], HERE)

    _once(folder, locked, fetch)
    return Rival([python, "-I", str(HERE / "stock_pillow.py")])


def _once(folder: Path, locked: Path, fetch: Callable[[], None]) -> None:
    """Fetch what `locked` names, unless the folder has it already."""
    stamp = folder / "installed.txt"
    if stamp.is_file() and stamp.read_bytes() == locked.read_bytes():
        return
    folder.mkdir(parents=True, exist_ok=True)
    fetch()
    stamp.write_bytes(locked.read_bytes())


def _done(command: Sequence[str], folder: Path) -> None:
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoRival(f"{command[0]}: {error}") from error
    if ended.returncode:
        raise NoRival(f"{' '.join(command[:3])}: {ended.stderr.strip()[-300:] or 'failed'}")

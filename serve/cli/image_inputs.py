"""Which pictures `farm resize` was given, and what each is called below the output."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.signatures import HEAD_BYTES, is_picture
from serve.cli.media_commands import must_be_a_file
from serve.errors import UsageError


def files_of(inputs: Sequence[Path], out: Path | None) -> dict[str, Path]:
    """The name of each picture below the output, and where it lies; folders are gone through, hidden ones left out.

    `out` is the output's folder, None when it is elsewhere. UsageError when what is made would mix with what is given.
    """
    real_out = None if out is None else out.resolve()
    files: dict[str, Path] = {}
    for given in inputs:
        if not given.is_dir():
            must_be_a_file(given)
        for name, path in _below(given, real_out) if given.is_dir() else [(given.name, given)]:
            if name in files and not path.samefile(files[name]):
                raise UsageError(f"{files[name]} and {path} would both become {name}; give the folder above")
            files.setdefault(name, path)
    if not files:
        raise UsageError("there is no picture in what was given")
    if real_out is not None:
        _refuse_among_sources(files, [given.resolve() for given in inputs if given.is_dir()], real_out)
    return files


def _below(folder: Path, out: Path | None) -> Iterator[tuple[str, Path]]:
    # An output inside the input holds what earlier runs made; one around it holds the input itself.
    apart = None if out is None or folder.resolve().is_relative_to(out) else out
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != "." and not _leads_into(apart, Path(here, name)))
        for name in sorted(names):
            path = Path(here, name)
            if name[0] != "." and _looks_like_a_picture(path) and not _leads_into(apart, path):
                yield path.relative_to(folder).as_posix(), path


def _leads_into(out: Path | None, path: Path) -> bool:
    return out is not None and Path(os.path.realpath(path)).is_relative_to(out)


def _looks_like_a_picture(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return is_picture(file.read(HEAD_BYTES))
    except OSError:
        return True  # said properly when it is turned


def _refuse_among_sources(files: dict[str, Path], folders: list[Path], out: Path) -> None:
    """Where an output would take a source's place, or be a source of the next run."""
    sources = {path.resolve() for path in files.values()} | {
        path.parent.resolve() / path.name for path in files.values()
    }
    # One that lies around the output is fine: the output is left out when it is gone through.
    folders = [folder for folder in folders if folder == out or not out.is_relative_to(folder)]
    for name, path in files.items():
        place = out / name
        if place in sources or any(place.is_relative_to(folder) for folder in folders):
            raise UsageError(
                f"what is made of {path} would lie among the pictures given, as {place}; "
                f"choose a folder of its own, such as --out {out / 'resized'}"
            )

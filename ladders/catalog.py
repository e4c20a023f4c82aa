"""The recipes that can be asked for: the packaged ones and those of a folder by name, any other by its file."""

import difflib
from functools import cache
from importlib.resources import files
from pathlib import Path

from ladders.errors import InvalidRecipe, LadderError, UnknownRecipe
from ladders.model import Recipe
from ladders.reading import MAX_BYTES, read_recipe

__all__ = [
    "LadderError",
    "Recipes",
    "load_file",
    "load_preset",
    "names",
]

_SUFFIXES = (".yaml", ".yml")


@cache
def names() -> tuple[str, ...]:
    """The packaged recipes, by name."""
    found = (entry.name for entry in (files("ladders") / "presets").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))


@cache
def load_preset(name: str) -> Recipe:
    """The packaged recipe `name`, never a file, so that a caller from the network may choose. Raises UnknownRecipe."""
    if name not in names():
        raise _unknown(name, names())
    return _named(read_recipe((files("ladders") / "presets" / f"{name}.yaml").read_bytes(), name), name)


class Recipes:
    """What one farm offers: the packaged recipes, and those of a folder, which stand in where names are equal."""

    def __init__(self, folder: Path | None = None) -> None:
        """Every recipe is read and checked now. Raises InvalidRecipe, UnknownRecipe when there is no such folder."""
        found = {name: load_preset(name) for name in names()}
        if folder is not None:
            if not folder.is_dir():
                raise UnknownRecipe(f"there is no folder {folder} with recipes")
            own = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
            found |= {path.stem: _named(load_file(path), path.stem) for path in own}
        self._recipes = dict(sorted(found.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """All that can be asked for by name."""
        return tuple(self._recipes)

    def get(self, name: str) -> Recipe:
        """The recipe of that name, never a file, so that a caller from the network may choose. Raises UnknownRecipe."""
        if name not in self._recipes:
            raise _unknown(name, self.names)
        return self._recipes[name]

    def find(self, name_or_path: str) -> Recipe:
        """A recipe by its name, or any by the path of its file (with a slash, or ending in .yaml or .yml)."""
        if "/" in name_or_path or name_or_path.endswith(_SUFFIXES):
            return load_file(Path(name_or_path))
        try:
            return self.get(name_or_path)
        except UnknownRecipe as error:
            raise UnknownRecipe(f"{error.public_message}, or the path of a .yaml file", detail=error.detail) from None


def load_file(path: Path) -> Recipe:
    """The recipe in the YAML file at `path`. Raises UnknownRecipe when there is none, InvalidRecipe."""
    try:
        if not path.is_file():
            raise UnknownRecipe(f"there is no recipe file {path}")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnknownRecipe(f"the recipe file {path} cannot be read: {error.strerror}") from None
    return read_recipe(data, str(path))


def _unknown(name: str, known: tuple[str, ...]) -> UnknownRecipe:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return UnknownRecipe(
        f"there is no recipe {name[:80]!r}; {hint}known: {', '.join(known)}", detail={"known": list(known)}
    )


def _named(recipe: Recipe, name: str) -> Recipe:
    if recipe.name != name:
        raise InvalidRecipe(f"{name}: the file says name: {recipe.name}; both must be the same")
    return recipe

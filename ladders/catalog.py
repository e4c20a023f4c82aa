"""The recipes that can be asked for: the packaged ones by name, a user's own by its file."""

import difflib
from functools import cache
from importlib.resources import files
from pathlib import Path

from ladders.errors import InvalidRecipe, LadderError, UnknownRecipe
from ladders.model import Recipe
from ladders.reading import MAX_BYTES, read_recipe

__all__ = [
    "InvalidRecipe",
    "LadderError",
    "UnknownRecipe",
    "load_file",
    "load_preset",
    "load_recipe",
    "names",
    "validate_all",
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
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UnknownRecipe(
            f"there is no recipe {name[:80]!r}; {hint}known: {', '.join(names())}", detail={"known": list(names())}
        )
    recipe = read_recipe((files("ladders") / "presets" / f"{name}.yaml").read_bytes(), name)
    if recipe.name != name:
        raise InvalidRecipe(f"{name}: the file says name: {recipe.name}; both must be the same")
    return recipe


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


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A packaged recipe by its name, or a user's by the path of its file (with a slash, or ending in .yaml or .yml)."""
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or text.endswith(_SUFFIXES):
        return load_file(Path(name_or_path))
    try:
        return load_preset(text)
    except UnknownRecipe as error:
        raise UnknownRecipe(f"{error.public_message}, or the path of a .yaml file", detail=error.detail) from None


def validate_all() -> tuple[Recipe, ...]:
    """Every packaged recipe, read and checked. Raises InvalidRecipe."""
    return tuple(load_preset(name) for name in names())

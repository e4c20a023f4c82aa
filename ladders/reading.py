"""YAML text to a recipe, and what is wrong with it in words that say where, why and what to do.

A recipe may come from anybody's disk, so the reader takes less than YAML offers: no aliases (they multiply), no
duplicate keys (the last would win silently), no tags, and sizes and depths that a list of rungs never needs.
"""

import difflib
import json
import typing
from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ladders.errors import InvalidRecipe
from ladders.model import Recipe
from ladders.part import Part

MAX_BYTES = 64 * 1024
"""Sixteen times the longest packaged recipe."""
SHOWN_PROBLEMS = 5
SHOWN_CHARS = 60
"""Of a key that somebody else wrote."""

_COLOUR = 'should be # and six of 0-9 and a-f, in quotes, such as "#ffffff"; without quotes YAML skips it as a comment'
_NOT_SETTINGS = ("dict_type", "model_type", "model_attributes_type")


class _StrictLoader(yaml.SafeLoader):
    """Plain mappings, lists, strings, numbers and booleans."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not allowed; write it out", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be one word", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{_short(key.value)} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_recipe(data: bytes, where: str) -> Recipe:
    """The recipe that the YAML `data` describes; `where` names it in errors. Raises InvalidRecipe."""
    if len(data) > MAX_BYTES:
        raise _invalid(where, [f"more than {MAX_BYTES // 1024} KiB; a recipe is a short list"])
    try:
        values = yaml.load(data.decode("utf-8-sig"), _StrictLoader)  # noqa: S506 (a SafeLoader that takes less)
        # By way of JSON, where `crf: yes` is a boolean and `name: 720` a number, and neither is taken for the other.
        return Recipe.model_validate_json(json.dumps(values, default=str), strict=True)
    except UnicodeDecodeError:
        raise _invalid(where, ["not UTF-8 text"]) from None
    except yaml.YAMLError as error:
        raise _invalid(where, [_syntax(error)]) from None
    except (RecursionError, ValueError) as error:
        if isinstance(error, ValidationError):
            raise _invalid(where, _problems(error)) from None
        raise _invalid(where, ["not a list of settings that YAML can hold"]) from None


def _invalid(where: str, problems: Sequence[str]) -> InvalidRecipe:
    shown = "; ".join(problems[:SHOWN_PROBLEMS])
    more = f"; and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
    message = f"{where}: {shown}{more} (change it and run `farm recipes check {where}`)"
    return InvalidRecipe(message, detail={"recipe": where, "problems": list(problems)})


def _syntax(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return "not YAML: " + str(error).splitlines()[0]


def _problems(error: ValidationError) -> list[str]:
    found = error.errors(include_url=False, include_input=False)
    # A list whose only entry is wrong is also reported as empty.
    return [
        _problem(one)
        for one in found
        if one["type"] != "too_short"
        or not any(other["loc"][: len(one["loc"])] == one["loc"] for other in found if other is not one)
    ]


def _problem(one: ErrorDetails) -> str:
    *parents, last = one["loc"] or ("",)
    path, parts = _walk(parents)
    message = one["msg"].removeprefix("Value error, ").replace("Input should", "should")
    message = message.replace("a valid array", "a list")  # as YAML calls it
    if one["type"] == "extra_forbidden":
        allowed = sorted({name for part in parts for name in part.model_fields})
        near = difflib.get_close_matches(str(last), allowed, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{_dotted([*path, _short(last)])}: unknown key; {hint}allowed: {', '.join(allowed)}"
    where = _dotted([*path, last] if last not in _tags(parts) else path)
    if one["type"] == "missing":
        return f"{where}: missing"
    if one["type"] == "union_tag_not_found":
        return f"{where}.name: missing"
    if one["type"] == "union_tag_invalid":
        return f"{where}.name: should be one of {one['ctx']['expected_tags']}"
    if one["type"] in _NOT_SETTINGS and where:
        return f"{where}: should hold settings of its own, such as {_example(one['loc'])}"
    if last == "background" and one["type"] in ("string_type", "string_pattern_mismatch"):
        return f"{where}: {_COLOUR}"
    if last == "name" and one["type"] == "string_pattern_mismatch":
        longest = 32 if parents else 64
        return f"{where}: should be of a-z, 0-9, - and _, begun by a letter or digit, and at most {longest} long"
    return f"{where}: {message}" if where else message


def _example(loc: Sequence[int | str]) -> str:
    """The least that can stand at `loc`, which holds a class: `{name: webp}`, `{variants: …}`."""
    part, *others = _walk(loc)[1]
    if others:
        return f"{{name: {part.model_fields['name'].default}}}"
    fields = part.model_fields
    needed = [name for name, field in fields.items() if field.is_required()]
    return "{" + ", ".join(f"{name}: …" for name in needed or fields) + "}"


def _walk(steps: Sequence[int | str]) -> tuple[list[int | str], list[type[Part]]]:
    """The path as it stands in the file, and the classes that its end can be; pydantic's also names union members."""
    path: list[int | str] = []
    parts: list[type[Part]] = [Recipe]
    for step in steps:
        if step in _tags(parts):
            parts = [part for part in parts if part.model_fields["name"].default == step]
            continue
        path.append(step)
        if isinstance(step, str):
            fields = [part.model_fields[step] for part in parts if step in part.model_fields]
            parts = [found for field in fields for found in _classes(field.annotation)]
    return path, parts


def _tags(parts: Sequence[type[Part]]) -> set[Any]:
    """The names that tell the members of a union apart; empty for a single class."""
    return {part.model_fields["name"].default for part in parts} if len(parts) > 1 else set()


def _classes(annotation: Any) -> Iterator[type[Part]]:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _classes(inner)


def _dotted(path: Sequence[int | str]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _short(key: object) -> str:
    text = str(key)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"

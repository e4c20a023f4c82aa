"""Dataclasses to plain JSON values and back, for what crosses a pipe or lies in storage.

The standard library only: a media process is started once per chunk, and importing pydantic there costs more CPU
than opening the file.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from typing import Any, TypeVar, cast

T = TypeVar("T")

PLAIN: dict[Any, tuple[type, ...]] = {int: (int,), float: (float, int), str: (str,), bool: (bool,)}
ATOMS = frozenset({str, int, float, bool, type(None)})


def to_wire(value: Any) -> Any:
    """`value` with dataclasses as dicts, tuples as lists and fractions as "num/den" strings."""
    if type(value) in ATOMS:  # most of what there is
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_wire(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, Mapping):
        return {key: to_wire(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_wire(item) for item in value]
    return value


def from_wire[T](cls: type[T], value: Any) -> T:
    """The dataclass `cls` that `to_wire` wrote; an unknown or missing field, or one of another type, raises TypeError.

    What is no dict, list or fraction where there should be one raises AttributeError, TypeError, ValueError or
    ZeroDivisionError.
    """
    return cast(T, _build(cls, value))


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _build(kind: Any, value: Any) -> Any:
    if kind in PLAIN:
        if type(value) not in PLAIN[kind]:
            raise TypeError(f"{str(value)[:40]!r} is no {kind.__name__}")
        return value
    origin = typing.get_origin(kind)
    if origin is typing.Literal and value not in typing.get_args(kind):
        raise TypeError(f"{str(value)[:40]!r} is none of {typing.get_args(kind)}")
    if kind is Fraction:
        return Fraction(value)
    if origin in (types.UnionType, typing.Union):
        inner = [arg for arg in typing.get_args(kind) if arg is not type(None)]
        return None if value is None else _build(inner[0], value)
    if origin in (tuple, list, Sequence):
        if not isinstance(value, list | tuple):
            raise TypeError(f"{str(value)[:40]!r} is no list")
        items = [_build(typing.get_args(kind)[0], item) for item in value]
        return tuple(items) if origin is tuple else items
    if origin in (dict, Mapping):
        return {key: _build(typing.get_args(kind)[1], item) for key, item in value.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = _hints(kind)
        unknown = set(value) - set(hints)
        if unknown:
            raise TypeError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")
        return kind(**{name: _build(hints[name], item) for name, item in value.items()})
    return value

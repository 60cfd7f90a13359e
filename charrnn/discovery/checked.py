"""Dataclasses from JSON. Every value is checked, because a run may come from a stranger."""

from __future__ import annotations

import dataclasses
import math
import re
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

Correlation = Annotated[float, -1.001, 1.001]  # float32 products of ranks exceed 1 slightly
Share = Annotated[float, 0.0, 1.0]
Count = Annotated[int, 0, 2**53]
CellName = Annotated[str, r"[1-9][0-9]{0,8}:[0-9]{1,9}"]
LONGEST_STRING = 1000
LARGEST_NUMBER = 1e38  # fits into float32


def from_json(kind: Any, data: Any) -> Any:
    """Convert JSON values to a type: a dataclass, or what its fields may be.

    Annotated numbers have a least and a greatest value, annotated strings an expression that matches them. Raises
    ValueError for any other type or value, for non-finite numbers, and for strings that are long or not printable.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _type_hints(kind)
        _require(isinstance(data, dict) and data.keys() == hints.keys())
        return kind(**{name: from_json(hint, data[name]) for name, hint in hints.items()})
    if origin in (Union, UnionType):  # X | None
        return None if data is None else from_json(arguments[0], data)
    if origin is Annotated:
        value = from_json(arguments[0], data)
        if isinstance(value, str):
            _require(re.fullmatch(arguments[1], value) is not None)
        else:
            _require(arguments[1] <= value <= arguments[2])
        return value
    if origin is Literal:
        _require(any(data == one and type(data) is type(one) for one in arguments))
        return data
    if origin is tuple:
        _require(isinstance(data, list | tuple))
        items = [arguments[0]] * len(data) if arguments[-1] is Ellipsis else arguments
        _require(len(items) == len(data))
        return tuple(from_json(item, value) for item, value in zip(items, data, strict=True))
    if origin is dict:
        _require(isinstance(data, dict))
        return {from_json(arguments[0], key): from_json(arguments[1], value) for key, value in data.items()}
    if kind is float and type(data) is int:
        data = float(data) if abs(data) < 2**53 else math.inf
    _require(type(data) is kind)
    _require(kind is not float or abs(data) <= LARGEST_NUMBER)
    _require(kind is not str or (data.isprintable() and len(data) <= LONGEST_STRING))
    return data


@cache
def _type_hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _require(valid: bool) -> None:
    if not valid:
        raise ValueError("a value is missing, unknown or out of range")

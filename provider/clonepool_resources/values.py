"""Comparing and writing values: ``10GiB`` and ``10240MiB`` are one size, spelled twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from clonepool.errors import ClonepoolError
from clonepool.units import parse_duration, parse_size
from clonepool_resources.types import (
    EnumType,
    Field,
    FieldType,
    Inputs,
    Kind,
    ListOf,
    MapOf,
    ObjectType,
    Value,
)

_EXACT_SIZES: Final = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def write_size(size_bytes: int) -> str:
    """A size as a user would write it, without rounding: ``10GiB``, ``1537B``."""
    for unit, factor in _EXACT_SIZES:
        if size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return f"{size_bytes}B"


def write_duration(seconds: float) -> str:
    """A duration as a user would write it, without rounding: ``12h``, ``90s``, ``1500ms``."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds % length == 0:
            return f"{int(seconds // length)}{unit}"
    return f"{seconds * 1000:.12g}ms"


def write_mode(mode: int) -> str:
    """Permission bits as a user would write them: ``0644``."""
    return f"{mode:04o}"


def parse_mode(text: str) -> int:
    """The permission bits of ``0644``. Raises ValueError."""
    bits = int(text, 8)
    if not 0 <= bits <= 0o7777:  # noqa: PLR2004 - all the permission bits there are
        raise ValueError(text)
    return bits


def canonical(value: Value, type_: FieldType, *, ignore_case: bool = False) -> Any:
    """A value to compare by: bytes, seconds, bits, and defaults in the place of what is left out.

    What is no proper value of its type (an old state's, say) is its own canonical form, so that
    comparing never fails.
    """
    if isinstance(type_, ObjectType):
        return canonical_fields(value, type_.fields) if isinstance(value, Mapping) else value
    if isinstance(type_, ListOf):
        listed = isinstance(value, (list, tuple))
        return [canonical(item, type_.item) for item in value] if listed else value
    if isinstance(type_, (MapOf, EnumType)):
        return dict(value) if isinstance(value, Mapping) else value
    return _canonical_scalar(value, type_, ignore_case=ignore_case)


def canonical_fields(values: Inputs, fields: Iterable[Field]) -> dict[str, Any]:
    """The inputs among ``values`` to compare by; what nobody set is not in it."""
    found = {field.name: canonical_field(values.get(field.name), field) for field in fields}
    return {name: value for name, value in found.items() if value is not None}


def canonical_field(value: Value, field: Field) -> Any:
    """One field's value to compare by: its default where it is absent, else None."""
    given = field.default if value is None else value
    if given is None or (given in ({}, []) and isinstance(field.type, (MapOf, ListOf))):
        return None
    return canonical(given, field.type, ignore_case=field.ignore_case)


def same(left: Value, right: Value, field: Field) -> bool:
    """Whether two values of one field mean the same."""
    return bool(canonical_field(left, field) == canonical_field(right, field))


def echo(live: Inputs, prior: Inputs, fields: Iterable[Field]) -> dict[str, Value]:
    """What the engine has, in the words of the program wherever both mean the same.

    A refresh thus shows what has really changed, never another spelling. A value that the engine
    never gives back (``write_only``, ``local``) is taken from ``prior``.
    """
    return {
        field.name: value
        for field in fields
        if (value := _echo_field(live.get(field.name), prior.get(field.name), field)) is not None
    }


def _echo_field(live: Value, prior: Value, field: Field) -> Value:
    if field.write_only or field.local or same(live, prior, field):
        return prior
    if isinstance(field.type, ObjectType) and isinstance(live, Mapping):
        before = prior if isinstance(prior, Mapping) else {}
        return echo(live, before, field.type.fields)
    return live


def _canonical_scalar(value: Value, kind: Kind, *, ignore_case: bool) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    try:
        return _READERS[kind](value.lower() if ignore_case else value)
    except (ClonepoolError, ValueError):
        return value


_READERS: Final[Mapping[Kind, Any]] = {
    Kind.STRING: str,
    Kind.INT: str,
    Kind.BOOL: str,
    Kind.SIZE: parse_size,
    Kind.DURATION: parse_duration,
    Kind.MODE: parse_mode,
}

"""Checking inputs: every failure with its path, defaults filled in, unknowns let through.

Pure: the engine is not asked, so a preview needs none. What only the engine can know (whether a
source is there, say) comes with the apply.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from clonepool.errors import FieldViolation, InvalidArgument
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
    Resource,
    Value,
)
from clonepool_resources.values import parse_mode

IsUnknown: TypeAlias = Callable[[Value], bool]
"""Asks whether a value is the ecosystem's own marker of what is only known after the apply."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Inputs with their defaults, whole numbers as int, and what is wrong with them."""

    inputs: dict[str, Value]
    failures: tuple[FieldViolation, ...]


def check(resource: Resource, inputs: Inputs, *, is_unknown: IsUnknown) -> Checked:
    """Check a resource's inputs; the strings stay as they were written.

    What is wrong with one field alone is not said again by a rule across fields.
    """
    walk = _Walk(is_unknown=is_unknown)
    checked = walk.fields(inputs, resource.inputs, path="")
    wrong = {failure.field for failure in walk.failures}
    # a rule must not call a field absent that is there but wrong
    seen = {**{name: value for name, value in inputs.items() if value is not None}, **checked}
    across = [failure for rule in resource.rules for failure in rule(seen)]
    said = [failure for failure in across if failure.field not in wrong]
    return Checked(inputs=checked, failures=(*walk.failures, *said))


class _Walk:
    """One pass over the inputs, gathering failures instead of stopping at the first."""

    def __init__(self, *, is_unknown: IsUnknown) -> None:
        self._is_unknown = is_unknown
        self.failures: list[FieldViolation] = []

    def fields(self, values: Inputs, fields: Iterable[Field], *, path: str) -> dict[str, Value]:
        known = {field.name: field for field in fields}
        for name in values:
            if name not in known:
                self._fail(f"{path}{name}", _strange(name, known))
        checked = {
            name: self._field(values.get(name), field, path=f"{path}{name}")
            for name, field in known.items()
        }
        for name, field in known.items():
            most = checked.get(field.default_at_most)
            if values.get(name) is None and isinstance(most, int):
                checked[name] = min(checked[name], most)
        return {name: value for name, value in checked.items() if value is not None}

    def _field(self, value: Value, field: Field, *, path: str) -> Value:
        given = field.default if value is None else value
        if given is None:
            if field.required:
                self._fail(path, "is required")
            return None
        if self._is_unknown(given):
            return given
        if field.secret and not isinstance(given, str):
            # a number or a list would be said, and with it the secret
            return self._fail(path, "must be a string")
        checked = self._value(given, field.type, path=path)
        if checked is not None:
            self._bounds(checked, field, path=path)
        return checked

    def _value(self, value: Value, type_: FieldType, *, path: str) -> Value:
        if self._is_unknown(value):
            return value
        if isinstance(type_, ObjectType):
            return self._object(value, type_, path=path)
        if isinstance(type_, ListOf):
            return self._list(value, type_, path=path)
        if isinstance(type_, MapOf):
            return self._map(value, type_, path=path)
        if isinstance(type_, EnumType):
            return self._enum(value, type_, path=path)
        return self._scalar(value, type_, path=path)

    def _object(self, value: Value, type_: ObjectType, *, path: str) -> Value:
        if not isinstance(value, Mapping):
            return self._fail(path, f"must be an object, not {_say(value)}")
        return self.fields(value, type_.fields, path=f"{path}.")

    def _list(self, value: Value, type_: ListOf, *, path: str) -> Value:
        if not isinstance(value, (list, tuple)):
            return self._fail(path, f"must be a list, not {_say(value)}")
        return [
            self._value(item, type_.item, path=f"{path}[{index}]")
            for index, item in enumerate(value)
        ]

    def _map(self, value: Value, type_: MapOf, *, path: str) -> Value:
        if not isinstance(value, Mapping):
            return self._fail(path, f"must be a map, not {_say(value)}")
        if type_.most_items:
            self._limits(value, type_, path=path)
        return {
            key: self._value(item, type_.item, path=f"{path}.{key}") for key, item in value.items()
        }

    def _limits(self, value: Mapping[str, Value], type_: MapOf, *, path: str) -> None:
        if len(value) > type_.most_items:
            self._fail(path, f"has {len(value)}, at most {type_.most_items} fit")
        for key, text in value.items():
            if not _is_line(key, limit=type_.longest_key) or not key or key != key.strip():
                hint = f"1 to {type_.longest_key} printable characters, no spaces around"
                self._fail(f"{path}.{key}", f"the key {_say(key)} must be {hint}")
            if isinstance(text, str) and not _is_line(text, limit=type_.longest_text):
                limit = type_.longest_text
                self._fail(f"{path}.{key}", f"must be at most {limit} printable characters")

    def _enum(self, value: Value, type_: EnumType, *, path: str) -> Value:
        if not isinstance(value, str) or value not in type_.values:
            return self._fail(path, f"{_say(value)} is not one of {', '.join(type_.values)}")
        return value

    def _scalar(self, value: Value, kind: Kind, *, path: str) -> Value:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # both ecosystems send numbers as doubles
        wanted, words = _SCALARS[kind]
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            return self._fail(path, f"must be {words}, not {_say(value)}")
        try:
            _PARSERS[kind](value)
        except InvalidArgument as error:
            return self._fail(path, error.violations[0].description)
        except ValueError:
            return self._fail(path, f"{_say(value)} is not a mode; write octal, such as 0644")
        return value

    def _bounds(self, value: Value, field: Field, *, path: str) -> None:
        if self._is_unknown(value):
            return
        if isinstance(value, int) and field.minimum is not None and value < field.minimum:
            self._fail(path, f"{value} is less than {field.minimum}")
        if isinstance(value, int) and value > _INT32_MAX:
            self._fail(path, f"{value} is more than {_INT32_MAX}")
        if not isinstance(value, str) or not field.pattern:
            return
        if not value.isprintable() or not re.fullmatch(field.pattern, value):
            shown = "the value" if field.secret else _say(value)
            self._fail(path, f"{shown} is not {field.pattern_hint}")

    def _fail(self, path: str, description: str) -> None:
        self.failures.append(FieldViolation(field=path, description=description))


def _strange(name: str, known: Mapping[str, Field]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"is not known here{f'; did you mean {near[0]}?' if near else ''}"


def _is_line(text: str, *, limit: int) -> bool:
    return len(text) <= limit and (text == "" or text.isprintable())


def _say(value: Value) -> str:
    """A short form for messages; a whole object could hold a secret, so only its type is said."""
    if isinstance(value, (str, int, float)):
        return repr(value)[:60]
    return type(value).__name__


_INT32_MAX: Final = 2**31 - 1
_SCALARS: Final[Mapping[Kind, tuple[type, str]]] = {
    Kind.STRING: (str, "a string"),
    Kind.INT: (int, "a whole number"),
    Kind.BOOL: (bool, "true or false"),
    Kind.SIZE: (str, "a size with its unit, such as '10GiB'"),
    Kind.DURATION: (str, "a duration with its unit, such as '30s'"),
    Kind.MODE: (str, "a mode in octal, such as '0644'"),
}


def _anything(_value: Value) -> None:
    return None


_PARSERS: Final[Mapping[Kind, Callable[[Value], object]]] = {
    Kind.STRING: _anything,
    Kind.INT: _anything,
    Kind.BOOL: _anything,
    Kind.SIZE: parse_size,
    Kind.DURATION: parse_duration,
    Kind.MODE: parse_mode,
}

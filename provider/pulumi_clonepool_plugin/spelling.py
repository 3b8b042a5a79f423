"""Names as Pulumi's languages write them (``maxReplicas``) and as the declaration does.

Only declared names are respelled, by the declaration itself: a label's key stays what it is.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from clonepool.errors import FieldViolation
from clonepool_resources.declaration import FUNCTIONS, RESOURCES
from clonepool_resources.types import Field, FieldType, Inputs, ListOf, ObjectType, Value

PACKAGE: Final = "clonepool"
_STEP: Final = re.compile(r"(?P<name>[^.\[]+)(?P<indices>(?:\[\d+\])*)(?P<dot>\.?)")


def camel(name: str) -> str:
    """``read_only`` as ``readOnly``."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def token_of(name: str) -> str:
    """``ReplicaPool`` as ``clonepool:index:ReplicaPool``."""
    return f"{PACKAGE}:index:{name}"


@dataclass(frozen=True, kw_only=True)
class Declared:
    """Values by declared name, and the properties that the declaration does not have."""

    values: dict[str, Value]
    strangers: tuple[FieldViolation, ...]


def to_declared(values: Inputs, fields: Iterable[Field]) -> Declared:
    """Values as the declaration names them; a property that is null is absent."""
    reading = _Reading()
    return Declared(
        values=reading.fields(values, fields, path=""), strangers=tuple(reading.strangers)
    )


def to_pulumi(values: Inputs, fields: Iterable[Field]) -> dict[str, Value]:
    """Values as Pulumi's languages name them."""
    return {
        camel(field.name): _write(values[field.name], field.type)
        for field in fields
        if values.get(field.name) is not None
    }


def path_to_pulumi(path: str, fields: Iterable[Field]) -> str:
    """A path such as ``scrub.on_low_space`` or ``preconfigure[0].mode``, respelled."""
    step = _STEP.match(path)
    if step is None:
        return path
    field = next((field for field in fields if field.name == step["name"]), None)
    rest = path[step.end() :]
    inner = _innermost(field.type) if field is not None else None
    if isinstance(inner, ObjectType):
        rest = path_to_pulumi(rest, inner.fields)
    name = step["name"] if field is None else camel(field.name)
    return f"{name}{step['indices']}{step['dot']}{rest}"


def text_to_pulumi(text: str) -> str:
    """A message in which fields of the declaration are named, such as "raise max_replicas"."""
    return _field_names().sub(lambda found: camel(found[0]), text)


class _Reading:
    """One pass from Pulumi's spelling, gathering what is not declared."""

    def __init__(self) -> None:
        self.strangers: list[FieldViolation] = []

    def fields(self, values: Inputs, fields: Iterable[Field], *, path: str) -> dict[str, Value]:
        declared = {camel(field.name): field for field in fields}
        read: dict[str, Value] = {}
        for name, value in values.items():
            if name in declared:
                field = declared[name]
                read[field.name] = self.value(value, field.type, path=f"{path}{name}")
            elif not name.startswith("__"):
                # Pulumi's own hidden properties begin so
                self.strangers.append(_stranger(name, declared, path=path))
        return {name: value for name, value in read.items() if value is not None}

    def value(self, value: Value, type_: FieldType, *, path: str) -> Value:
        if isinstance(type_, ObjectType) and isinstance(value, Mapping):
            return self.fields(value, type_.fields, path=f"{path}.")
        if isinstance(type_, ListOf) and isinstance(value, (list, tuple)):
            return [
                self.value(item, type_.item, path=f"{path}[{index}]")
                for index, item in enumerate(value)
            ]
        return value


def _stranger(name: str, declared: Mapping[str, Field], *, path: str) -> FieldViolation:
    near = difflib.get_close_matches(camel(name), declared, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return FieldViolation(field=f"{path}{name}", description=f"is not known here{hint}")


def _write(value: Value, type_: FieldType) -> Value:
    if isinstance(type_, ObjectType) and isinstance(value, Mapping):
        return to_pulumi(value, type_.fields)
    if isinstance(type_, ListOf) and isinstance(value, (list, tuple)):
        return [_write(item, type_.item) for item in value]
    return value


def _innermost(type_: FieldType) -> FieldType:
    return _innermost(type_.item) if isinstance(type_, ListOf) else type_


@functools.cache
def _field_names() -> re.Pattern[str]:
    declared = [resource.fields for resource in RESOURCES]
    declared += [function.outputs for function in FUNCTIONS]
    names = {name for fields in declared for name in _names(fields) if "_" in name}
    names |= {function.name for function in FUNCTIONS}
    # in quotation marks it is a value
    return re.compile(rf"(?<!\")\b(?:{'|'.join(sorted(names))})\b")


def _names(fields: Iterable[Field]) -> Iterator[str]:
    for field in fields:
        yield field.name
        inner = _innermost(field.type)
        if isinstance(inner, ObjectType):
            yield from _names(inner.fields)

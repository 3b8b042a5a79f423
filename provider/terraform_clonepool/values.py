"""Values as Terraform has them (every attribute there, null where absent) and as we do (absent)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from clonepool_resources.types import Field, FieldType, Inputs, Kind, ListOf, MapOf, ObjectType
from terraform_clonepool.wire import UNKNOWN, whole_number

Values = dict[str, Any]


def typed(raw: Any, type_: FieldType) -> Any:
    """A value off the wire or out of a state file, in the shape of its type.

    What an older state holds besides is dropped, what it lacks is null.
    """
    if raw is None or raw is UNKNOWN:
        return raw
    if isinstance(type_, ObjectType):
        return typed_fields(raw, type_.fields)
    if isinstance(type_, ListOf):
        return [typed(item, type_.item) for item in raw]
    if isinstance(type_, MapOf):
        return {key: typed(item, type_.item) for key, item in raw.items()}
    return whole_number(raw) if type_ is Kind.INT else raw


def typed_fields(raw: Mapping[str, Any], fields: Iterable[Field]) -> Values:
    """An object's attributes, all of them."""
    return {field.name: typed(raw.get(field.name), field.type) for field in fields}


def given(values: Any) -> Any:
    """Values without what is null, at any depth: as the declaration's code takes them."""
    if isinstance(values, Mapping):
        return {name: given(value) for name, value in values.items() if value is not None}
    if isinstance(values, list):
        return [given(value) for value in values]
    return values


def only(values: Inputs, fields: Iterable[Field]) -> Values:
    """The values of these fields, nested ones alike: what Terraform alone knows is left out."""
    return {
        field.name: _only(values[field.name], field.type)
        for field in fields
        if values.get(field.name) is not None
    }


def _only(value: Any, type_: FieldType) -> Any:
    if isinstance(type_, ObjectType) and isinstance(value, Mapping):
        return only(value, type_.fields)
    if isinstance(type_, ListOf) and isinstance(value, list):
        return [_only(item, type_.item) for item in value]
    return value

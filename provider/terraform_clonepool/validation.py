"""What is wrong with a configuration, as far as it is known yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from clonepool.errors import FieldViolation
from clonepool_resources.check import check
from clonepool_resources.types import Field, Inputs, ObjectType, Resource
from terraform_clonepool.values import given
from terraform_clonepool.wire import UNKNOWN, is_unknown


def find_violations(resource: Resource, config: Mapping[str, Any]) -> list[FieldViolation]:
    """What is wrong whatever the unknown values turn out to be.

    A rule across fields takes what is unknown for given, but it may yet turn out null
    (`server = var.shared ? null : var.server`): so a rule's word counts only where it says the
    same with those values and without them.
    """
    inputs = {field.name: config.get(field.name) for field in resource.inputs}
    found = check(resource, given(inputs), is_unknown=is_unknown)
    alone = check(replace(resource, rules=()), given(inputs), is_unknown=is_unknown)
    known = _known(alone.inputs)
    across = [failure for rule in resource.rules for failure in rule(known)]
    return [each for each in found.failures if each in alone.failures or each in across]


def find_write_only(
    fields: Iterable[Field], config: Mapping[str, Any], *, path: str = ""
) -> Iterator[FieldViolation]:
    """Write-only values that are given, for a Terraform that would put them into the state."""
    for field in fields:
        value, where = config.get(field.name), f"{path}{field.name}"
        if field.write_only and value is not None:
            text = "is write-only, which needs Terraform 1.11 or OpenTofu 1.11"
            yield FieldViolation(field=where, description=text)
        elif isinstance(field.type, ObjectType) and isinstance(value, Mapping):
            yield from find_write_only(field.type.fields, value, path=f"{where}.")


def with_write_only(fields: Iterable[Field], planned: Inputs, config: Inputs) -> dict[str, Any]:
    """Planned inputs with the write-only values, which only the configuration has."""
    return {
        field.name: _restored(field, planned.get(field.name), config.get(field.name))
        for field in fields
    }


def _restored(field: Field, planned: Any, config: Any) -> Any:
    if field.write_only:
        return config
    if isinstance(field.type, ObjectType) and isinstance(planned, Mapping):
        inner = config if isinstance(config, Mapping) else {}
        return with_write_only(field.type.fields, planned, inner)
    return planned


def _known(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _known(item) for name, item in value.items() if item is not UNKNOWN}
    if isinstance(value, list):
        return [_known(item) for item in value]
    return value

"""What a resource will be: the configuration, its defaults, and what only the apply can tell.

Terraform holds an apply to its plan, so this is where values are settled: a configured value is
taken as it is written, or as the state spells the same value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clonepool_resources.diff import diff
from clonepool_resources.types import Field, FieldType, ListOf, ObjectType, Resource
from clonepool_resources.values import same
from terraform_clonepool.attributes import TROUBLE
from terraform_clonepool.values import Values, given
from terraform_clonepool.wire import UNKNOWN, is_unknown


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be, and the inputs whose change only a new resource can follow."""

    values: Values
    replaces: tuple[str, ...] = ()


def plan_create(resource: Resource, *, config: Values) -> Plan:
    """All that the engine sets is only known later."""
    inputs = plan_inputs(resource.inputs, config=config, prior=None)
    return Plan(values={field.name: inputs.get(field.name, UNKNOWN) for field in resource.fields})


def plan_update(resource: Resource, *, config: Values, prior: Values) -> Plan:
    """Only what a change can move becomes unknown; without one, the plan is the state."""
    inputs = plan_inputs(resource.inputs, config=config, prior=prior)
    before, after = given(_pick(prior, resource)), given(inputs)
    changed = diff(resource, old=before, new=after, is_unknown=is_unknown)
    moved = _Moved(
        tops=frozenset(path.partition(".")[0] for path in changed.changed),
        in_trouble=bool(prior.get(TROUBLE)),
    )
    values = {
        field.name: inputs[field.name]
        if field.is_input
        else moved.output(field, prior.get(field.name))
        for field in resource.fields
    }
    return Plan(values=values, replaces=changed.replaces)


def plan_inputs(
    fields: Iterable[Field], *, config: Mapping[str, Any], prior: Mapping[str, Any] | None
) -> Values:
    """The inputs with their defaults; what is write-only is never planned."""
    known = prior or {}
    planned = {
        field.name: _input(field, config.get(field.name), known.get(field.name)) for field in fields
    }
    for field in fields:
        most = planned.get(field.default_at_most)
        if config.get(field.name) is None and most is not None:
            planned[field.name] = UNKNOWN if most is UNKNOWN else min(planned[field.name], most)
    return planned


@dataclass(frozen=True, kw_only=True)
class _Moved:
    """What an update moves: the changed inputs at the top level, and whether it mends trouble."""

    tops: frozenset[str]
    in_trouble: bool

    def output(self, field: Field, prior: Any) -> Any:
        if field.stable or field.name == TROUBLE:
            return UNKNOWN if field.name == TROUBLE and self.in_trouble else prior
        by = self.tops & set(field.moved_by) if field.moved_by else self.tops
        return UNKNOWN if by or self.in_trouble else prior


def _input(field: Field, config: Any, prior: Any) -> Any:
    if field.write_only:
        return None
    value = field.default if config is None else config
    if value is None or value is UNKNOWN:
        return value
    # a nested value may hold what is only known later, which can't be compared
    if prior is not None and not isinstance(field.type, (ObjectType, ListOf)):
        return prior if _is_known(value) and same(prior, value, field) else value
    return _nested(field.type, value, prior)


def _nested(type_: FieldType, value: Any, prior: Any) -> Any:
    if value is None or value is UNKNOWN:
        return value
    if isinstance(type_, ObjectType):
        return plan_inputs(type_.fields, config=value, prior=prior)
    if isinstance(type_, ListOf) and isinstance(type_.item, ObjectType):
        before = prior if prior is not None and len(prior) == len(value) else [None] * len(value)
        return [_nested(type_.item, *pair) for pair in zip(value, before, strict=True)]
    return value


def _is_known(value: Any) -> bool:
    return not isinstance(value, Mapping) or UNKNOWN not in value.values()


def _pick(values: Values, resource: Resource) -> Values:
    return {field.name: values.get(field.name) for field in resource.inputs}

"""What changed between two sets of inputs, by value, and what of it forces a replacement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from clonepool_resources.check import IsUnknown
from clonepool_resources.types import Field, Inputs, ObjectType, Resource, Value
from clonepool_resources.values import same


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The paths that changed, and those among them that only a new resource can follow."""

    changed: tuple[str, ...]
    replaces: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed)


def diff(resource: Resource, *, old: Inputs, new: Inputs, is_unknown: IsUnknown) -> Difference:
    """Compare inputs; what is unknown counts as changed, so a replacement is never hidden.

    ``old`` may hold outputs too (Pulumi hands them in together): a field that the engine fills
    in when the user does not is not compared where the user left it out.
    """
    found = list(_changes(resource.inputs, old=old, new=new, is_unknown=is_unknown, path=""))
    return Difference(
        changed=tuple(path for path, _ in found),
        replaces=tuple(path for path, replace in found if replace),
    )


def _changes(
    fields: Iterable[Field], *, old: Inputs, new: Inputs, is_unknown: IsUnknown, path: str
) -> Iterator[tuple[str, bool]]:
    for field in fields:
        before, after = old.get(field.name), new.get(field.name)
        if field.computed and after is None:
            continue
        yield from _field_changes(
            field, before, after, is_unknown=is_unknown, path=f"{path}{field.name}"
        )


def _field_changes(
    field: Field, before: Value, after: Value, *, is_unknown: IsUnknown, path: str
) -> Iterator[tuple[str, bool]]:
    if is_unknown(after):
        yield path, _may_replace(field)
    elif not isinstance(field.type, ObjectType):
        if _holds_unknown(after, is_unknown) or not same(before, after, field):
            yield path, field.replace
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _changes(
            field.type.fields, old=before, new=after, is_unknown=is_unknown, path=f"{path}."
        )
    elif _holds_unknown(after, is_unknown) or not same(before, after, field):
        yield path, field.replace


def _may_replace(field: Field) -> bool:
    inner = field.type.fields if isinstance(field.type, ObjectType) else ()
    return field.replace or any(_may_replace(part) for part in inner)


def _holds_unknown(value: Value, is_unknown: IsUnknown) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_unknown(item, is_unknown) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds_unknown(item, is_unknown) for item in value)
    return is_unknown(value)

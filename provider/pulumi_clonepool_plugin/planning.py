"""What a preview says without asking the engine: the detailed diff, and the outputs to come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from clonepool_resources.diff import Difference, diff
from clonepool_resources.types import Field, Inputs, Resource, Value
from pulumi_clonepool_plugin.properties import UNKNOWN, is_unknown
from pulumi_clonepool_plugin.protocol import provider_pb2
from pulumi_clonepool_plugin.spelling import camel, path_to_pulumi

_DIFF: Final = provider_pb2.PropertyDiff


def describe_difference(
    resource: Resource, *, old: Inputs, new: Inputs
) -> provider_pb2.DiffResponse:
    """The detailed diff of two sets of inputs; what forces a replacement is named as such."""
    found = diff(resource, old=old, new=new, is_unknown=is_unknown)
    if not found:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)
    paths = {path: path_to_pulumi(path, resource.fields) for path in found.changed}
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME,
        detailedDiff={
            spelled: _DIFF(kind=_kind(path, found, old=old, new=new), inputDiff=True)
            for path, spelled in paths.items()
        },
        hasDetailedDiff=True,
        diffs=sorted({spelled.partition(".")[0] for spelled in paths.values()}),
        replaces=[paths[path] for path in found.replaces],
        # names are unique, and a server has its attachments one at a time: the old one goes first
        deleteBeforeReplace=bool(found.replaces),
        stables=[camel(field.name) for field in _unmoved(resource, found.changed)],
    )


def outputs_to_create(resource: Resource, inputs: Inputs) -> dict[str, Value]:
    """The properties of a resource that is not there yet: what the engine sets is unknown."""
    made = {field.name: UNKNOWN for field in resource.outputs}
    return {**made, **inputs}


def outputs_to_update(
    resource: Resource, *, old: Inputs, old_outputs: Inputs, new: Inputs
) -> dict[str, Value]:
    """The properties after an update: only what it may move is unknown."""
    found = diff(resource, old=old, new=new, is_unknown=is_unknown)
    unmoved = {field.name for field in _unmoved(resource, found.changed)}
    outputs = {
        field.name: old_outputs.get(field.name) if field.name in unmoved else UNKNOWN
        for field in resource.outputs
    }
    return {**outputs, **new}


def _unmoved(resource: Resource, changed: Iterable[str]) -> list[Field]:
    moved = {path.partition(".")[0] for path in changed}
    return [field for field in resource.outputs if not _may_move(field, moved)]


def _may_move(field: Field, moved: set[str]) -> bool:
    if field.stable or not moved:
        return False
    return not field.moved_by or not moved.isdisjoint(field.moved_by)


def _kind(
    path: str, found: Difference, *, old: Inputs, new: Inputs
) -> provider_pb2.PropertyDiff.Kind.ValueType:
    replaces = path in found.replaces
    if _at(old, path) is None:
        return _DIFF.ADD_REPLACE if replaces else _DIFF.ADD
    if _at(new, path) is None:
        return _DIFF.DELETE_REPLACE if replaces else _DIFF.DELETE
    return _DIFF.UPDATE_REPLACE if replaces else _DIFF.UPDATE


def _at(values: Inputs, path: str) -> Value:
    """The value at a path of object fields; None where there is none."""
    found: Value = values
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found

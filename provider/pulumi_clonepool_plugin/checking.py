"""Check: the name and the defaults filled in, and every failure with its property."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clonepool.errors import FieldViolation
from clonepool_resources.check import check
from clonepool_resources.types import Resource, Value
from pulumi_clonepool_plugin.kinds import Kind
from pulumi_clonepool_plugin.naming import autoname
from pulumi_clonepool_plugin.properties import from_message, is_unknown
from pulumi_clonepool_plugin.spelling import path_to_pulumi, text_to_pulumi, to_declared
from pulumi_clonepool_plugin.translation import read_properties

if TYPE_CHECKING:
    from pulumi_clonepool_plugin.protocol import provider_pb2


def check_inputs(
    kind: Kind, request: provider_pb2.CheckRequest
) -> tuple[dict[str, Value], list[FieldViolation]]:
    """The inputs as they are kept, and what is wrong with them in Pulumi's spelling."""
    declared = to_declared(from_message(request.news), kind.resource.inputs)
    values = declared.values
    if "name" not in values:
        before = read_properties(kind, request.olds).get("name")
        named = autoname(request, kept=before if isinstance(before, str) else "")
        values = {**values, "name": named} if named else values
    checked = check(kind.resource, values, is_unknown=is_unknown)
    wrong = [_respelled(failure, kind.resource) for failure in checked.failures]
    return checked.inputs, [*declared.strangers, *wrong]


def _respelled(failure: FieldViolation, resource: Resource) -> FieldViolation:
    return FieldViolation(
        field=path_to_pulumi(failure.field, resource.fields),
        description=text_to_pulumi(failure.description),
    )

"""A resource's properties from Pulumi's messages to declared values, and back."""

from __future__ import annotations

from google.protobuf import struct_pb2

from clonepool_resources.check import check
from clonepool_resources.types import Field, Inputs, Value
from pulumi_clonepool_plugin.kinds import Kind
from pulumi_clonepool_plugin.properties import (
    from_message,
    is_unknown,
    to_message,
    with_secrets,
)
from pulumi_clonepool_plugin.spelling import to_declared, to_pulumi


def read_inputs(kind: Kind, message: struct_pb2.Struct) -> dict[str, Value]:
    """The inputs of a message, whose properties may hold outputs too."""
    return to_declared(from_message(message), kind.resource.inputs).values


def read_checked(kind: Kind, message: struct_pb2.Struct) -> dict[str, Value]:
    """Inputs that were checked before, as a lifecycle takes them: whole numbers as int."""
    return check(kind.resource, read_inputs(kind, message), is_unknown=is_unknown).inputs


def read_properties(kind: Kind, message: struct_pb2.Struct) -> dict[str, Value]:
    """All of a resource's properties."""
    return to_declared(from_message(message), kind.resource.fields).values


def write(values: Inputs, fields: tuple[Field, ...]) -> struct_pb2.Struct:
    """Properties for Pulumi's state, with what must rest encrypted marked as secret."""
    return to_message(to_pulumi(with_secrets(values, fields), fields))

"""Properties on the wire: unknown values, secrets, and numbers that are always doubles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf import struct_pb2

from clonepool_resources.types import Field, Inputs, ListOf, ObjectType, Value
from pulumi_clonepool_plugin.protocol import (
    SECRET_SIGNATURE,
    SIGNATURE_KEY,
    UNKNOWN_SENTINEL,
    UNKNOWN_SENTINELS,
)


class _Unknown:
    """What is only known after the update."""

    def __repr__(self) -> str:
        return "<unknown>"


UNKNOWN: Final = _Unknown()


def is_unknown(value: Value) -> bool:
    """Whether a value is only known after the update."""
    return value is UNKNOWN


def from_message(message: struct_pb2.Struct) -> dict[str, Value]:
    """The values of a message, by the names on the wire; secrets in the clear."""
    return {name: _value(item) for name, item in message.fields.items()}


def to_message(values: Inputs) -> struct_pb2.Struct:
    """A message of values by the names on the wire; what is None is left out."""
    message = struct_pb2.Struct()
    for name, value in values.items():
        if value is not None:
            message.fields[name].CopyFrom(_message(value))
    return message


def with_secrets(values: Inputs, fields: Iterable[Field]) -> dict[str, Value]:
    """Declared values with those that are secret by declaration wrapped as Pulumi's secrets.

    What a program itself made secret needs nothing of us: the plugin takes no secrets in, so the
    engine marks in each answer what it stripped from the question.
    """
    declared = {field.name: field for field in fields}
    return {name: _guarded(value, declared[name]) for name, value in values.items()}


def as_secret(value: Value) -> Value:
    """A value that Pulumi keeps encrypted and shows to nobody."""
    return {SIGNATURE_KEY: SECRET_SIGNATURE, "value": value}


def _guarded(value: Value, field: Field) -> Value:
    if field.secret:
        return as_secret(value)
    if isinstance(field.type, ObjectType) and isinstance(value, Mapping):
        return with_secrets(value, field.type.fields)
    if isinstance(field.type, ListOf) and isinstance(value, (list, tuple)):
        item = Field(name=field.name, type=field.type.item, description=field.description)
        return [_guarded(one, item) for one in value]
    return value


def _value(message: struct_pb2.Value) -> Value:
    kind = message.WhichOneof("kind")
    if kind == "struct_value":
        return _object(message.struct_value)
    if kind == "list_value":
        return [_value(item) for item in message.list_value.values]
    if kind == "string_value":
        text = message.string_value
        return UNKNOWN if text in UNKNOWN_SENTINELS else text
    return None if kind in (None, "null_value") else getattr(message, kind)


def _object(message: struct_pb2.Struct) -> Value:
    # looking a key up in a protobuf map would make it
    signed = SIGNATURE_KEY in message.fields
    if signed and message.fields[SIGNATURE_KEY].string_value == SECRET_SIGNATURE:
        return _value(message.fields["value"])
    return from_message(message)


def _message(value: Value) -> struct_pb2.Value:
    if value is UNKNOWN:
        return struct_pb2.Value(string_value=UNKNOWN_SENTINEL)
    if isinstance(value, Mapping):
        return struct_pb2.Value(struct_value=to_message(value))
    if isinstance(value, (list, tuple)):
        listed = struct_pb2.ListValue(values=[_message(item) for item in value])
        return struct_pb2.Value(list_value=listed)
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, (int, float)):
        return struct_pb2.Value(number_value=value)
    return struct_pb2.Value(string_value=str(value))

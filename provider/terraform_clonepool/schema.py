"""Schemas as Terraform takes them, made from fields."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from clonepool_resources.types import EnumType, Field, FieldType, Kind, ListOf, MapOf, ObjectType
from terraform_clonepool.attributes import CHAP_SECRET, DATA_SOURCES, PROVIDER, RESOURCES
from terraform_clonepool.proto import tfplugin6_pb2 as pb

CAPABILITIES: Final = pb.ServerCapabilities(get_provider_schema_optional=True)
_SCALARS: Final = {Kind.INT: "number", Kind.BOOL: "bool"}
_Attribute = pb.Schema.Attribute


def provider_schema() -> pb.ProviderSchema:
    """Everything that there is."""
    ephemeral = {CHAP_SECRET.type_name: schema(CHAP_SECRET.fields, CHAP_SECRET.description)}
    return pb.ProviderSchema(
        provider=schema(PROVIDER, "Which engine the resources belong to."),
        provider_meta=schema((), ""),
        resource_schemas={
            item.type_name: schema(item.shown.fields, item.shown.description, version=item.version)
            for item in RESOURCES
        },
        data_source_schemas={
            item.type_name: schema(item.fields, item.description) for item in DATA_SOURCES
        },
        ephemeral_resource_schemas=ephemeral,
        server_capabilities=CAPABILITIES,
    )


def metadata() -> pb.Metadata:
    """The names of everything that there is."""
    return pb.Metadata(
        server_capabilities=CAPABILITIES,
        resources=[pb.Named(type_name=item.type_name) for item in RESOURCES],
        data_sources=[pb.Named(type_name=item.type_name) for item in DATA_SOURCES],
        ephemeral_resources=[pb.Named(type_name=CHAP_SECRET.type_name)],
    )


def schema(fields: Iterable[Field], description: str, *, version: int = 0) -> pb.Schema:
    """One schema."""
    block = pb.Schema.Block(
        attributes=[_attribute(field, is_output=False) for field in fields],
        description=description,
        description_kind=pb.MARKDOWN,
    )
    return pb.Schema(version=version, block=block)


def _attribute(field: Field, *, is_output: bool) -> pb.Schema.Attribute:
    """``is_output``: it is a part of something computed."""
    is_input = field.is_input and not is_output
    attribute = _Attribute(
        name=field.name,
        description=" ".join(_sentences(field, is_input=is_input)),
        description_kind=pb.MARKDOWN,
        required=is_input and field.required,
        optional=is_input and not field.required,
        computed=not is_input or field.computed or field.default is not None,
        sensitive=field.secret,
        write_only=field.write_only,
    )
    _set_type(attribute, field.type, is_output=not is_input)
    return attribute


def _set_type(attribute: pb.Schema.Attribute, type_: FieldType, *, is_output: bool) -> None:
    listed = type_.item if isinstance(type_, ListOf) else None
    inner = listed or type_
    if not isinstance(inner, ObjectType):
        attribute.type = json.dumps(cty_type(type_)).encode()
        return
    nesting = pb.Schema.Object.LIST if listed else pb.Schema.Object.SINGLE
    attributes = [_attribute(field, is_output=is_output) for field in inner.fields]
    attribute.nested_type.CopyFrom(pb.Schema.Object(attributes=attributes, nesting=nesting))


def cty_type(type_: FieldType) -> Any:
    """A type of scalars as Terraform writes it in JSON."""
    if isinstance(type_, ListOf):
        return ["list", cty_type(type_.item)]
    if isinstance(type_, MapOf):
        return ["map", cty_type(type_.item)]
    if isinstance(type_, ObjectType):
        raise TypeError(f"{type_.name} is a nested attribute, not a type of its own")
    return "string" if isinstance(type_, EnumType) else _SCALARS.get(type_, "string")


def _sentences(field: Field, *, is_input: bool) -> Iterator[str]:
    yield field.description
    if not is_input:
        return
    if isinstance(field.type, EnumType):
        words = [f"`{word}` ({text.rstrip('.')})" for word, text in field.type.values.items()]
        yield f"One of {', '.join(words)}."
    if isinstance(field.default, (str, int)) and not field.default_at_most:
        yield f"Default: `{json.dumps(field.default)}`."
    if field.replace:
        yield "A change makes a new one."
    if field.write_only:
        yield f"Write-only, so in no state and no plan: raise `{field.name}_version` with it."

"""The package's description for every Pulumi language, made from the declaration.

It is what GetSchema answers, and what tools/generate_schema.py writes as schema.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import clonepool
from clonepool_resources.declaration import FUNCTIONS, RESOURCES
from clonepool_resources.types import (
    EnumType,
    Field,
    FieldType,
    Function,
    Kind,
    ListOf,
    MapOf,
    ObjectType,
    Resource,
)
from pulumi_clonepool_plugin.spelling import PACKAGE, camel, text_to_pulumi, token_of

EXAMPLES: Final = Path(__file__).with_name("examples.json")
"""The programs that descriptions show, by token; tools/generate_schema.py makes it."""

_DERIVED: Final = "Left out, Pulumi makes one of the resource's own name."
_NAME_OR_ID: Final = (
    "Its name, or its id. Give the id of a resource of the same program: it is unknown in the "
    "preview that creates the resource, so that the look-up waits."
)
_SCALARS: Final = {Kind.INT: "integer", Kind.BOOL: "boolean"}
_SETTINGS: Final[Mapping[str, Any]] = {
    "endpoint": {
        "type": "string",
        "description": (
            "Where the engine listens: `unix:///path/engine.sock` or `tcp://host:port`; several "
            "nodes of one engine are separated by commas, and one that is away is passed over. "
            "Left out, it is this machine's own engine."
        ),
        "defaultInfo": {"environment": ["CLONEPOOL_ENDPOINT"]},
    },
    "token": {
        "type": "string",
        "description": "The token that a call over TCP brings.",
        "defaultInfo": {"environment": ["CLONEPOOL_TOKEN"]},
        "secret": True,
    },
    "caFile": {
        "type": "string",
        "description": "A file of CA certificates that the engine's certificate is checked by.",
        "defaultInfo": {"environment": ["CLONEPOOL_CA_FILE"]},
    },
    # without the variable as a default: an SDK would keep a ticket that is over in the state
    "hold": {
        "type": "string",
        "description": (
            "A ticket of `clonepool hold create` that attachments are served by. Left out, it is "
            "`CLONEPOOL_HOLD`, if that is set. One that is no use is no error."
        ),
    },
}


def package_schema(*, examples: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The whole of schema.json; the examples are those that come with the plugin."""
    shown = json.loads(EXAMPLES.read_text()) if examples is None else examples
    return _Schema(shown).describe()


class _Schema:
    """Gathers the named types while resources and functions are described."""

    def __init__(self, examples: Mapping[str, str]) -> None:
        self.types: dict[str, Any] = {}
        self._examples = examples

    def describe(self) -> dict[str, Any]:
        resources = {token_of(item.name): self.resource(item) for item in RESOURCES}
        functions = {token_of(camel(item.name)): self.function(item) for item in FUNCTIONS}
        return {
            "name": PACKAGE,
            "displayName": "Clonepool",
            "version": clonepool.__version__,
            "description": "Server storage in milliseconds, from a pool of ready replicas.",
            "keywords": ["pulumi", "clonepool", "category/infrastructure", "kind/native"],
            "license": "Apache-2.0",
            "publisher": "The Clonepool authors",
            "config": {"variables": _SETTINGS},
            "provider": {
                "description": "Which engine the resources belong to.",
                "inputProperties": _SETTINGS,
            },
            "language": _LANGUAGES,
            "types": dict(sorted(self.types.items())),
            "resources": resources,
            "functions": functions,
        }

    def resource(self, resource: Resource) -> dict[str, Any]:
        outputs = self.properties(resource.fields, with_defaults=False)
        inputs = self.properties(resource.inputs)
        state = self.properties(resource.fields, with_defaults=False)
        return {
            "description": self.described(resource.description, token_of(resource.name)),
            "properties": outputs,
            "required": [camel(field.name) for field in resource.fields if _always(field)],
            "inputProperties": inputs,
            "requiredInputs": [
                camel(field.name)
                for field in resource.inputs
                if field.required and not field.derived
            ],
            "stateInputs": {
                "description": f"What a {resource.name} is looked up by.",
                "type": "object",
                "properties": state,
            },
        }

    def function(self, function: Function) -> dict[str, Any]:
        return {
            "description": self.described(function.description, token_of(camel(function.name))),
            "inputs": self.group(
                replace(field, description=_NAME_OR_ID) for field in function.inputs
            ),
            "outputs": {
                **self.group(function.outputs),
                # an object may be absent: a connection while the attachment waits, say
                "required": [
                    camel(field.name)
                    for field in function.outputs
                    if not isinstance(field.type, ObjectType)
                ],
            },
        }

    def described(self, text: str, token: str) -> str:
        return "\n\n".join([text_to_pulumi(text), *filter(None, [self._examples.get(token)])])

    def group(self, fields: Iterable[Field]) -> dict[str, Any]:
        listed = tuple(fields)
        required = [camel(field.name) for field in listed if field.required]
        return {
            "type": "object",
            "properties": self.properties(listed),
            **({"required": required} if required else {}),
        }

    def properties(self, fields: Iterable[Field], *, with_defaults: bool = True) -> dict[str, Any]:
        return {
            camel(field.name): self.property(field, with_defaults=with_defaults) for field in fields
        }

    def property(self, field: Field, *, with_defaults: bool) -> dict[str, Any]:
        text = f"{field.description} {_DERIVED}" if field.derived else field.description
        said = {**self.type(field.type), "description": text_to_pulumi(text)}
        # an SDK fills a default in by itself: not one that hangs on another field
        constant = isinstance(field.default, (str, int, bool)) and not field.default_at_most
        if with_defaults and constant:
            said["default"] = field.default
        if field.secret:
            said["secret"] = True
        if field.replace:
            said["willReplaceOnChanges"] = True
        return said

    def type(self, type_: FieldType) -> dict[str, Any]:
        if isinstance(type_, ListOf):
            return {"type": "array", "items": self.type(type_.item)}
        if isinstance(type_, MapOf):
            return {"type": "object", "additionalProperties": self.type(type_.item)}
        if isinstance(type_, (EnumType, ObjectType)):
            return self.named(type_)
        return {"type": _SCALARS.get(type_, "string")}

    def named(self, type_: EnumType | ObjectType) -> dict[str, Any]:
        token = token_of(type_.name)
        if token not in self.types:
            described = _enum(type_) if isinstance(type_, EnumType) else self.group(type_.fields)
            self.types[token] = {"description": text_to_pulumi(type_.description), **described}
        return {"$ref": f"#/types/{token}"}


_LANGUAGES: Final[Mapping[str, Any]] = {
    "go": {
        "generateResourceContainerTypes": True,
        "importBasePath": "clonepool.dev/sdk/go/clonepool",
        "respectSchemaVersion": True,
    },
    "nodejs": {"packageName": "clonepool-sdk", "respectSchemaVersion": True},
    # apart from pulumi_clonepool, the dynamic classes that come with the engine's client
    "python": {
        "packageName": "clonepool_sdk",
        "pyproject": {"enabled": True},
        "requires": {"pulumi": ">=3.259.0,<4.0.0"},
        "respectSchemaVersion": True,
    },
}


def _enum(type_: EnumType) -> dict[str, Any]:
    values = [
        {"name": camel(word)[0].upper() + camel(word)[1:], "value": word, "description": text}
        for word, text in type_.values.items()
    ]
    return {"type": "string", "enum": values}


def _always(field: Field) -> bool:
    """Whether a resource that is there has it: given, filled in, or made by the engine."""
    return field.computed or field.required or field.default is not None

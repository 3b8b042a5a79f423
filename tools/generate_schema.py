"""Make schema.json, the package's description for every Pulumi language, from the declaration.

``--check`` compares with the committed file instead of writing it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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

SCHEMA = Path(__file__).resolve().parents[1] / "schema.json"
PACKAGE = "clonepool"
DERIVED = "Left out, it is made from the project, the stack and the resource's own name."
SCALARS = {Kind.INT: "integer", Kind.BOOL: "boolean"}
SETTINGS: Mapping[str, Any] = {
    "endpoint": {
        "type": "string",
        "description": (
            "Where the engine listens: `unix:///path/engine.sock` or `tcp://host:port`. "
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
}


def camel(name: str) -> str:
    """``read_only`` as ``readOnly``."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def type_token(name: str) -> str:
    return f"{PACKAGE}:index:{name}"


class Schema:
    """Gathers the named types while resources and functions are described."""

    def __init__(self) -> None:
        self.types: dict[str, Any] = {}

    def describe(self) -> dict[str, Any]:
        resources = {type_token(item.name): self.resource(item) for item in RESOURCES}
        functions = {type_token(camel(item.name)): self.function(item) for item in FUNCTIONS}
        return {
            "name": PACKAGE,
            "displayName": "Clonepool",
            "version": clonepool.__version__,
            "description": "Server storage in milliseconds, from a pool of ready replicas.",
            "keywords": ["pulumi", "clonepool", "category/infrastructure", "kind/native"],
            "license": "Apache-2.0",
            "publisher": "The Clonepool authors",
            "config": {"variables": SETTINGS},
            "provider": {
                "description": "Which engine the resources belong to.",
                "inputProperties": SETTINGS,
            },
            "language": LANGUAGES,
            "types": dict(sorted(self.types.items())),
            "resources": resources,
            "functions": functions,
        }

    def resource(self, resource: Resource) -> dict[str, Any]:
        outputs = self.properties(resource.fields, with_defaults=False)
        inputs = self.properties(resource.inputs)
        state = self.properties(resource.fields, with_defaults=False)
        return {
            "description": resource.description,
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
            "description": function.description,
            "inputs": self.group(function.inputs),
            "outputs": self.group(function.outputs),
        }

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
        text = f"{field.description} {DERIVED}" if field.derived else field.description
        said = {**self.type(field.type), "description": text}
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
        return {"type": SCALARS.get(type_, "string")}

    def named(self, type_: EnumType | ObjectType) -> dict[str, Any]:
        token = type_token(type_.name)
        if token not in self.types:
            described = _enum(type_) if isinstance(type_, EnumType) else self.group(type_.fields)
            self.types[token] = {"description": type_.description, **described}
        return {"$ref": f"#/types/{token}"}


LANGUAGES: Mapping[str, Any] = {
    "go": {"generateResourceContainerTypes": True, "respectSchemaVersion": True},
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


def main() -> int:
    made = json.dumps(Schema().describe(), indent=2) + "\n"
    if "--check" not in sys.argv:
        SCHEMA.write_text(made)
        return 0
    if SCHEMA.exists() and SCHEMA.read_text() == made:
        return 0
    sys.stderr.write("schema.json is stale; run tools/generate_schema.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

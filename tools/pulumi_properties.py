"""Properties of a Pulumi schema as a page lists them, and the types that they are of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
_REFERENCE = "#/types/"


def listed(
    properties: Mapping[str, Any], *, schema: Schema, required: Iterable[str] = ()
) -> Iterator[str]:
    """The properties, a line each, those first that must be given."""
    needed = set(required)
    for title, names in (
        ("Required", [name for name in properties if name in needed]),
        ("Optional" if needed else "", [name for name in properties if name not in needed]),
    ):
        lines = "\n".join(_line(name, properties[name], schema) for name in names)
        if lines:
            yield f"### {title}\n\n{lines}" if title else lines


def supporting_types(properties: Mapping[str, Any], *, schema: Schema) -> Iterator[str]:
    """A section for each named type that the properties, or their types, are of."""
    tokens = sorted(set(_tokens(properties.values(), schema)), key=_name)
    if not tokens:
        return
    yield "## Supporting Types"
    for token in tokens:
        said = schema["types"][token]
        yield f"### {_name(token)}\n\n{said['description']}"
        if "enum" in said:
            yield "\n".join(_word(value) for value in said["enum"])
            continue
        needed = set(said.get("required", ()))
        yield "\n".join(
            _line(name, each, schema, is_required=name in needed)
            for name, each in said["properties"].items()
        )


def _line(name: str, said: Schema, schema: Schema, *, is_required: bool = False) -> str:
    marks = [_type(said, schema)]
    marks += ["required"] if is_required else []
    marks += ["secret"] if said.get("secret") else []
    words = [f"- `{name}` ({', '.join(marks)})", said["description"]]
    if "default" in said:
        words.append(f"Default: `{json.dumps(said['default'])}`.")
    if "defaultInfo" in said:
        variables = " or ".join(f"`{name}`" for name in said["defaultInfo"]["environment"])
        words.append(f"Environment: {variables}.")
    if said.get("willReplaceOnChanges"):
        words.append("**A change replaces the resource.**")
    return " ".join(words)


def _word(value: Schema) -> str:
    return f"- `{json.dumps(value['value'])}` (`{value['name']}`) {value['description']}"


def _type(said: Schema, schema: Schema) -> str:
    token = _token(said)
    if token is not None:
        return f"[{_name(token)}](#{_name(token).lower()})"
    if said.get("type") == "array":
        inner = said["items"]
        return f"list of {_type(inner, schema)}{'' if _token(inner) else 's'}"
    if "additionalProperties" in said:
        return f"map of {_type(said['additionalProperties'], schema)}s"
    return str(said["type"])


def _tokens(properties: Iterable[Schema], schema: Schema) -> Iterator[str]:
    for said in properties:
        inner = said.get("items", said)
        token = _token(inner)
        if token is not None:
            yield token
            yield from _tokens(schema["types"][token].get("properties", {}).values(), schema)


def _token(said: Schema) -> str | None:
    reference = said.get("$ref")
    return reference.removeprefix(_REFERENCE) if reference else None


def _name(token: str) -> str:
    return token.rsplit(":", 1)[-1]

"""An exported stack of the dynamic classes, turned into one of the plugin's types.

Pure: a deployment's JSON in, another one out. What each resource is in the engine stays as it is;
only the types in the state, the names of properties and what points at them are respelled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from clonepool.errors import FailedPrecondition, InvalidArgument
from clonepool_resources.declaration import RESOURCES
from clonepool_resources.types import Field, FieldType, ListOf, ObjectType, Resource, Value
from pulumi_clonepool_plugin.spelling import camel, path_to_pulumi, token_of

_DYNAMIC_TOKEN: Final = re.compile(r"\bpulumi-python:dynamic/clonepool:(\w+)")
_DYNAMIC_PROVIDER: Final = "pulumi:providers:pulumi-python"
_SIGNATURE_KEY: Final = "4dabf18193072939515e22adb298388d"
_TROUBLE: Final = "__trouble"
_DECLARED: Final = {resource.name: resource for resource in RESOURCES}

State = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Migrated:
    """The deployment as it is to be imported, and how many of its resources were turned."""

    state: State
    resources: int


def migrate(exported: Mapping[str, Any]) -> Migrated:
    """Turn what ``pulumi stack export`` printed. A stack without dynamic classes stays as it is.

    Raises InvalidArgument for what is no export, and FailedPrecondition where an update was cut
    off, or where an encrypted value hides names that would have to change.
    """
    deployment = exported.get("deployment")
    if not isinstance(deployment, dict) or not isinstance(deployment.get("resources"), list):
        raise InvalidArgument(
            "this is no exported stack; give what `pulumi stack export` printed", reason="BAD_STATE"
        )
    if deployment.get("pending_operations"):
        raise FailedPrecondition(
            "the stack has pending operations; run `pulumi refresh --clear-pending-creates`, "
            "export it again, then migrate"
        )
    turned = [_checked_turn(each, index) for index, each in enumerate(deployment["resources"])]
    found = [resource for resource in deployment["resources"] if _name_of(resource) in _DECLARED]
    kept = {**deployment, "resources": _without_unused_provider(_respell_urns(turned))}
    return Migrated(state={**exported, "deployment": kept}, resources=len(found))


def _name_of(resource: Mapping[str, Any]) -> str:
    match = _DYNAMIC_TOKEN.fullmatch(str(resource.get("type", "")))
    return match[1] if match else ""


def _checked_turn(resource: Any, index: int) -> State:
    urn = resource.get("urn") if isinstance(resource, dict) else None
    try:
        if not isinstance(urn, str):
            raise TypeError("it has no urn")
        return _turn(resource)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        which = f"resource {index + 1}" + (f" ({urn})" if isinstance(urn, str) else "")
        what = " ".join(str(error).split())
        text = f"{which} is not as `pulumi stack export` writes it ({what}); export it anew"
        raise InvalidArgument(text, reason="BAD_STATE") from None


def _turn(resource: State) -> State:
    declared = _DECLARED.get(_name_of(resource))
    if declared is None:
        return resource
    outputs = resource.get("outputs", {})
    turned = {
        **resource,
        "inputs": _respell(resource.get("inputs", {}), declared.inputs, of=resource["urn"]),
        "outputs": _respell(outputs, declared.fields, of=resource["urn"]),
        **_respelled_paths(resource, declared),
    }
    # without one Pulumi gives it the default provider, configured as the stack says
    turned.pop("provider", None)
    if outputs.get(_TROUBLE):
        # as the plugin's refresh would have said it
        turned["initErrors"] = [outputs[_TROUBLE]]
    return turned


def _respelled_paths(resource: State, declared: Resource) -> State:
    """The lists and maps of a state that name properties."""
    respelled: State = {}
    for key in ("additionalSecretOutputs", "ignoreChanges", "replaceOnChanges"):
        if key in resource:
            respelled[key] = [path_to_pulumi(path, declared.fields) for path in resource[key]]
    if "propertyDependencies" in resource:
        respelled["propertyDependencies"] = {
            camel(name): urns
            for name, urns in resource["propertyDependencies"].items()
            if not name.startswith("__")
        }
    return respelled


def _respell(values: Mapping[str, Value], fields: Iterable[Field], *, of: str) -> State:
    """Properties by Pulumi's names; hidden ones, and those that are null, go."""
    return {
        camel(field.name): _respell_value(values[field.name], field.type, of=of)
        for field in fields
        if values.get(field.name) is not None
    }


def _respell_value(value: Value, type_: FieldType, *, of: str) -> Value:
    if isinstance(value, Mapping) and _SIGNATURE_KEY in value:
        if _holds_names(type_):
            raise FailedPrecondition(
                f"{of}: an encrypted value holds properties that have other names in the plugin; "
                "export the stack with `pulumi stack export --show-secrets`, then migrate that"
            )
        return value
    if isinstance(type_, ObjectType) and isinstance(value, Mapping):
        return _respell(value, type_.fields, of=of)
    if isinstance(type_, ListOf) and isinstance(value, list):
        return [_respell_value(item, type_.item, of=of) for item in value]
    return value


def _holds_names(type_: FieldType) -> bool:
    """Whether a value of this type has properties whose names the plugin spells otherwise."""
    if isinstance(type_, ListOf):
        return _holds_names(type_.item)
    inner = type_.fields if isinstance(type_, ObjectType) else ()
    return any("_" in field.name or _holds_names(field.type) for field in inner)


def _respell_urns(value: Any) -> Any:
    """Every type of ours in a URN, wherever it stands: parents, dependencies, aliases, children."""
    if isinstance(value, dict):
        return {key: _respell_urns(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_respell_urns(item) for item in value]
    if isinstance(value, str) and "pulumi-python:dynamic/clonepool:" in value:
        return _DYNAMIC_TOKEN.sub(_token, value)
    return value


def _token(found: re.Match[str]) -> str:
    return token_of(found[1]) if found[1] in _DECLARED else found[0]


def _without_unused_provider(resources: list[State]) -> list[State]:
    """Leave out the provider of dynamic classes where nothing of it is left in the stack."""
    used = {str(resource.get("provider", "")).rpartition("::")[0] for resource in resources}
    return [
        resource
        for resource in resources
        if resource.get("type") != _DYNAMIC_PROVIDER or resource["urn"] in used
    ]

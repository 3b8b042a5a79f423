"""A program in the words of each ecosystem; whoever names another resource refers to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from clonepool_resources.declaration import resource
from pulumi_clonepool_plugin.spelling import to_pulumi
from terraform_clonepool.attributes import RESOURCES
from tests.faces.model import Program, Ref

TERRAFORM_TYPES = {managed.declared.name: managed.type_name for managed in RESOURCES}


def python_program(program: Program) -> str:
    """For the dynamic classes."""
    lines = ["import pulumi_clonepool as clonepool", ""]
    for each in program:
        given = "".join(f", {name}={_python(value)}" for name, value in each.inputs.items())
        lines.append(f"{each.label} = clonepool.{each.kind}({each.label!r}{given})")
    return "\n".join(lines) + "\n"


def yaml_program(program: Program) -> str:
    """For the plugin. JSON is YAML."""
    resources = {
        each.label: {
            "type": f"clonepool:{each.kind}",
            "properties": to_pulumi(
                _referring(each.inputs, lambda label: f"${{{label}.name}}"),
                resource(each.kind).inputs,
            ),
        }
        for each in program
    }
    return json.dumps({"resources": resources})[1:-1] + "\n"


def terraform_program(program: Program) -> str:
    """For Terraform, in its JSON syntax."""
    types = {each.label: TERRAFORM_TYPES[each.kind] for each in program}
    resources: dict[str, dict[str, Any]] = {}
    for each in program:
        inputs = _referring(each.inputs, lambda label: f"${{{types[label]}.{label}.name}}")
        resources.setdefault(types[each.label], {})[each.label] = inputs
    return json.dumps({"resource": resources})


def _python(value: Any) -> str:
    if isinstance(value, Ref):
        return value.label
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_python(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_python, value)) + "]"
    return repr(value)


def _referring(value: Any, spell: Callable[[str], str]) -> Any:
    if isinstance(value, Ref):
        return spell(value.label)
    if isinstance(value, Mapping):
        return {key: _referring(item, spell) for key, item in value.items()}
    if isinstance(value, list):
        return [_referring(item, spell) for item in value]
    return value

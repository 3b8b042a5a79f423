"""What a plan's resources depend on, as Pulumi and Terraform write that down."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

# What comes before each resource, by URN or address; also for what is no resource of ours.
Before: TypeAlias = dict[str, set[str]]

_INDEX: Final = re.compile(r'\[(?:"(?:[^"\\]|\\.)*"|[^\]"]*)\]')


def nearest(key: str, before: Mapping[str, Collection[str]], keys: Collection[str]) -> set[str]:
    """Those of ``keys`` that come before this one, with nothing of ``keys`` in between."""
    found, seen, left = set(), {key}, list(before.get(key, ()))
    while left:
        each = left.pop()
        if each in seen:
            continue
        seen.add(each)
        if each in keys:
            found.add(each)
        else:
            left.extend(before.get(each, ()))
    return found


def of_step(step: Mapping[str, Any]) -> set[str]:
    """The URNs that a step of `pulumi preview --json` names as what it needs."""
    new = step.get("newState") or {}
    found = set(new.get("dependencies") or ())
    for urns in (new.get("propertyDependencies") or {}).values():
        found.update(urns or ())
    if new.get("parent"):
        found.add(new["parent"])
    # URN::ID
    found.add((new.get("provider") or "").rpartition("::")[0])
    return found - {""}


def without_index(address: str) -> str:
    """``module.m[0].clonepool_server.s["a"]`` as it stands in the configuration."""
    return _INDEX.sub("", address)


def of_configuration(configuration: Mapping[str, Any]) -> Before:
    """By addresses without indexes: Terraform orders resources as a whole, not their instances.

    Locals are not in a plan's JSON, so what comes by way of them is not in this either.
    """
    before: Before = {}
    _module(configuration.get("root_module") or {}, "", before)
    return before


def _module(module: Mapping[str, Any], path: str, before: Before) -> None:
    for resource in module.get("resources") or ():
        node = path + resource["address"]
        before[node] = {
            f"{path}*",
            *_targets(_asked(resource), path),
            *_targets(resource.get("depends_on") or (), path, whole=True),
        }
        before.setdefault(path, set()).add(node)
    for name, output in (module.get("outputs") or {}).items():
        before[f"{path}output.{name}"] = {
            *_targets(_references(output.get("expression")), path),
            *_targets(output.get("depends_on") or (), path, whole=True),
        }
    for name, call in (module.get("module_calls") or {}).items():
        inner = f"{path}module.{name}."
        before.setdefault(path, set()).add(inner)
        before[f"{inner}*"] = {
            f"{path}*",
            *_targets(_references(call.get("count_expression")), path),
            *_targets(_references(call.get("for_each_expression")), path),
            *_targets(call.get("depends_on") or (), path, whole=True),
        }
        for variable, expression in (call.get("expressions") or {}).items():
            before[f"{inner}var.{variable}"] = _targets(_references(expression), path)
        _module(call.get("module") or {}, inner, before)


def _asked(resource: Mapping[str, Any]) -> Iterator[str]:
    for where in ("expressions", "count_expression", "for_each_expression"):
        yield from _references(resource.get(where))


def _references(expression: Any) -> Iterator[str]:
    """All that an expression, or a block of them, refers to."""
    if isinstance(expression, Mapping):
        for name, value in expression.items():
            if name == "references":
                yield from value
            elif name != "constant_value":
                yield from _references(value)
    elif isinstance(expression, list):
        for each in expression:
            yield from _references(each)


def _targets(references: Iterable[str], path: str, *, whole: bool = False) -> set[str]:
    """What they stand for, seen from the module at ``path``; ``whole``: a module is all of it."""
    found = set()
    for reference in references:
        parts = without_index(reference).split(".")
        if parts[0] == "module":
            # Terraform names module.m beside each module.m.output: that alone says nothing
            if len(parts) > 2:  # noqa: PLR2004 - module, its name, its output
                found.add(f"{path}module.{parts[1]}.output.{parts[2]}")
            elif whole:
                found.add(f"{path}module.{parts[1]}.")
        else:
            found.add(path + ".".join(parts[: 3 if parts[0] == "data" else 2]))
    return found

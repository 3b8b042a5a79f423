"""What went wrong, as Terraform shows it: a summary, the way out, and the attribute it is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from clonepool.errors import AlreadyExists, ClonepoolError, FieldViolation
from clonepool_resources.types import Field, FieldType, ListOf, MapOf, ObjectType
from terraform_clonepool.proto import tfplugin6_pb2 as pb

_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_ERROR: Final = pb.Diagnostic.ERROR
_WARNING: Final = pb.Diagnostic.WARNING


def failure(summary: str, detail: str, *, attribute: str = "") -> pb.Diagnostic:
    """One error; ``attribute`` is one at the top level."""
    return _diagnostic(_ERROR, summary, detail, [attribute] if attribute else [])


def warning(summary: str, detail: str, *, attribute: str = "") -> pb.Diagnostic:
    """One warning, likewise."""
    return _diagnostic(_WARNING, summary, detail, [attribute] if attribute else [])


def violations(found: Iterable[FieldViolation], fields: Iterable[Field]) -> Iterator[pb.Diagnostic]:
    """One error for each field that was refused, at its attribute."""
    known = tuple(fields)
    for violation in found:
        steps = _shown_steps(attribute_steps(violation.field, known))
        summary = f"Invalid {violation.field}"
        yield _diagnostic(_ERROR, summary, f"{violation.field}: {violation.description}", steps)


def errors(
    error: ClonepoolError, fields: Iterable[Field], *, doing: str, type_name: str = ""
) -> list[pb.Diagnostic]:
    """What an error kind says; ``doing`` begins the summary ("Creating pool web")."""
    if error.violations:
        return list(violations(error.violations, fields))
    detail = str(error)
    if isinstance(error, AlreadyExists) and error.metadata.get("id"):
        detail = f"{detail}\n\n{_how_to_import(type_name, error.metadata['id'])}"
    return [failure(f"{doing} failed", detail)]


def defect(error: Exception, *, doing: str) -> pb.Diagnostic:
    """What must not happen."""
    return failure(
        f"{doing} failed: {type(error).__name__}",
        f"{error}\n\nThis is a defect of the Clonepool provider; TF_LOG=ERROR shows where.",
    )


def attribute_steps(path: str, fields: Iterable[Field]) -> list[str | int | pb.AttributePath.Step]:
    """The steps of ``scrub.threshold``, ``preconfigure[0].path`` or ``labels.some.key``.

    A map's key may hold dots, so the declaration says where one begins. What it does not know
    ends the path: an attribute near the trouble is better than none.
    """
    steps: list[str | int | pb.AttributePath.Step] = []
    here: FieldType | None = ObjectType(name="", description="", fields=tuple(fields))
    position = 0
    while position < len(path):
        if isinstance(here, MapOf):
            # the engine's own spelling is labels['some.key']
            key = path[position:].removeprefix("['").removesuffix("']")
            steps.append(pb.AttributePath.Step(element_key_string=key))
            break
        match = _STEP.match(path, position)
        here = _inside(here, match) if match else None
        if match is None or here is None:
            break
        steps.append(match[1] or int(match[2]))
        position = match.end() + (path[match.end() : match.end() + 1] == ".")
    return steps


def attribute_path(steps: Iterable[str | int | pb.AttributePath.Step]) -> pb.AttributePath:
    """The message for a path."""
    return pb.AttributePath(steps=[_step(step) for step in steps])


def _shown_steps(
    steps: Sequence[str | int | pb.AttributePath.Step],
) -> Sequence[str | int | pb.AttributePath.Step]:
    """As far as Terraform finds a line: an attribute, or an item or key of it.

    Any deeper, and it shows the line of the whole resource; the summary has the path in full.
    """
    has_index = len(steps) > 1 and not isinstance(steps[1], str)
    return steps[: 2 if has_index else 1]


def _inside(type_: FieldType | None, match: re.Match[str]) -> FieldType | None:
    if isinstance(type_, ListOf) and match[2]:
        return type_.item
    if isinstance(type_, ObjectType) and match[1]:
        return next((field.type for field in type_.fields if field.name == match[1]), None)
    return None


def _step(step: str | int | pb.AttributePath.Step) -> pb.AttributePath.Step:
    if isinstance(step, pb.AttributePath.Step):
        return step
    if isinstance(step, int):
        return pb.AttributePath.Step(element_key_int=step)
    return pb.AttributePath.Step(attribute_name=step)


def _diagnostic(
    severity: pb.Diagnostic.Severity.ValueType,
    summary: str,
    detail: str,
    steps: Iterable[str | int | pb.AttributePath.Step],
) -> pb.Diagnostic:
    path = attribute_path(steps)
    return pb.Diagnostic(
        severity=severity,
        summary=summary,
        detail=detail,
        attribute=path if path.steps else None,
    )


def _how_to_import(type_name: str, object_id: str) -> str:
    command = f"terraform import {type_name}.NAME {object_id}"
    which = "If a run that was killed left it, or to manage it here all the same"
    return f"{which}, bring it into the state:\n  {command}"

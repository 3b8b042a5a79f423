"""What a user declares and what comes of it, in the words of no ecosystem."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

AWAY: Final = "unix:///nowhere/engine.sock"
# a machine under load takes long
PATIENCE_S: Final = 120.0


class Face(StrEnum):
    """How an engine is declared to."""

    DYNAMIC = "dynamic"
    PLUGIN = "plugin"
    TERRAFORM = "terraform"


class Unknown:
    """The type of ``UNKNOWN``: what is only known after the apply."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """It with every value in it changed, from the outside in."""
    changed = change(value)
    if isinstance(changed, Mapping):
        return {key: mapped(item, change) for key, item in changed.items()}
    if isinstance(changed, list):
        return [mapped(item, change) for item in changed]
    return changed


def with_unknowns(value: Any, sentinel: Any) -> Any:
    """It with an ecosystem's own mark in the place of every ``UNKNOWN``."""
    return mapped(value, lambda each: sentinel if each is UNKNOWN else each)


@dataclass(frozen=True, kw_only=True)
class Ref:
    """The name of another resource of the same program."""

    label: str


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One resource of a program. ``kind`` and the inputs' names are the declaration's own.

    ``options``: what an ecosystem says beside the inputs (``create_timeout_s``).
    """

    kind: str
    label: str
    inputs: Mapping[str, Any]
    create_timeout_s: float = 0.0

    def but(self, **inputs: Any) -> Declared:
        """It with other inputs; None takes one away."""
        changed = {**self.inputs, **inputs}
        kept = {name: value for name, value in changed.items() if value is not None}
        return Declared(
            kind=self.kind,
            label=self.label,
            inputs=kept,
            create_timeout_s=self.create_timeout_s,
        )


Program = Sequence[Declared]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What would be done with one resource.

    ``action`` is create, update, replace, delete or none; ``replaces`` the inputs that force a
    replacement; ``unknown`` the outputs that only the apply can tell; ``inputs`` with the defaults.
    """

    action: str
    replaces: Sequence[str] = ()
    unknown: frozenset[str] = frozenset()
    inputs: Mapping[str, Any] = field(default_factory=dict)


Plan = Mapping[str, Planned]


class Refused(Exception):
    """What a user is told in the place of what was wanted. ``paths``: what is wrong, by input."""

    def __init__(self, text: str, *, paths: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.text = " ".join(text.split())
        self.paths = dict(paths or {})

    def lacks(self, *words: str) -> list[str]:
        """Which of the words it does not say."""
        said = self.says(*words)
        return [word for word in words if word not in said]

    def says(self, *words: str) -> list[str]:
        """Which of the words it says; a field may be spelled as the ecosystem does."""
        told = snake(self.text)
        return [word for word in words if snake(word) in told]


def snake(text: str) -> str:
    """A text with its ``camelCase`` words as ``snake_case``."""
    return re.sub(r"(?<=[a-z])([A-Z])(?=[a-z])", lambda found: f"_{found[0].lower()}", text)


def resolved(value: Any, names: Mapping[str, Any]) -> Any:
    """A value with names in the place of references."""
    if isinstance(value, Ref):
        return names[value.label]
    if isinstance(value, Mapping):
        return {key: resolved(item, names) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolved(item, names) for item in value]
    return value

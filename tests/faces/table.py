"""What a case is: its name, what is done, and what must come of it on every face."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.faces.bench import Bench
from tests.faces.differences import Difference
from tests.faces.model import Face

Outcome = Mapping[str, Any]


class Level(StrEnum):
    """What drives a case: the provider's own protocol, or the ecosystem's command line."""

    PROVIDER = "provider"
    COMMAND_LINE = "command line"


@dataclass(frozen=True, kw_only=True)
class Case:
    """``name`` states the behaviour; ``expect`` is its outcome.

    ``differs``: where an ecosystem truly differs, the parts of the outcome that it has otherwise.
    ``marks``: what the case needs of the machine.
    """

    name: str
    play: Callable[[Bench], Outcome]
    expect: Outcome
    differs: Mapping[Difference, Mapping[Face, Outcome]] = field(default_factory=dict)
    level: Level = Level.PROVIDER
    marks: tuple[str, ...] = ()

    def expected(self, face: Face) -> Outcome:
        """The outcome on one face."""
        own = [faces[face] for faces in self.differs.values() if face in faces]
        return {name: value for part in (self.expect, *own) for name, value in part.items()}

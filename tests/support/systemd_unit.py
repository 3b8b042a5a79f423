"""A systemd unit as a file: the words of its command and its environment, without systemd."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "systemd"


class Unit:
    """One unit; a key may be given several times."""

    def __init__(self, path: Path) -> None:
        self._values: dict[str, list[str]] = {}
        for line in path.read_text().splitlines():
            key, separator, value = line.partition("=")
            if separator and not line.startswith(("#", ";")):
                self._values.setdefault(key, []).append(value)

    def all(self, key: str) -> Sequence[str]:
        """Every value of a key, in order."""
        return self._values.get(key, [])

    @property
    def environment(self) -> Mapping[str, str]:
        """What ``Environment`` sets."""
        return dict(value.split("=", 1) for value in self.all("Environment"))

    def command(self, environment: Mapping[str, str]) -> list[str]:
        """The words of ``ExecStart``, with ``${NAME}`` put in from the environment."""
        (line,) = self.all("ExecStart")
        return [
            re.sub(r"\$\{(\w+)\}", lambda found: environment[found[1]], word)
            for word in line.split()
        ]

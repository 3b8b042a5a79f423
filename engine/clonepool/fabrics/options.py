"""Reading a driver's options: only the names it knows, each as the type it needs."""

from __future__ import annotations

from collections.abc import Mapping

from clonepool.config import DriverSettings
from clonepool.errors import InvalidArgument
from clonepool.units import parse_duration


class Options:
    """The options of one configured fabric.

    ``known`` maps each option's name to one line of help. An option outside it raises
    InvalidArgument naming all that are known: a misspelt option is never silently ignored.
    """

    def __init__(self, settings: DriverSettings, *, known: Mapping[str, str]) -> None:
        self._values = settings.options
        self._where = f"fabrics.{settings.name}"
        for name in settings.options:
            if name not in known:
                names = ", ".join(sorted(known)) or "none"
                raise InvalidArgument.field(
                    f"{self._where}.{name}",
                    f"the {settings.driver} fabric has no such option; known: {names}",
                )

    def text(self, name: str, *, default: str) -> str:
        """An option as written, without surrounding blanks."""
        return self._values.get(name, default).strip()

    def choice(self, name: str, *, default: str, choices: tuple[str, ...]) -> str:
        """One word out of ``choices``."""
        value = self.text(name, default=default)
        if value not in choices:
            raise self.refuse(name, f"{value!r} is not one of {', '.join(choices)}")
        return value

    def whole_number(self, name: str, *, default: int, least: int, most: int) -> int:
        """A whole number from ``least`` to ``most``."""
        text = self.text(name, default=str(default))
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise self.refuse(name, f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    def duration_s(self, name: str, *, default: str) -> float:
        """A duration such as ``10s``, in seconds."""
        return parse_duration(self.text(name, default=default), field=f"{self._where}.{name}")

    def refuse(self, name: str, why: str) -> InvalidArgument:
        """The error for an option whose value can't be used."""
        return InvalidArgument.field(f"{self._where}.{name}", why)

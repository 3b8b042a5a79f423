"""Tables of the settings file: unknown keys refused with the nearest, drivers with options."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clonepool.backends import limits
from clonepool.config import DriverSettings
from clonepool.errors import InvalidArgument


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a value was read: a file, the environment or the flags; names it in errors."""

    source: str
    prefix: str
    upper: bool = False

    def name(self, key: str) -> str:
        """The key as the user wrote it."""
        if self.source == "flags":
            return f"--{key.replace('_', '-')}"
        return self.prefix + (key.upper() if self.upper else key)

    def inside(self, key: str) -> Place:
        """The table ``key`` of this place."""
        return Place(source=self.source, prefix=f"{self.prefix}{key}.", upper=self.upper)

    def refuse(self, key: str, why: str) -> InvalidArgument:
        """The error for a value that can't be used; names the file where it is from one."""
        text = f"{self.name(key)} {why}"
        if self.source not in ("flags", "environment"):
            text = f"{self.source}: {text}" if key != "config" else f"{self.source} {why}"
        error = InvalidArgument.field(self.name(key), why)
        return InvalidArgument(text, reason=error.reason, violations=error.violations)


def refuse_unknown(table: Mapping[str, Any], *, known: Iterable[str], place: Place) -> None:
    """Raise InvalidArgument for a key that is not known, naming the nearest that is."""
    names = list(known)
    for key in table:
        if key in names:
            continue
        near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
        way_out = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(names))}"
        raise place.refuse(key, f"is no setting; {way_out}")


def read_table(document: Mapping[str, Any], key: str, *, place: Place) -> Mapping[str, Any]:
    """The table ``key``, empty when absent."""
    table = document.get(key, {})
    if not isinstance(table, dict):
        raise place.refuse(key, f"must be a table: write [{place.name(key)}]")
    return table


def read_drivers(
    document: Mapping[str, Any], section: str, *, place: Place, always: Mapping[str, str]
) -> dict[str, DriverSettings]:
    """The storages or fabrics by name; those of ``always`` are there with their drivers."""
    tables = read_table(document, section, place=place)
    inside = place.inside(section)
    drivers = {}
    for name in {**always, **tables}:
        table = read_table(tables, name, place=inside)
        drivers[name] = _driver(
            name, table, place=inside.inside(name), default=always.get(name, "")
        )
    return drivers


def _driver(name: str, table: Mapping[str, Any], *, place: Place, default: str) -> DriverSettings:
    driver = table.get("driver", default)
    if not isinstance(driver, str) or not driver:
        raise place.refuse("driver", "must name a driver, such as file or iscsi")
    options = {
        key: _option(value, key, place=place) for key, value in table.items() if key != "driver"
    }
    for key in limits.OPTIONS.keys() & options.keys():
        _check_limit(key, options[key], place=place)
    return DriverSettings(name=name, driver=driver, options=options)


def _option(value: Any, key: str, *, place: Place) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (str, int)) or (isinstance(value, float) and key in limits.RATIOS):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    raise place.refuse(key, f"must be a text, a whole number, yes or no, not {value!r}")


def _check_limit(key: str, text: str, *, place: Place) -> None:
    try:
        limits.OPTIONS[key](text)
    except ValueError as refused:
        raise place.refuse(key, str(refused)) from None

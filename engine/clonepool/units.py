"""Sizes and durations: strings with a unit in, bytes and seconds out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from clonepool.errors import InvalidArgument

_SIZE_UNITS: Final = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "PB": 10**15,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "PiB": 2**50,
}
_DURATION_UNITS: Final[Mapping[str, Fraction]] = {
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
    "w": Fraction(604800),
}
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)")
_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")
# SQLite's and protobuf's largest signed integer: a size beyond it cannot be stored
MAX_SIZE_BYTES: Final = 2**63 - 1
# longer is no number that fits: unbounded digits would cost time, and an error of Python's own
_MAX_CHARS: Final = 40
MAX_DURATION_S: Final = 100 * 365 * 86400


def parse_size(text: str, *, field: str = "size") -> int:
    """Bytes of ``10GiB``, ``1.5TB``, ``512B``. Raises InvalidArgument naming ``field``."""
    match = _SIZE.fullmatch(text.strip()[:_MAX_CHARS])
    unit = _SIZE_UNITS.get(match[2]) if match else None
    if match is None or unit is None:
        raise InvalidArgument.field(
            field, f"{text[:40]!r} is not a size; write a number and a unit, such as 10GiB or 500MB"
        )
    size = Fraction(match[1]) * unit
    if size.denominator != 1:
        raise InvalidArgument.field(field, f"{text!r} is not a whole number of bytes")
    if not 0 < size <= MAX_SIZE_BYTES:
        raise InvalidArgument.field(field, f"{text!r} must be more than 0 and below 8 EiB")
    return int(size)


def format_size(size_bytes: int) -> str:
    """A size for people: ``10 GiB``, ``1.5 MiB``, ``512 B`` (binary units, one decimal)."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024:  # noqa: PLR2004 - the step between binary units
            return f"{value:.0f} {unit}" if value == int(value) else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} PiB"


def parse_duration(text: str, *, field: str = "duration") -> float:
    """Seconds of ``30s``, ``1h30m``, ``250ms``, ``7d``. Raises InvalidArgument naming ``field``."""
    compact = text.strip()[:_MAX_CHARS]
    parts = _DURATION_PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise InvalidArgument.field(
            field, f"{text[:40]!r} is not a duration; write a number and a unit, such as 30s or 7d"
        )
    seconds = sum((Fraction(number) * _DURATION_UNITS[unit] for number, unit in parts), Fraction(0))
    if seconds > MAX_DURATION_S:
        raise InvalidArgument.field(field, f"{text!r} is longer than 100 years")
    return float(seconds)


def format_duration(seconds: float) -> str:
    """A duration for people: ``2h 5m``, ``14m``, ``3.2s``, ``12ms``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{seconds:.1f}s" if seconds != int(seconds) else f"{int(seconds)}s"
    left, words = int(seconds), []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            words.append(f"{count}{unit}")
    return " ".join(words[:2])

"""Windows of the week in which scrubbing may run, such as ``mon-fri 22:00-06:00``.

Times are UTC. Days before them (``mon-fri``, ``sat,sun``) say on which days a window opens; without
days it opens every day. One that ends before it begins goes on into the next day.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from clonepool.errors import InvalidArgument

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES_A_DAY: Final = 24 * 60
_DAY: Final = "|".join(_DAYS)
_CLOCK: Final = r"([01][0-9]|2[0-3]):([0-5][0-9])"
_WINDOW: Final = re.compile(
    rf"(?:((?:{_DAY})(?:[,-](?:{_DAY}))*) )?{_CLOCK}-(?:{_CLOCK}|(24):(00))"
)
HINT: Final = (
    "write UTC times as 22:00-06:00, with days as mon-fri 22:00-06:00 or sat,sun 00:00-24:00"
)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A window: the days on which it opens (0 is Monday), and its minutes from midnight.

    ``ends`` is beyond a day's minutes where it goes on into the next day.
    """

    days: frozenset[int]
    begins: int
    ends: int


def parse_window(text: str, *, field: str = "window") -> Window:
    """A window as written. Raises InvalidArgument naming ``field``."""
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise InvalidArgument.field(field, f"{text[:60]!r} is no window; {HINT}")
    days = _days(match[1], field=field) if match[1] else frozenset(range(len(_DAYS)))
    begins = int(match[2]) * 60 + int(match[3])
    ends = int(match[4] or match[6]) * 60 + int(match[5] or match[7])
    if begins == ends:
        raise InvalidArgument.field(field, f"{text!r} is empty; {HINT}")
    return Window(days=days, begins=begins, ends=ends if ends > begins else ends + _MINUTES_A_DAY)


def _days(text: str, *, field: str) -> frozenset[int]:
    """``mon-fri``, ``sat,sun``, ``fri-mon``, and lists of both."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if "-" in last:
            raise InvalidArgument.field(field, f"{part!r} is no range of days; {HINT}")
        day, end = _DAYS.index(first), _DAYS.index(last or first)
        found.add(day)
        while day != end:
            day = (day + 1) % len(_DAYS)
            found.add(day)
    return frozenset(found)


def is_open(windows: Iterable[str], *, at: float) -> bool:
    """Whether any of the windows is open at a POSIX time; without windows it always is."""
    parsed = [parse_window(text) for text in windows]
    if not parsed:
        return True
    now = datetime.fromtimestamp(at, tz=UTC)
    minute = now.hour * 60 + now.minute
    yesterday = (now.weekday() - 1) % len(_DAYS)
    return any(
        (now.weekday() in window.days and window.begins <= minute < window.ends)
        or (yesterday in window.days and minute + _MINUTES_A_DAY < window.ends)
        for window in parsed
    )


def next_opening(windows: Iterable[str], *, at: float) -> float:
    """When one of the windows opens next, as a POSIX time; ``at`` itself while one is open."""
    windows = tuple(windows)
    if is_open(windows, at=at):
        return at
    now = datetime.fromtimestamp(at, tz=UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    openings = [
        midnight + timedelta(days=ahead, minutes=window.begins)
        for window in map(parse_window, windows)
        for ahead in range(len(_DAYS) + 1)
        if (now.weekday() + ahead) % len(_DAYS) in window.days
    ]
    return min(opening for opening in openings if opening > now).timestamp()

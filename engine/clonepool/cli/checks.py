"""One thing that `clonepool doctor` looked at."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Final

OK: Final = "OK"
WARN: Final = "WARN"
FAIL: Final = "FAIL"


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was looked at, how it is, and how to mend it ("" where nothing is to be mended).

    WARN leaves something out that not everybody needs; FAIL keeps the engine from working.
    """

    name: str
    level: str
    detail: str
    mend: str = ""


def good(name: str, detail: str) -> Check:
    """A check that found what it looked for."""
    return Check(name=name, level=OK, detail=detail)


def lacking(name: str, detail: str, mend: str) -> Check:
    """Something is left out."""
    return Check(name=name, level=WARN, detail=detail, mend=mend)


def broken(name: str, detail: str, mend: str) -> Check:
    """The engine can't work so."""
    return Check(name=name, level=FAIL, detail=detail, mend=mend)


def find_other_system() -> str | None:
    """The name of this system where no engine can run on it; None on Linux."""
    system = platform.system() or "an unknown system"
    return None if system == "Linux" else system

"""The options that every storage has, whatever its driver: what is kept free, what is promised."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from clonepool.config import DriverSettings
from clonepool.domain.capacity import Limits
from clonepool.errors import InvalidArgument
from clonepool.units import parse_size

_DEFAULT_RESERVE: Final = "5%"
_DEFAULT_WARN_BELOW: Final = "10%"
_NO_LIMIT: Final = "none"
_PERCENT: Final = re.compile(r"(\d{1,2}(\.\d{1,6})?)%")
_RATIO: Final = re.compile(r"\d{1,4}(\.\d{1,6})?")


def _share(text: str) -> float | None:
    """The share that a percentage is of the whole; None where it is none."""
    found = _PERCENT.fullmatch(text)
    return float(found.group(1)) / 100 if found else None


def _check_amount(text: str) -> None:
    if _share(text) is None:
        try:
            parse_size(text)
        except InvalidArgument:
            raise ValueError(f"{text!r} must be a size or 0% to 99%, such as 5%") from None


def _check_ratio(text: str) -> None:
    good = text == _NO_LIMIT or (_RATIO.fullmatch(text) is not None and float(text) >= 1)
    if not good:
        raise ValueError(f"{text!r} must be none, or a number from 1 to 9999, such as 1.5")


OPTIONS: Final[Mapping[str, Callable[[str], None]]] = MappingProxyType(
    {"reserve": _check_amount, "overcommit": _check_ratio, "warn_below": _check_amount}
)
# those that may be written without quotes though they are no whole numbers
RATIOS: Final = frozenset({"overcommit"})


def drivers_own(options: Mapping[str, str]) -> dict[str, str]:
    """The options without those that every storage has."""
    return {key: value for key, value in options.items() if key not in OPTIONS}


def limits_of(settings: DriverSettings, *, total_bytes: int) -> Limits:
    """What the settings say of a storage of this size. Raises InvalidArgument."""
    for key, check in OPTIONS.items():
        try:
            check(settings.options.get(key, _default_of(key)))
        except ValueError as refused:
            raise InvalidArgument.field(f"storages.{settings.name}.{key}", str(refused)) from None
    reserve_bytes = _amount(settings, "reserve", total_bytes)
    ratio = settings.options.get("overcommit", _NO_LIMIT)
    return Limits(
        reserve_bytes=reserve_bytes,
        overcommit=None if ratio == _NO_LIMIT else float(ratio),
        # what is in reserve is not to be used, so it is too late there
        warn_bytes=max(reserve_bytes, _amount(settings, "warn_below", total_bytes)),
    )


def _default_of(key: str) -> str:
    defaults = {"reserve": _DEFAULT_RESERVE, "warn_below": _DEFAULT_WARN_BELOW}
    return defaults.get(key, _NO_LIMIT)


def _amount(settings: DriverSettings, key: str, total_bytes: int) -> int:
    text = settings.options.get(key, _default_of(key))
    share = _share(text)
    return parse_size(text) if share is None else int(total_bytes * share)

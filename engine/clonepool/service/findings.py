"""What is wrong with a request, collected by field path, and the small checks that collect it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from clonepool.errors import FieldViolation, InvalidArgument

NAME: Final = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
_NAME_RULE: Final = (
    "1 to 63 characters from a-z 0-9 . _ -, the first and the last a letter or a digit"
)
# RFC 3720: iqn.<year-month>.<reversed domain>[:<anything>]; eui. and naa. hold hexadecimal digits
_INITIATOR: Final = re.compile(
    r"iqn\.\d{4}-(0[1-9]|1[0-2])\.[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[a-z0-9.:_-]+)?"
    r"|eui\.[0-9a-f]{16}|naa\.([0-9a-f]{16}|[0-9a-f]{32})"
)
_INITIATOR_LIMIT_CHARS: Final = 223
_LABELS_LIMIT: Final = 64
_LABEL_KEY_LIMIT_CHARS: Final = 63
_LABEL_VALUE_LIMIT_CHARS: Final = 255


class Findings:
    """The violations of one request; ``refuse`` raises them all at once."""

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def add(self, field: str, description: str) -> None:
        """Note that ``field`` is refused, and why."""
        self._violations.append(FieldViolation(field=field, description=description))

    def require(self, condition: object, field: str, description: str) -> bool:
        """Note a violation unless ``condition`` holds; returns whether it does."""
        if not condition:
            self.add(field, description)
        return bool(condition)

    def refuse(self) -> None:
        """Raise InvalidArgument with every violation; nothing when there is none."""
        if not self._violations:
            return
        text = "; ".join(f"{found.field}: {found.description}" for found in self._violations)
        raise InvalidArgument(text, reason="BAD_FIELD", violations=self._violations)

    def name(self, value: str, field: str) -> None:
        """A name of ours is needed."""
        self.require(NAME.fullmatch(value), field, f"{_shown(value)} is not a name: {_NAME_RULE}")

    def optional_name(self, value: str, field: str) -> None:
        """A name of ours, or "" for the default."""
        if value:
            self.name(value, field)

    def not_negative(self, value: int, field: str) -> None:
        """A count or size that can't be below zero."""
        self.require(value >= 0, field, f"{value} must not be below 0")

    def choice(self, value: str, allowed: Iterable[StrEnum], field: str) -> None:
        """One of an enumeration's values, or "" for the default."""
        words = [str(word) for word in allowed]
        if value and value not in words:
            self.add(field, f"{_shown(value)} must be one of: {', '.join(words)}")

    def text(self, value: str, field: str, *, limit: int) -> None:
        """One line of printable text without spaces around it."""
        good = 0 < len(value) <= limit and value.isprintable() and value == value.strip()
        self.require(
            good,
            field,
            f"{_shown(value)} must be 1 to {limit} printable characters, no spaces around",
        )

    def initiator(self, value: str, field: str) -> None:
        """An iSCSI initiator name in any case."""
        name = value.lower()
        good = len(name) <= _INITIATOR_LIMIT_CHARS and _INITIATOR.fullmatch(name)
        self.require(
            good,
            field,
            f"{_shown(value)} is not an initiator name; write one such as "
            "iqn.2026-01.com.example:web1",
        )

    def labels(self, value: Mapping[str, str], field: str) -> None:
        """Labels within their limits."""
        self.require(len(value) <= _LABELS_LIMIT, field, f"at most {_LABELS_LIMIT} labels")
        for key, text in list(value.items())[: _LABELS_LIMIT + 1]:
            self.text(key, f"{field}[{key[:20]!r}]", limit=_LABEL_KEY_LIMIT_CHARS)
            good = len(text) <= _LABEL_VALUE_LIMIT_CHARS and (text == "" or text.isprintable())
            self.require(
                good,
                f"{field}[{key[:20]!r}]",
                f"the value must be at most {_LABEL_VALUE_LIMIT_CHARS} printable characters",
            )


def _shown(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:40] + "…")  # noqa: PLR2004 - to read

"""The chain of the audit: who had which volume when, and how its bytes were erased after it.

Each entry holds the hash of the one before it, and its own is SHA-256 of its canonical JSON, so
that none can be taken out, changed or moved without breaking the chain. There are two kinds:
``held`` (one attachment had one generation of a volume, from when to when; written when it is
released) and ``scrubbed`` (that generation's bytes are erased).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from clonepool.domain.content import canonical
from clonepool.domain.model import SystemUser

HELD: Final = "held"
SCRUBBED: Final = "scrubbed"
FORMAT: Final = "clonepool-audit-1"


def genesis(engine_id: str) -> str:
    """What the first entry of an engine's chain has in the place of the hash before it."""
    return hashlib.sha256(f"{FORMAT} {engine_id}".encode()).hexdigest()


def sealed(*, n: int, previous: str, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """An entry as it is hashed; ``n`` counts from 1 without gaps."""
    return {"n": n, "previous": previous, "kind": kind, **body}


def entry_hash(entry: Mapping[str, Any]) -> str:
    """The hash of an entry: of its canonical JSON, without the hash itself."""
    return hashlib.sha256(canonical(dict(entry)).encode()).hexdigest()


def when(at: float | None) -> str | None:
    """A POSIX time as an auditor reads it, RFC 3339 in UTC to the microsecond."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="microseconds")


def named_user(user: SystemUser | None) -> dict[str, str] | None:
    """A system user's name and kind."""
    return {"name": user.name, "kind": user.kind.value} if user else None

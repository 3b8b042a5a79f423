"""What Ceph's bindings raise, as Clonepool's kinds of error."""

from __future__ import annotations

import errno
import os
from typing import Final

from clonepool.backends.rbd_watchdog import StillWaiting
from clonepool.errors import (
    STORAGE_FULL,
    ClonepoolError,
    Internal,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)

# the cluster shut this client out: only a new connection can go on
FENCED: Final = "STORAGE_FENCED"
AWAY: Final = "STORAGE_AWAY"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM})


def code_of(error: BaseException) -> int:
    """The errno of a bindings' error, positive; 0 where it has none."""
    code = getattr(error, "errno", None)
    return abs(code) if isinstance(code, int) else 0


def is_unanswered(error: BaseException) -> bool:
    """Whether to ask the cluster anything more would be in vain just now."""
    if isinstance(error, StillWaiting | Unavailable):
        return True
    return code_of(error) in {errno.ETIMEDOUT, errno.ESHUTDOWN}


def to_kind(error: Exception, *, doing: str, where: str, client: str) -> ClonepoolError:
    """The kind of one error; ``where`` names pool and configuration.

    Never NotFound: only a verb knows whether what is absent is the object that was asked for.
    """
    code = code_of(error)
    if code == errno.ETIMEDOUT:
        return unanswered(doing=doing, where=where)
    if code == errno.ESHUTDOWN:
        return Unavailable(
            f"{doing}: {where} has shut this engine's connection out (blocklisted); the next "
            "attempt makes a new one",
            reason=FENCED,
            retry_after_s=1.0,
        )
    if code in _FULL:
        return ResourceExhausted(
            f"{doing}: {where} is full, or at its quota; scrub released volumes (clonepool scrub "
            "run), delete images, or add space",
            reason=STORAGE_FULL,
        )
    if code in _FORBIDDEN:
        return PermissionDenied(
            f"{doing}: {where} refuses client.{client}: {_text(error)}; give it the capabilities "
            "mon 'profile rbd' and osd 'profile rbd' of this pool (docs/ceph.md)",
            reason="STORAGE_FORBIDDEN",
        )
    if code == 0:
        return Internal(f"{doing}: {error!r}")
    return Unavailable(
        f"{doing}: {where} answers: {_text(error)}; look at the cluster (ceph -s), then try again",
        reason="STORAGE_FAILED",
        retry_after_s=5.0,
    )


def unanswered(*, doing: str, where: str) -> Unavailable:
    """The cluster gave no answer within the time limits."""
    return Unavailable(
        f"{doing}: {where} gave no answer in time; the engine goes on by itself when monitors and "
        "OSDs are back (ceph -s says which are down)",
        reason=AWAY,
        retry_after_s=5.0,
    )


def _text(error: Exception) -> str:
    words = str(error)
    return words if code_of(error) == 0 else f"{words} ({os.strerror(code_of(error))})"

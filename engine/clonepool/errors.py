"""The kinds of error Clonepool raises, one class a kind, each kind one gRPC code.

A message names the thing, its state and the way out; ``clonepool.api.status`` maps the
kinds to gRPC and back, so a caller on either side of the wire catches the same classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

# the reason of a storage without space: it passes by itself once there is some
STORAGE_FULL: Final = "STORAGE_FULL"
# the reason of what fails because the database does not answer, and of nothing else
DATABASE_AWAY: Final = "DATABASE"


@dataclass(frozen=True, kw_only=True)
class FieldViolation:
    """One input field that was refused: its path (``scrub.threshold``) and why."""

    field: str
    description: str


class ClonepoolError(Exception):
    """Base of all kinds.

    ``reason`` is a stable UPPER_SNAKE word for programs, ``metadata`` its figures (strings),
    ``retry_after_s`` a hint in seconds where trying again can help, else None.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
        violations: Sequence[FieldViolation] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata)
        self.violations = tuple(violations)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message

    def one_line(self) -> str:
        """The message on one line, with the fields that it does not name already."""
        said = " ".join(str(self).split())
        more = [
            f"{violation.field}: {violation.description}"
            for violation in self.violations
            if violation.description not in said
        ]
        return "; ".join([said, *more])


class InvalidArgument(ClonepoolError):
    """The request can never succeed as written; ``violations`` name the fields."""

    @classmethod
    def field(cls, field: str, description: str) -> InvalidArgument:
        """Refuse one field by its path."""
        violation = FieldViolation(field=field, description=description)
        return cls(f"{field}: {description}", reason="BAD_FIELD", violations=(violation,))


class NotFound(ClonepoolError):
    """The named thing is not there (never was, or is gone)."""


class AlreadyExists(ClonepoolError):
    """The name is taken by something else; the message names its id and how to import it."""


class FailedPrecondition(ClonepoolError):
    """The thing is in a state that forbids this; the message names the way out."""


class ResourceExhausted(ClonepoolError):
    """No replica, no space or no slot left; the message gives the figures."""


class Unavailable(ClonepoolError):
    """A part that is needed is away or busy for now; try again."""


class Aborted(ClonepoolError):
    """Another change of the same thing came in between; read again and repeat."""


class DeadlineExceeded(ClonepoolError):
    """The time the caller gave ran out; what was begun goes on by itself."""


class Cancelled(ClonepoolError):
    """The caller, or a shutdown, ended this."""


class PermissionDenied(ClonepoolError):
    """The caller, or the engine's own user, lacks a right; the message names it."""


class Unauthenticated(ClonepoolError):
    """No valid token or client certificate came with the call."""


class Unimplemented(ClonepoolError):
    """This build or driver cannot do this."""


class DataLoss(ClonepoolError):
    """Bytes that should be there are not, or differ from their digest."""


class Internal(ClonepoolError):
    """A defect of Clonepool's own."""


class CommandError(ClonepoolError):
    """An outside command failed; a driver turns it into one of the kinds above, once."""

    def __init__(self, *, argv: Sequence[str], exit_code: int | None, stderr: str) -> None:
        self.argv = tuple(argv)
        self.exit_code = exit_code
        self.stderr = stderr.strip()
        how = "timed out" if exit_code is None else f"exited with {exit_code}"
        super().__init__(f"{argv[0]} {how}: {self.stderr or 'no message'}")

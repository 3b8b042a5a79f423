"""What a fabric is: exports made ahead of time, access granted last and revoked first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from clonepool.crash_points import Point, reach
from clonepool.domain.model import ChapAccount, Connection
from clonepool.domain.states import PortionRole
from clonepool.errors import ClonepoolError

_FAILURES_NAMED: Final = 5


@dataclass(frozen=True, kw_only=True)
class FabricCapabilities:
    """What this fabric can promise on this machine."""

    chap: bool
    needs_initiator: bool
    # how a write to the read-only portion is stopped: "lun", "bind", "mode"
    read_only_enforced_by: str
    # False where sessions can't be seen: a release then never finds the server busy
    sees_sessions: bool
    notes: str


@dataclass(frozen=True, kw_only=True)
class Lun:
    """One volume of an export. ``serial`` holds the volume's id and generation."""

    role: PortionRole
    path: Path
    size_bytes: int
    read_only: bool
    serial: str
    wwn: str


@dataclass(frozen=True, kw_only=True)
class ExportSpec:
    """A target and its volumes: the shared read-only one, the server's own, or both.

    ``target`` is the engine's own name (``[a-z0-9-]``, never reused); the fabric derives the name
    on the wire from it, such as an IQN with the configured prefix.
    """

    target: str
    luns: tuple[Lun, ...]


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who is admitted to a target. ``chap`` None only where the user asked for none."""

    initiator: str
    chap: ChapAccount | None


@dataclass(frozen=True, kw_only=True)
class DesiredExport:
    """An export as the engine's rows have it; ``access`` None admits nobody."""

    spec: ExportSpec
    access: Access | None


@dataclass(frozen=True, kw_only=True)
class FabricSession:
    """A server that is logged in (or a process that holds the path open)."""

    initiator: str
    detail: str


class Fabric(ABC):
    """Makes volumes reachable; every verb may be repeated. Thread-safe.

    Order for safety: ``export`` (read-only applied, nobody admitted), ``grant`` last; ``revoke``
    ends access and live sessions before ``unexport``. Nothing is ever added to or taken from a
    target with live sessions. Errors: Unavailable (daemon away, or sessions that would not end in
    time), AlreadyExists (a given CHAP user name in use), InvalidArgument (a path, name or secret
    the fabric can't carry), FailedPrecondition.
    """

    @abstractmethod
    def capabilities(self) -> FabricCapabilities:
        """What this fabric can promise here."""

    @abstractmethod
    def incarnation(self) -> str:
        """Changes whenever exports were lost (a daemon restart): the cue for ``reconcile``.

        Cheap enough to ask every second. Raises Unavailable when the daemon is away.
        """

    @abstractmethod
    def export(self, spec: ExportSpec) -> None:
        """Make the target with its LUNs, admitting nobody. Present with the same LUNs: no-op."""

    @abstractmethod
    def grant(self, spec: ExportSpec, access: Access) -> Connection:
        """Admit one initiator to an exported target; the last step of an attachment.

        Same access again: same answer. A different initiator or secret replaces the old access,
        ending its sessions first. Raises NotFound when the target is absent.
        """

    @abstractmethod
    def connection(self, spec: ExportSpec) -> Connection:
        """What ``grant`` answers, without granting."""

    @abstractmethod
    def sessions(self, target: str) -> tuple[FabricSession, ...]:
        """Who uses the target now; empty when it is absent."""

    @abstractmethod
    def revoke(self, target: str) -> None:
        """End access and every live session; returns only when none is left (absent: at once)."""

    @abstractmethod
    def unexport(self, target: str) -> None:
        """Remove the target, its LUNs and its account; revokes first where needed."""

    @abstractmethod
    def list(self) -> frozenset[str]:
        """The targets of ours (by prefix) that exist now."""

    def refresh(self) -> frozenset[str]:
        """Find out what was changed behind the engine's back; returns the targets put right.

        What was added (an initiator, a session, a LUN) is taken away beside live sessions of who is
        rightly there. What was removed, or can't be mended in place, is gone from ``list`` then:
        the caller makes it again. Done every few minutes, so it may cost something, but never more
        than servers bear. Raises Unavailable. Most fabrics keep no picture of what exists.
        """
        return frozenset()

    def reconcile(self, desired: Iterable[DesiredExport]) -> None:
        """Make the fabric equal ``desired``: strays go first, then exports, grants last.

        ``desired`` is read after what exists was listed, so that rows read lazily include every
        export made meanwhile. One target's failure stops no other: all are reported at the end,
        by the kind of the first.
        """
        existing = self.list()
        wanted = {export.spec.target: export for export in desired}
        failures: dict[str, ClonepoolError] = {}
        for stray in existing - wanted.keys():
            _attempt(failures, stray, partial(self.unexport, stray))
        for target, export in wanted.items():
            _attempt(failures, target, partial(self.export, export.spec))
        for target, export in wanted.items():
            if export.access is None and target not in failures:
                _attempt(failures, target, partial(self.revoke, target))
        for target, export in wanted.items():
            if export.access is not None and target not in failures:
                _attempt(failures, target, partial(self.grant, export.spec, export.access))
        if failures:
            raise _together(failures)

    def close(self) -> None:  # noqa: B027 - most fabrics hold nothing open
        """Let go of local resources; exports and sessions stay."""


def _attempt(failures: dict[str, ClonepoolError], target: str, verb: Callable[[], object]) -> None:
    reach(Point.RECONCILING)
    try:
        verb()
    except ClonepoolError as error:
        failures[target] = error


def _together(failures: Mapping[str, ClonepoolError]) -> ClonepoolError:
    first = next(iter(failures.values()))
    named = [f"{target}: {error}" for target, error in list(failures.items())[:_FAILURES_NAMED]]
    message = f"{len(failures)} export(s) could not be reconciled: {'; '.join(named)}"
    return type(first)(message, reason=first.reason, retry_after_s=first.retry_after_s)

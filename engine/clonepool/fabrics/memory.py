"""A fabric in memory, for tests: admits, refuses and cuts as a real one does, fails on demand."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from clonepool.config import DriverSettings
from clonepool.domain.model import ChapAccount, ConnectedVolume, Connection
from clonepool.domain.states import PortionRole
from clonepool.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from clonepool.fabrics.base import (
    Access,
    ExportSpec,
    Fabric,
    FabricCapabilities,
    FabricSession,
    Lun,
)
from clonepool.fabrics.options import Options

MEMORY_OPTIONS: Final[Mapping[str, str]] = MappingProxyType({})
_LUN_NUMBERS: Final = {PortionRole.READ_ONLY: 1, PortionRole.WRITABLE: 2}


class MemorySession:
    """A server's session; reads and writes the files behind the volumes while it lives."""

    def __init__(self, *, initiator: str, luns: tuple[Lun, ...]) -> None:
        self.initiator = initiator
        self.alive = True
        self._luns = {lun.role: lun for lun in luns}

    def read(self, role: PortionRole, offset: int, size_bytes: int) -> bytes:
        """Bytes of a volume. Raises Unavailable when the session was cut."""
        with self._open(role, os.O_RDONLY) as file:
            return os.pread(file.fileno(), size_bytes, offset)

    def write(self, role: PortionRole, offset: int, data: bytes) -> None:
        """Write through to a volume. Raises PermissionDenied on a read-only one."""
        if self._lun(role).read_only:
            raise PermissionDenied(f"the {role} volume is read-only")
        with self._open(role, os.O_RDWR) as file:
            os.pwrite(file.fileno(), data, offset)

    def is_alive(self) -> bool:
        """Whether it was neither cut nor closed."""
        return self.alive

    def close(self) -> None:
        """Log out."""
        self.alive = False

    def _lun(self, role: PortionRole) -> Lun:
        if not self.alive:
            raise Unavailable("the session is over")
        return self._luns[role]

    def _open(self, role: PortionRole, flags: int) -> _File:
        return _File(self._lun(role).path, flags)


class _File:
    def __init__(self, path: Path, flags: int) -> None:
        self._descriptor = os.open(path, flags)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor


@dataclass(kw_only=True)
class _Export:
    spec: ExportSpec
    access: Access | None = None
    guests: set[str] = field(default_factory=set)
    sessions: list[MemorySession] = field(default_factory=list)


def _no_fault(_step: str) -> None:
    pass


class MemoryFabric(Fabric):
    """Keeps exports in memory. Thread-safe.

    ``fault`` is called at the named steps ``VERB.begin`` (nothing done yet), ``VERB.half`` (access
    or target in between) and ``VERB.end`` (all done), and may raise what a crash or a refusal
    would. ``away`` makes every verb Unavailable; a target in ``stubborn`` keeps its sessions.
    """

    def __init__(self) -> None:
        self.fault: Callable[[str], None] = _no_fault
        self.away = False
        self.stubborn: set[str] = set()
        self._guard = threading.RLock()
        self._exports: dict[str, _Export] = {}
        self._starts = 1

    @classmethod
    def open(cls, settings: DriverSettings, *, state_dir: Path) -> MemoryFabric:  # noqa: ARG003
        """It has no options and keeps nothing on disk."""
        Options(settings, known=MEMORY_OPTIONS)
        return cls()

    def capabilities(self) -> FabricCapabilities:
        """Like iSCSI."""
        return FabricCapabilities(
            chap=True,
            needs_initiator=True,
            read_only_enforced_by="lun",
            sees_sessions=True,
            notes="in memory, for tests: no server can reach it",
        )

    def incarnation(self) -> str:
        """The number of the start."""
        self._must_be_there()
        return f"memory-{self._starts}"

    def restart(self) -> None:
        """Lose every export and session, as a daemon that dies."""
        with self._guard:
            for export in self._exports.values():
                _cut(export)
            self._exports.clear()
            self._starts += 1

    def export(self, spec: ExportSpec) -> None:
        """As Fabric."""
        self._step("export.begin")
        with self._guard:
            present = self._exports.get(spec.target)
            if present is None or present.spec != spec:
                if present is not None:
                    _cut(present)
                self._exports[spec.target] = _Export(spec=spec)
        self._step("export.end")

    def grant(self, spec: ExportSpec, access: Access) -> Connection:
        """As Fabric; a CHAP user name belongs to one target."""
        self._step("grant.begin")
        with self._guard:
            export = self._exports.get(spec.target)
            if export is None:
                raise NotFound(f"target {spec.target} is not exported; export it first")
            if export.spec != spec:
                raise FailedPrecondition(f"target {spec.target} has other volumes; export again")
            if export.access != access:
                self._must_be_free(access.chap, spec.target)
                self._end(export)
                self._step("grant.half")
                export.access = access
        self._step("grant.end")
        return self.connection(spec)

    def connection(self, spec: ExportSpec) -> Connection:
        """As Fabric."""
        return Connection(
            fabric="memory",
            target=spec.target,
            portals=("memory:0",),
            volumes=tuple(
                ConnectedVolume(
                    role=lun.role,
                    size_bytes=lun.size_bytes,
                    read_only=lun.read_only,
                    lun=_LUN_NUMBERS[lun.role],
                    serial=lun.serial,
                    wwn=lun.wwn,
                )
                for lun in spec.luns
            ),
        )

    def sessions(self, target: str) -> tuple[FabricSession, ...]:
        """As Fabric."""
        self._must_be_there()
        with self._guard:
            export = self._exports.get(target)
            live = [each for each in export.sessions if each.alive] if export else []
            return tuple(
                FabricSession(initiator=each.initiator, detail="in memory") for each in live
            )

    def revoke(self, target: str) -> None:
        """As Fabric."""
        self._step("revoke.begin")
        with self._guard:
            if (export := self._exports.get(target)) is not None:
                self._end(export)
        self._step("revoke.end")

    def unexport(self, target: str) -> None:
        """As Fabric."""
        self._step("unexport.begin")
        with self._guard:
            if (export := self._exports.get(target)) is not None:
                self._end(export)
                self._step("unexport.half")
                del self._exports[target]
        self._step("unexport.end")

    def list(self) -> frozenset[str]:
        """As Fabric."""
        self._must_be_there()
        with self._guard:
            return frozenset(self._exports)

    def refresh(self) -> frozenset[str]:
        """As Fabric: who was let in by hand is shut out again."""
        self._step("refresh.begin")
        with self._guard:
            found = {name: export for name, export in self._exports.items() if export.guests}
            for export in found.values():
                for session in export.sessions:
                    session.alive = session.alive and session.initiator not in export.guests
                export.guests.clear()
        self._step("refresh.end")
        return frozenset(found)

    def let_in(self, *, target: str, initiator: str) -> None:
        """What somebody does by hand, behind the engine's back."""
        with self._guard:
            self._exports[target].guests.add(initiator)

    def login(
        self, *, target: str, initiator: str, chap: ChapAccount | None = None
    ) -> MemorySession:
        """Log in as a server does.

        Raises NotFound for the uninvited, as an iSCSI target does, PermissionDenied for a wrong
        secret.
        """
        self._must_be_there()
        with self._guard:
            export = self._exports.get(target)
            access = export.access if export else None
            is_guest = export is not None and initiator in export.guests
            if export is None or not (is_guest or (access and access.initiator == initiator)):
                raise NotFound(f"target {target} not found")
            if access is not None and access.chap is not None and access.chap != chap:
                raise PermissionDenied(f"target {target}: authentication failed")
            session = MemorySession(initiator=initiator, luns=export.spec.luns)
            export.sessions.append(session)
            return session

    def _step(self, name: str) -> None:
        self._must_be_there()
        self.fault(name)

    def _must_be_there(self) -> None:
        if self.away:
            raise Unavailable("the fabric in memory is away", retry_after_s=1.0)

    def _must_be_free(self, chap: ChapAccount | None, target: str) -> None:
        for other, export in self._exports.items():
            taken = export.access.chap if export.access else None
            if chap and taken and other != target and taken.username == chap.username:
                text = f"CHAP user name {chap.username!r} belongs to target {other}"
                raise AlreadyExists(text, reason="CHAP_USERNAME_TAKEN")

    def _end(self, export: _Export) -> None:
        export.access = None
        target = export.spec.target
        if target in self.stubborn and any(each.alive for each in export.sessions):
            raise Unavailable(f"sessions of {target} did not end", retry_after_s=1.0)
        _cut(export)


def _cut(export: _Export) -> None:
    export.guests.clear()
    for session in export.sessions:
        session.alive = False
    export.sessions.clear()

"""The fabrics that are shipped, set up for the suite."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from clonepool.config import DriverSettings
from clonepool.domain.model import ChapAccount, Connection
from clonepool.domain.states import PortionRole
from clonepool.errors import NotFound, PermissionDenied
from clonepool.fabrics.base import Fabric
from clonepool.fabrics.iscsi import IscsiFabric
from clonepool.fabrics.local import LocalFabric
from clonepool.fabrics.memory import MemoryFabric, MemorySession
from clonepool.fabrics.processes import Process
from clonepool.fabrics.tgt import Tgt, TgtMode, TgtOp
from clonepool.fabrics.tgtd import RunningTgtd
from clonepool.testing.fabric_rig import FabricClient, FabricRig, Refused, WriteRefused
from clonepool.testing.initiator import InitiatorError, Session, WriteProtected

BLOCK = 512


class MemoryClient:
    def __init__(self, session: MemorySession) -> None:
        self._session = session

    def read(self, role: PortionRole, offset: int, size_bytes: int) -> bytes:
        return self._session.read(role, offset, size_bytes)

    def write(self, role: PortionRole, offset: int, data: bytes) -> None:
        try:
            self._session.write(role, offset, data)
        except PermissionDenied:
            raise WriteRefused from None

    def is_alive(self) -> bool:
        return self._session.is_alive()

    def close(self) -> None:
        self._session.close()


class MemoryRig(FabricRig):
    def __init__(self) -> None:
        self.fabric: MemoryFabric = MemoryFabric()

    def connect(
        self, connection: Connection, *, initiator: str, chap: ChapAccount | None
    ) -> FabricClient:
        try:
            session = self.fabric.login(target=connection.target, initiator=initiator, chap=chap)
        except (NotFound, PermissionDenied) as error:
            raise Refused(error) from None
        return MemoryClient(session)

    def reopen(self) -> Fabric:
        return self.fabric  # it lives in the tests' memory, as tgtd lives beside the engine

    def restart(self) -> bool:
        self.fabric.restart()
        return True


class PathClient:
    """A process that opens the volumes by their paths."""

    def __init__(self, connection: Connection) -> None:
        self._paths = {volume.role: volume.path or "" for volume in connection.volumes}
        self._descriptors: dict[PortionRole, int] = {}
        try:
            for volume in connection.volumes:
                flags = os.O_RDONLY if volume.read_only else os.O_RDWR
                self._descriptors[volume.role] = os.open(self._paths[volume.role], flags)
        except OSError as error:
            self.close()
            raise Refused(error) from None

    def read(self, role: PortionRole, offset: int, size_bytes: int) -> bytes:
        return os.pread(self._descriptors[role], size_bytes, offset)

    def write(self, role: PortionRole, offset: int, data: bytes) -> None:
        try:
            descriptor = os.open(self._paths[role], os.O_RDWR)
        except OSError as error:
            raise WriteRefused(error) from None
        os.pwrite(descriptor, data, offset)
        os.close(descriptor)

    def is_alive(self) -> bool:
        return bool(self._descriptors)

    def close(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()


class LocalRig(FabricRig):
    cuts_sessions = False

    def __init__(self, state_dir: Path, *, read_only: str) -> None:
        self._state_dir = state_dir
        self._read_only = read_only
        self.fabric = self.reopen()

    def connect(
        self, connection: Connection, *, initiator: str, chap: ChapAccount | None
    ) -> FabricClient:
        return PathClient(connection)

    def reopen(self) -> Fabric:
        return LocalFabric(state_dir=self._state_dir, read_only=self._read_only)

    def stop(self) -> None:
        for target in self.fabric.list():
            self.fabric.unexport(target)


class IscsiClient:
    """A server with a real iSCSI session."""

    def __init__(self, session: Session, connection: Connection) -> None:
        self.session = session
        self._luns = {volume.role: volume.lun or 0 for volume in connection.volumes}

    def read(self, role: PortionRole, offset: int, size_bytes: int) -> bytes:
        return self.session.read(
            lun=self._luns[role], lba=offset // BLOCK, blocks=size_bytes // BLOCK
        )

    def write(self, role: PortionRole, offset: int, data: bytes) -> None:
        try:
            self.session.write(lun=self._luns[role], lba=offset // BLOCK, data=data)
        except WriteProtected as error:
            raise WriteRefused(error) from None

    def is_alive(self) -> bool:
        return self.session.is_alive()

    def close(self) -> None:
        self.session.close()


class Crash(Exception):
    """The engine died here."""


class CrashPoint:
    """Notes requests to tgtd, and after the chosen one raises Crash: tgtd has done it."""

    def __init__(self) -> None:
        self._left: int | None = None
        self.seen: list[tuple[TgtMode, TgtOp]] = []

    def after(self, requests: int) -> None:
        self._left = requests

    def never(self) -> None:
        self._left = None

    def passed(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                raise Crash


class CrashingTgt(Tgt):
    """The real client, cut off after a chosen request."""

    def __init__(self, *, address: str, pid: int, point: CrashPoint) -> None:
        super().__init__(address=address, pid=pid)
        self._point = point

    def call(self, mode: TgtMode, op: TgtOp, **kwargs: Any) -> str:
        self._point.seen.append((mode, op))
        try:
            return super().call(mode, op, **kwargs)
        finally:
            self._point.passed()


class IscsiRig(FabricRig):
    """A fabric with a tgtd of its own on a free port of the loopback."""

    def __init__(self, state_dir: Path, **options: str) -> None:
        self.state_dir = state_dir
        self.crash = CrashPoint()
        self._settings = DriverSettings(name="iscsi", driver="iscsi", options=options)
        self._opened: list[IscsiFabric] = []
        self.fabric: IscsiFabric = self.reopen()

    def connect(
        self, connection: Connection, *, initiator: str, chap: ChapAccount | None
    ) -> IscsiClient:
        try:
            session = Session(
                portal=connection.portals[0],
                target=connection.target,
                initiator=initiator,
                chap=chap,
            )
        except InitiatorError as error:
            raise Refused(error) from None
        return IscsiClient(session, connection)

    def reopen(self) -> IscsiFabric:
        fabric = IscsiFabric.open(self._settings, state_dir=self.state_dir, client=self._client)
        self._opened.append(fabric)
        self.fabric = fabric
        return fabric

    def _client(self, running: RunningTgtd) -> Tgt:
        self.tgt = CrashingTgt(address=running.address, pid=running.pid, point=self.crash)
        return self.tgt

    def pid(self) -> int:
        """The process id of our tgtd."""
        return int(self.fabric.incarnation().split("/")[1])

    def restart(self) -> bool:
        process = Process.find(self.pid())
        assert process is not None
        assert process.signal(signal.SIGKILL)
        return process.wait_gone(timeout_s=10)

    def stop(self) -> None:
        self.crash.never()
        with suppress(Exception):
            self.fabric.reconcile([])
        self.fabric.stop()
        for fabric in self._opened:
            fabric.close()

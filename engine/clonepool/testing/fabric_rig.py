"""What a fabric's tests bring: the fabric, a way to connect as a server, and volumes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final, Protocol

from clonepool.domain.location import HostPath
from clonepool.domain.model import ChapAccount, Connection
from clonepool.domain.states import PortionRole
from clonepool.fabrics.base import ExportSpec, Fabric, Lun

MIB: Final = 2**20
SERVER_A: Final = "iqn.2026-01.org.example:server-a"
SERVER_B: Final = "iqn.2026-01.org.example:server-b"
RO, RW = PortionRole.READ_ONLY, PortionRole.WRITABLE


class Refused(Exception):
    """The fabric didn't let the server in."""


class WriteRefused(Exception):
    """A write to a read-only volume was stopped."""


class FabricClient(Protocol):
    """A server that is connected, whatever the fabric."""

    def read(self, role: PortionRole, offset: int, size_bytes: int) -> bytes:
        """Bytes of a volume, in whole blocks of 512."""

    def write(self, role: PortionRole, offset: int, data: bytes) -> None:
        """Write whole blocks. Raises WriteRefused on the read-only volume."""

    def is_alive(self) -> bool:
        """Whether it can still reach the volumes."""

    def close(self) -> None:
        """Disconnect."""


class FabricRig(ABC):
    """A fabric under test and what a server needs to reach it."""

    fabric: Fabric
    #: False where a server's open files can't be cut, only waited for
    cuts_sessions: bool = True

    @abstractmethod
    def connect(
        self, connection: Connection, *, initiator: str, chap: ChapAccount | None
    ) -> FabricClient:
        """Connect as a server. Raises Refused."""

    @abstractmethod
    def reopen(self) -> Fabric:
        """Throw the fabric object away, as a killed engine does, and make another one."""

    def restart(self) -> bool:
        """Make the fabric lose its exports; False where it has no daemon that can."""
        return False


def make_volume(folder: Path, *, name: str, marker: bytes, size_bytes: int = MIB) -> Path:
    """A volume's file, filled with the marker."""
    path = folder / f"{name}.img"
    path.write_bytes((marker * (size_bytes // len(marker) + 1))[:size_bytes])
    return path


def lun(path: Path, *, role: PortionRole, serial: str) -> Lun:
    """A LUN of an export; the read-only portion is read-only."""
    return Lun(
        role=role,
        location=HostPath(path=path),
        size_bytes=path.stat().st_size,
        read_only=role is RO,
        serial=serial,
        wwn="",
    )


class Exports:
    """Makes exports that share one read-only image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = make_volume(folder, name="image", marker=b"golden image\n")
        self.image.chmod(0o400)

    def spec(self, target: str = "vol-a-g1") -> ExportSpec:
        """An export: the shared image and a volume of its own, marked with the target's name."""
        path = self.folder / f"{target}.img"
        if not path.exists():
            make_volume(self.folder, name=target, marker=f"{target}\n".encode())
        return ExportSpec(
            target=target,
            luns=(
                lun(self.image, role=RO, serial="image-v1"),
                lun(path, role=RW, serial=target),
            ),
        )

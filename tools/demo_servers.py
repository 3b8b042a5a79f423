"""What a server of the demo does with its volumes, over iSCSI or on a local path."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.model import ChapAccount
from clonepool.testing.initiator import Session, WriteProtected

READ_ONLY, WRITABLE = "read_only", "writable"
BLOCK_BYTES = 512


class Server(ABC):
    """One allocated server, logged in; roles are READ_ONLY and WRITABLE."""

    def __init__(self, attachment: pb.Attachment) -> None:
        self.name = attachment.server_name
        self.volumes = {volume.role: volume for volume in attachment.connection.volumes}

    @abstractmethod
    def read_all(self, role: str) -> bytes:
        """Every byte of the volume."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Write ``data`` (whole blocks) at the beginning, the middle and the end, durably."""

    @abstractmethod
    def try_to_write_shared(self) -> str:
        """Write to the shared copy; how it was refused, "" if it was not."""

    def _places(self, role: str) -> tuple[int, ...]:
        size_bytes = self.volumes[role].size_bytes
        return 0, size_bytes // 2, size_bytes - BLOCK_BYTES


class IscsiServer(Server):
    """A real initiator's session."""

    def __init__(self, attachment: pb.Attachment, session: Session) -> None:
        super().__init__(attachment)
        self._session = session

    def read_all(self, role: str) -> bytes:
        """Read the whole LUN."""
        return self._session.dump(lun=self.volumes[role].lun)

    def write(self, data: bytes) -> None:
        """WRITE, then SYNCHRONIZE CACHE."""
        lun = self.volumes[WRITABLE].lun
        for offset in self._places(WRITABLE):
            self._session.write(lun=lun, lba=offset // BLOCK_BYTES, data=data)
        self._session.flush(lun=lun)

    def try_to_write_shared(self) -> str:
        """Refused with a sense code."""
        try:
            self._session.write(lun=self.volumes[READ_ONLY].lun, lba=0, data=bytes(BLOCK_BYTES))
        except WriteProtected as refused:
            return f"write protected, sense {refused.key:02x}/{refused.ascq:04x}"
        return ""


class LocalServer(Server):
    """A process on the engine's own host."""

    def read_all(self, role: str) -> bytes:
        """Read the whole file."""
        return Path(self.volumes[role].path).read_bytes()

    def write(self, data: bytes) -> None:
        """Write into the file."""
        with Path(self.volumes[WRITABLE].path).open("r+b") as file:
            for offset in self._places(WRITABLE):
                file.seek(offset)
                file.write(data)

    def try_to_write_shared(self) -> str:
        """Refused by the kernel."""
        try:
            with Path(self.volumes[READ_ONLY].path).open("r+b") as file:
                file.write(bytes(BLOCK_BYTES))
        except OSError as refused:
            return str(refused.strerror)
        return ""


@contextmanager
def logged_in(attachment: pb.Attachment) -> Iterator[Server]:
    """The attachment's server while it uses its volumes."""
    connection = attachment.connection
    if connection.fabric == "local":
        yield LocalServer(attachment)
        return
    chap = ChapAccount(username=attachment.chap_username, secret=attachment.chap_secret)
    with Session(
        portal=connection.portals[0],
        target=connection.target,
        initiator=attachment.spec.inline_server.initiator,
        chap=chap,
    ) as session:
        yield IscsiServer(attachment, session)

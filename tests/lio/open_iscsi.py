"""Real servers: the Linux kernel's own initiator, which makes block devices of LUNs.

Each server is an interface of open-iscsi with an initiator name of its own, so one kernel plays
several of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clonepool import commands
from clonepool.domain.model import ChapAccount, Connection
from clonepool.errors import CommandError
from clonepool.fabrics.processes import Process
from clonepool.testing.fabric_rig import Refused
from tests.support.waiting import wait_for

_SESSIONS = Path("/sys/class/iscsi_session")
_TIMEOUT_S = 60.0


@contextmanager
def running_iscsid(folder: Path) -> Iterator[None]:
    """open-iscsi's daemon, with a name and a process id file of its own; ended by its id."""
    name, pid_file = folder / "initiatorname", folder / "iscsid.pid"
    name.write_text("InitiatorName=iqn.2026-01.org.example:nobody\n")
    Path("/run/lock/iscsi").mkdir(parents=True, exist_ok=True)
    commands.run(["modprobe", "--all", "iscsi_tcp", "sd_mod"], timeout_s=_TIMEOUT_S)
    words = ["-c", "/etc/iscsi/iscsid.conf", "-i", str(name), "-p", str(pid_file)]
    commands.run(["iscsid", *words], timeout_s=_TIMEOUT_S)
    text = wait_for(lambda: pid_file.exists() and pid_file.read_text(), what="iscsid")
    process = Process.find(int(text))
    try:
        yield
    finally:
        if process is not None:
            process.signal(15)
            process.wait_gone(timeout_s=10)


class Server:
    """One server; what it logs in to is logged out at its end."""

    def __init__(self, initiator: str) -> None:
        self.initiator = initiator
        self._interface = initiator.rpartition(":")[2]
        self._nodes: set[tuple[str, str]] = set()
        with suppress(CommandError):
            self._iscsiadm("iface", "-I", self._interface, "-o", "delete")
        self._iscsiadm("iface", "-I", self._interface, "-o", "new")
        self._set("iface", "-I", self._interface, name="iface.initiatorname", value=initiator)

    def log_in(self, connection: Connection, *, chap: ChapAccount | None) -> None:
        """Log in, and wait for the block devices. Raises Refused."""
        node = self._node(connection)
        self._iscsiadm("node", *node, "-o", "new")
        self._nodes.add((connection.target, connection.portals[0]))
        account = {
            "node.session.initial_login_retry_max": "1",
            # what is revoked fails soon, instead of waiting for its return
            "node.session.timeo.replacement_timeout": "2",
            "node.session.auth.authmethod": "CHAP" if chap else "None",
        }
        if chap is not None:
            account["node.session.auth.username"] = chap.username
            account["node.session.auth.password"] = chap.secret
        for name, value in account.items():
            self._set("node", *node, name=name, value=value)
        try:
            self._iscsiadm("node", *node, "--login")
        except CommandError as error:
            raise Refused(error) from None
        for volume in connection.volumes:
            self.device(connection, lun=volume.lun or 0)

    def log_out(self, connection: Connection) -> None:
        """Log out: the block devices are gone."""
        self._iscsiadm("node", *self._node(connection), "--logout")

    def discover(self, portal: str) -> frozenset[str]:
        """The targets that a portal offers to this server."""
        words = ["-t", "sendtargets", "-p", portal, "-I", self._interface, "-o", "nonpersistent"]
        try:
            said = self._iscsiadm("discovery", *words)
        except CommandError as error:
            if "no records" in str(error).lower() or "no portals" in str(error).lower():
                return frozenset()
            raise
        return frozenset(line.split()[1] for line in said.splitlines())

    def device(self, connection: Connection, *, lun: int) -> Path:
        """The block device of a LUN, once it has appeared."""
        return wait_for(
            lambda: self.find_device(connection, lun=lun),
            what=f"LUN {lun} of {connection.target} at {self._interface}",
        )

    def find_device(self, connection: Connection, *, lun: int) -> Path | None:
        """The block device of a LUN, if there is one."""
        for session in self._sessions(connection):
            for found in session.glob(f"device/target*/*:*:*:{lun}/block/*"):
                device = Path("/dev", found.name)
                if device.exists():
                    return device
        return None

    def sessions(self, connection: Connection) -> int:
        """How many sessions with the target it has, whole or broken."""
        return len(list(self._sessions(connection)))

    def close(self) -> None:
        """Log out of everything, and forget it."""
        for target, portal in sorted(self._nodes):
            node = ["-T", target, "-p", portal, "-I", self._interface]
            with suppress(CommandError):
                self._iscsiadm("node", *node, "--logout")
            with suppress(CommandError):
                self._iscsiadm("node", *node, "-o", "delete")
        self._iscsiadm("iface", "-I", self._interface, "-o", "delete")

    def _sessions(self, connection: Connection) -> Iterator[Path]:
        for session in _SESSIONS.glob("session*"):
            with suppress(OSError):
                target = (session / "targetname").read_text().strip()
                initiator = (session / "initiatorname").read_text().strip()
                if (target, initiator) == (connection.target, self.initiator):
                    yield session

    def _node(self, connection: Connection) -> list[str]:
        return ["-T", connection.target, "-p", connection.portals[0], "-I", self._interface]

    def _set(self, mode: str, *words: str, name: str, value: str) -> None:
        self._iscsiadm(mode, *words, "-o", "update", "-n", name, "-v", value)

    def _iscsiadm(self, mode: str, *words: str) -> str:
        done = commands.run(["iscsiadm", "-m", mode, *words], timeout_s=_TIMEOUT_S)
        return done.stdout.decode()


def read_device(device: Path, *, size_bytes: int, offset: int = 0) -> bytes:
    """Read past the page cache's old content. Raises OSError."""
    descriptor = os.open(device, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, offset, size_bytes, os.POSIX_FADV_DONTNEED)
        return os.pread(descriptor, size_bytes, offset)
    finally:
        os.close(descriptor)


def write_device(device: Path, data: bytes, *, offset: int = 0) -> None:
    """Write durably. Raises OSError."""
    descriptor = os.open(device, os.O_WRONLY)
    try:
        os.pwrite(descriptor, data, offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_gone(device: Path, *, timeout_s: float = 30.0) -> bool:
    """Whether a device's node goes in time."""
    deadline = time.monotonic() + timeout_s
    while device.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not device.exists()

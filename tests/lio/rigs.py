"""The kernel's iSCSI target, set up for the suite."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

from clonepool.config import DriverSettings
from clonepool.domain.model import ChapAccount, Connection
from clonepool.errors import ClonepoolError
from clonepool.fabrics.configfs import ConfigTree
from clonepool.fabrics.lio import LioFabric
from clonepool.fabrics.lio_kernel import target_tree
from clonepool.testing.fabric_rig import FabricRig, Refused
from clonepool.testing.initiator import InitiatorError, Session
from tests.fabrics.rigs import Crash, IscsiClient


def free_portal() -> str:
    """An address of the loopback with a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class CrashingTree(ConfigTree):
    """The real tree, cut off after a chosen change."""

    def __init__(self) -> None:
        super().__init__(target_tree().root)
        self._left: int | None = None
        self.changes: list[str] = []

    def after(self, changes: int) -> None:
        self._left = changes

    def never(self) -> None:
        self._left = None

    def write(self, path: str, text: str) -> None:
        super().write(path, text)
        self._passed(f"write {path}")

    def make(self, path: str) -> None:
        super().make(path)
        self._passed(f"make {path}")

    def link(self, path: str, *, to: str) -> None:
        super().link(path, to=to)
        self._passed(f"link {path}")

    def unlink(self, path: str) -> None:
        super().unlink(path)
        self._passed(f"unlink {path}")

    def remove(self, path: str) -> None:
        super().remove(path)
        self._passed(f"remove {path}")

    def _passed(self, change: str) -> None:
        self.changes.append(change)
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                raise Crash


class LioRig(FabricRig):
    """A fabric under a prefix of its own, on a free port of the loopback."""

    def __init__(self, state_dir: Path, **options: str) -> None:
        self.state_dir = state_dir
        self.tree = CrashingTree()
        word = hashlib.sha256(str(state_dir).encode()).hexdigest()[:8]
        self.prefix = f"iqn.2026-01.org.example.clonepool:t{word}"
        defaults = {"iqn_prefix": self.prefix, "portal": free_portal()}
        self.settings = DriverSettings(name="lio", driver="lio", options=defaults | options)
        self.fabric: LioFabric = self.reopen()

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

    def reopen(self) -> LioFabric:
        self.fabric = LioFabric.open(self.settings, state_dir=self.state_dir, tree=self.tree)
        return self.fabric

    def restart(self) -> bool:
        """As after a reboot, or ``targetctl clear``: nothing of ours is in the kernel."""
        self.fabric.stop()
        return True

    def stop(self) -> None:
        self.tree.never()
        try:
            self.fabric.stop()
        except ClonepoolError:
            # what a failed test left open may end by now
            self.fabric.stop()

    def targets(self) -> list[str]:
        """Every target of it in the kernel, exported or on its way out; without its mark."""
        return [name for name in self.left() if ":owner." not in name]

    def left(self) -> list[str]:
        """What is left of it in the kernel, by any name."""
        return [str(path) for path in self.tree.root.glob("iscsi/iqn*") if self.prefix in path.name]

"""One LIO target as a tree of folders, changed in the only order that is safe.

A target is closed (its portal group disabled) from its making until an access is complete, and
again before anything of the access is taken away. Closing it ends its sessions before the kernel
answers, and removing the initiator waits for logins that had begun.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Final

from clonepool.errors import Unavailable
from clonepool.fabrics.base import Access, ExportSpec, FabricSession
from clonepool.fabrics.configfs import ConfigTree
from clonepool.fabrics.iscsi_names import find_target, target_iqn
from clonepool.fabrics.lio_backstores import Backing, Backstores, digest_of, wanted_backings

_GROUP: Final = "tpgt_1"
_SETTINGS: Final = {
    # nobody is admitted but by an initiator of ours, nor sees the target in a discovery
    "attrib/generate_node_acls": "0",
    "attrib/demo_mode_discovery": "0",
    # a LUN is write-protected from its first instant; the server's own is opened afterwards
    "attrib/demo_mode_write_protect": "1",
    "attrib/prod_mode_write_protect": "1",
    # a server that lost its power is gone at once, not after the 20 s that it might come back in
    "param/DefaultTime2Retain": "0",
}
_ADDRESS: Final = re.compile(r" {3}Address (\S+) ")
_SESSION_HEAD: Final = "InitiatorName:"
_LEAST_PAUSE_S: Final = 0.001
_MOST_PAUSE_S: Final = 0.05


class TargetTree:
    """What is done to targets of ours; the caller holds the lock of the name. Raises OSError."""

    def __init__(
        self,
        *,
        tree: ConfigTree,
        backstores: Backstores,
        prefix: str,
        portals: tuple[str, ...],
        revoke_timeout_s: float,
    ) -> None:
        self._tree = tree
        self._backstores = backstores
        self._prefix = prefix
        self._portals = portals
        self._timeout_s = revoke_timeout_s

    def names(self) -> frozenset[str]:
        """The targets of ours that are there, whole or not."""
        iqns = self._tree.folders("iscsi", prefix=self._prefix)
        found = (find_target(prefix=self._prefix, iqn=iqn) for iqn in iqns)
        return frozenset(target for target in found if target is not None)

    def exists(self, target: str) -> bool:
        """Whether there is anything of it."""
        return self._tree.exists(self._target(target))

    def has_luns(self, spec: ExportSpec) -> bool:
        """Whether it is there with exactly these volumes; they are the last that a making adds."""
        wanted = {number: backing.digest for number, backing in wanted_backings(spec).items()}
        group = self._group(spec.target)
        found = {
            _number(lun): digest_of(name)
            for lun in self._tree.folders(f"{group}/lun", prefix="lun_")
            for name in self._tree.links(f"{group}/lun/{lun}").values()
        }
        return found == wanted

    def create(self, spec: ExportSpec) -> None:
        """Make it, closed. Raises FailedPrecondition for a volume that can't be opened."""
        backings = wanted_backings(spec)
        group = self._group(spec.target)
        self._tree.make(self._target(spec.target))
        self._tree.make(group)
        for name, value in _SETTINGS.items():
            self._tree.write(f"{group}/{name}", value)
        self.settle_portals(spec.target)
        for number, backing in backings.items():
            self._add_lun(spec.target, number, backing)

    def settle_portals(self, target: str) -> None:
        """Listen on the configured addresses, and on no others."""
        folder = f"{self._group(target)}/np"
        present = self._tree.folders(folder)
        for portal in self._portals:
            if portal not in present:
                self._tree.make(f"{folder}/{portal}")
        for portal in present:
            if portal not in self._portals:
                self._tree.remove(f"{folder}/{portal}")

    def is_granted(self, spec: ExportSpec, access: Access) -> bool:
        """Whether exactly this access is in force."""
        group = self._group(spec.target)
        if self._tree.folders(f"{group}/acls") != (access.initiator,):
            return False
        read, acl = self._tree.read, f"{group}/acls/{access.initiator}"
        username = access.chap.username if access.chap else ""
        secret = access.chap.secret if access.chap else ""
        return (
            read(f"{group}/enable") == "1"
            and read(f"{group}/attrib/authentication") == _flag(access.chap is not None)
            and read(f"{acl}/auth/userid") == username
            and read(f"{acl}/auth/password") == secret
            and self._protections(acl) == _wanted_protections(spec)
        )

    def admit(self, spec: ExportSpec, access: Access) -> None:
        """Admit an initiator to a closed target without one, and open it last."""
        group = self._group(spec.target)
        acl = f"{group}/acls/{access.initiator}"
        self._tree.write(f"{group}/attrib/authentication", _flag(access.chap is not None))
        self._tree.make(acl)
        if access.chap is not None:
            self._tree.write(f"{acl}/auth/userid", access.chap.username)
            self._tree.write(f"{acl}/auth/password", access.chap.secret)
        for number, protection in _wanted_protections(spec).items():
            mapped = f"{acl}/lun_{number}"
            self._tree.make(mapped)
            self._tree.link(f"{mapped}/lun", to=f"{group}/lun/lun_{number}")
            self._tree.write(f"{mapped}/write_protect", protection)
        self._tree.write(f"{group}/enable", "1")

    def shut(self, target: str) -> None:
        """Close it, ending every session, and admit nobody. Raises Unavailable if one stays."""
        for name in self._groups(target):
            group = f"{self._target(target)}/{name}"
            self._tree.write(f"{group}/enable", "0")
            for initiator in self._tree.folders(f"{group}/acls"):
                self._remove_acl(f"{group}/acls/{initiator}")
        self._await_no_session(target)

    def remove(self, target: str) -> None:
        """Shut it, then remove it and its backstores."""
        self.shut(target)
        for name in self._groups(target):
            group = f"{self._target(target)}/{name}"
            for lun in self._tree.folders(f"{group}/lun", prefix="lun_"):
                self._remove_lun(f"{group}/lun/{lun}")
            for portal in self._tree.folders(f"{group}/np"):
                self._tree.remove(f"{group}/np/{portal}")
            self._tree.remove(group)
        self._tree.remove(self._target(target))

    def sessions(self, target: str) -> tuple[FabricSession, ...]:
        """Who is logged in, one entry an initiator."""
        acls = f"{self._group(target)}/acls"
        found = []
        for initiator in self._tree.folders(acls):
            info = self._tree.read(f"{acls}/{initiator}/info")
            if info.startswith(_SESSION_HEAD):
                # what the server says of itself comes before the address
                addresses = _ADDRESS.findall(info)
                detail = f"from {addresses[-1] if addresses else 'unknown'}"
                found.append(FabricSession(initiator=initiator, detail=detail))
        return tuple(found)

    def _target(self, target: str) -> str:
        return f"iscsi/{target_iqn(prefix=self._prefix, target=target)}"

    def _group(self, target: str) -> str:
        return f"{self._target(target)}/{_GROUP}"

    def _groups(self, target: str) -> tuple[str, ...]:
        return self._tree.folders(self._target(target), prefix="tpgt_")

    def _add_lun(self, target: str, number: int, backing: Backing) -> None:
        lun = f"{self._group(target)}/lun/lun_{number}"
        self._tree.make(lun)
        self._backstores.connect(target, backing, at=f"{lun}/backstore")

    def _remove_lun(self, lun: str) -> None:
        for link, name in self._tree.links(lun).items():
            self._backstores.disconnect(at=f"{lun}/{link}", name=name)
        self._tree.remove(lun)

    def _remove_acl(self, acl: str) -> None:
        for lun in self._tree.folders(acl, prefix="lun_"):
            for link in self._tree.links(f"{acl}/{lun}"):
                self._tree.unlink(f"{acl}/{lun}/{link}")
            self._tree.remove(f"{acl}/{lun}")
        self._tree.remove(acl)

    def _protections(self, acl: str) -> Mapping[int, str]:
        return {
            _number(lun): self._tree.read(f"{acl}/{lun}/write_protect")
            for lun in self._tree.folders(acl, prefix="lun_")
            if self._tree.links(f"{acl}/{lun}")
        }

    def _await_no_session(self, target: str) -> None:
        """The kernel has ended them; asked all the same, as a scrub may follow."""
        count = f"{self._target(target)}/fabric_statistics/iscsi_instance/sessions"
        deadline = time.monotonic() + self._timeout_s
        pause_s = _LEAST_PAUSE_S
        while (left := self._tree.read(count)) != "0":
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{left} session(s) on target {target} did not end within "
                    f"{self._timeout_s:g} s; nobody is admitted any more, try again",
                    retry_after_s=1.0,
                )
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _MOST_PAUSE_S)


def _wanted_protections(spec: ExportSpec) -> Mapping[int, str]:
    return {number: _flag(backing.read_only) for number, backing in wanted_backings(spec).items()}


def _number(lun: str) -> int:
    return int(lun.removeprefix("lun_"))


def _flag(value: bool) -> str:
    return str(int(value))

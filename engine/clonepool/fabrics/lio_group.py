"""One portal group of a LIO target: its LUNs, its portals, and the one initiator of its access.

A group is closed from its making until an access is complete, and has one access in its life:
a login that began under the old one is bound to the old group, and never ends under the next.
Closing it ends its sessions before the kernel answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from clonepool.fabrics.base import Access, ExportSpec, FabricSession
from clonepool.fabrics.configfs import ConfigTree
from clonepool.fabrics.lio_backstores import Backstores, digest_of, wanted_backings

_SETTINGS: Final = {
    # nobody is admitted but by an initiator of ours, nor sees the target in a discovery
    "attrib/generate_node_acls": "0",
    "attrib/demo_mode_discovery": "0",
    # a LUN is write-protected from its first instant; the server's own is opened afterwards
    "attrib/demo_mode_write_protect": "1",
    "attrib/prod_mode_write_protect": "1",
    # a server that lost its power is gone soon, not after the 20 s that it might come back in
    "param/DefaultTime2Retain": "0",
}
# what the kernel tells servers of the target; to us it says how far the group is
_ALIAS: Final = "param/TargetAlias"
_WHOLE: Final = "clonepool"
_RETIRED: Final = "clonepool retired"
_ADDRESS: Final = re.compile(r" {3}Address (\S+) ")
_SESSION_HEAD: Final = "InitiatorName:"


class PortalGroup:
    """A group by its folder; made, granted once, retired. Raises OSError."""

    def __init__(self, *, tree: ConfigTree, backstores: Backstores, path: str) -> None:
        self._tree = tree
        self._backstores = backstores
        self.path = path

    @property
    def is_whole(self) -> bool:
        """Whether it was made to its end, and not retired."""
        return self._tree.read(f"{self.path}/{_ALIAS}") == _WHOLE

    @property
    def luns(self) -> Mapping[int, str]:
        """The digests of its volumes by LUN number."""
        return {
            _number(lun): digest_of(name)
            for lun in self._tree.folders(f"{self.path}/lun", prefix="lun_")
            for name in self._tree.links(f"{self.path}/lun/{lun}").values()
        }

    @property
    def portals(self) -> tuple[str, ...]:
        """What it listens on."""
        return self._tree.folders(f"{self.path}/np")

    @property
    def initiators(self) -> tuple[str, ...]:
        """Who was admitted."""
        return self._tree.folders(f"{self.path}/acls")

    def create(self, *, portals: tuple[str, ...]) -> None:
        """Make it, closed and without a LUN."""
        self._tree.make(self.path)
        for name, value in _SETTINGS.items():
            self._tree.write(f"{self.path}/{name}", value)
        for portal in portals:
            self.listen(portal)
        self._tree.write(f"{self.path}/{_ALIAS}", _WHOLE)

    def listen(self, portal: str) -> None:
        """Listen on one more address."""
        self._tree.make(f"{self.path}/np/{portal}")

    def add_luns(self, spec: ExportSpec) -> None:
        """Put the volumes in. Raises FailedPrecondition for one that can't be opened."""
        for number, backing in wanted_backings(spec).items():
            lun = f"{self.path}/lun/lun_{number}"
            self._tree.make(lun)
            self._backstores.connect(spec.target, backing, at=f"{lun}/backstore")

    def is_granted(self, spec: ExportSpec, access: Access) -> bool:
        """Whether exactly this access is in force."""
        if self.initiators != (access.initiator,):
            return False
        read, acl = self._tree.read, f"{self.path}/acls/{access.initiator}"
        username = access.chap.username if access.chap else ""
        secret = access.chap.secret if access.chap else ""
        return (
            self.is_open
            and read(f"{self.path}/attrib/authentication") == _flag(access.chap is not None)
            and read(f"{acl}/auth/userid") == username
            and read(f"{acl}/auth/password") == secret
            and self._protections(acl) == _wanted_protections(spec)
        )

    @property
    def is_open(self) -> bool:
        """Whether logins are taken."""
        return self._tree.read(f"{self.path}/enable") == "1"

    def admit(self, spec: ExportSpec, access: Access) -> None:
        """Admit an initiator to a group that never had one, and open it last."""
        acl = f"{self.path}/acls/{access.initiator}"
        self._tree.write(f"{self.path}/attrib/authentication", _flag(access.chap is not None))
        self._tree.make(acl)
        if access.chap is not None:
            self._tree.write(f"{acl}/auth/userid", access.chap.username)
            self._tree.write(f"{acl}/auth/password", access.chap.secret)
        for number, protection in _wanted_protections(spec).items():
            mapped = f"{acl}/lun_{number}"
            self._tree.make(mapped)
            self._tree.link(f"{mapped}/lun", to=f"{self.path}/lun/lun_{number}")
            self._tree.write(f"{mapped}/write_protect", protection)
        self._tree.write(f"{self.path}/enable", "1")

    def retire(self) -> None:
        """Close it for good, ending every session, and take its volumes out.

        The kernel has then closed the files and devices. Initiator and portals stay: see Reaper.
        """
        self._tree.write(f"{self.path}/enable", "0")
        if self._tree.read(f"{self.path}/{_ALIAS}") != _RETIRED:
            for initiator in self.initiators:
                self._unmap(f"{self.path}/acls/{initiator}")
            for lun in self._tree.folders(f"{self.path}/lun", prefix="lun_"):
                self._remove_lun(f"{self.path}/lun/{lun}")
            self._tree.write(f"{self.path}/{_ALIAS}", _RETIRED)

    def sessions(self) -> tuple[FabricSession, ...]:
        """Who is logged in, one entry an initiator."""
        found = []
        for initiator in self.initiators:
            info = self._tree.read(f"{self.path}/acls/{initiator}/info")
            if info.startswith(_SESSION_HEAD):
                # what the server says of itself comes before the address
                addresses = _ADDRESS.findall(info)
                detail = f"from {addresses[-1] if addresses else 'unknown'}"
                found.append(FabricSession(initiator=initiator, detail=detail))
        return tuple(found)

    def _unmap(self, acl: str) -> None:
        for lun in self._tree.folders(acl, prefix="lun_"):
            for link in self._tree.links(f"{acl}/{lun}"):
                self._tree.unlink(f"{acl}/{lun}/{link}")
            self._tree.remove(f"{acl}/{lun}")

    def _remove_lun(self, lun: str) -> None:
        for link, name in self._tree.links(lun).items():
            self._backstores.disconnect(at=f"{lun}/{link}", name=name)
        self._tree.remove(lun)

    def _protections(self, acl: str) -> Mapping[int, str]:
        return {
            _number(lun): self._tree.read(f"{acl}/{lun}/write_protect")
            for lun in self._tree.folders(acl, prefix="lun_")
            if self._tree.links(f"{acl}/{lun}")
        }


def _wanted_protections(spec: ExportSpec) -> Mapping[int, str]:
    return {number: _flag(backing.read_only) for number, backing in wanted_backings(spec).items()}


def _number(lun: str) -> int:
    return int(lun.removeprefix("lun_"))


def _flag(value: bool) -> str:
    return str(int(value))

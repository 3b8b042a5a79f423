"""LIO targets as folders, each with one portal group, and another one after each access.

All have the tag 1, which servers may have noted, and the kernel refuses a second group with the
same portal: where it does not let go of the last one, the target waits, closed and without volumes.
"""

from __future__ import annotations

import time
from typing import Final

from clonepool.errors import FailedPrecondition, Unavailable
from clonepool.fabrics.base import Access, ExportSpec, FabricSession
from clonepool.fabrics.configfs import ConfigTree
from clonepool.fabrics.iscsi_names import find_target, target_iqn
from clonepool.fabrics.lio_backstores import Backstores, wanted_backings
from clonepool.fabrics.lio_group import PortalGroup
from clonepool.fabrics.lio_reaper import reaper_for

_GROUP: Final = "tpgt_1"
_GROUPS: Final = "tpgt_"
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
        self._reaper = reaper_for(tree.root)
        self._prefix = prefix
        self._portals = portals
        self._timeout_s = revoke_timeout_s

    def names(self) -> frozenset[str]:
        """The exported targets of ours."""
        return frozenset(target for target in self.folders() if self.find(target) is not None)

    def folders(self) -> frozenset[str]:
        """Everything of ours, exported or on its way out."""
        iqns = self._tree.folders("iscsi", prefix=self._prefix)
        found = (find_target(prefix=self._prefix, iqn=iqn) for iqn in iqns)
        return frozenset(target for target in found if target is not None)

    def find(self, target: str) -> PortalGroup | None:
        """The group that counts; None where the target is not exported."""
        return next((group for group in self._groups(target) if group.is_whole), None)

    def has_luns(self, group: PortalGroup, spec: ExportSpec) -> bool:
        """Whether it has exactly these volumes."""
        wanted = {number: backing.digest for number, backing in wanted_backings(spec).items()}
        return group.luns == wanted

    def export(self, spec: ExportSpec) -> PortalGroup:
        """Make the target with its volumes, closed; other volumes than before end the access."""
        wanted_backings(spec)
        group = self.find(spec.target)
        if group is not None and self.has_luns(group, spec):
            self._settle_portals(group)
            return group
        if group is None or group.luns or group.initiators:
            self._retire(spec.target)
            group = self._new_group(spec.target)
        try:
            group.add_luns(spec)
        except FailedPrecondition:
            self.remove(spec.target)
            raise
        return group

    def grant(self, group: PortalGroup, spec: ExportSpec, access: Access) -> None:
        """Admit an initiator; an access before it is ended, group and all."""
        if group.is_granted(spec, access):
            return
        if group.initiators or group.is_open:
            self._retire(spec.target)
            group = self._new_group(spec.target)
        if not group.luns:
            group.add_luns(spec)
        group.admit(spec, access)

    def revoke(self, target: str) -> None:
        """End the access: another group takes its place, without volumes until they are granted.

        Where the kernel does not let go of the last one the target is no more exported.
        """
        group = self.find(target)
        if group is not None and (group.initiators or group.is_open):
            self._retire(target)
            if not self._groups(target):
                self._new_group(target)

    def remove(self, target: str) -> None:
        """End the access, and remove the target."""
        self._retire(target)
        self._remove_empty(target)

    def sweep(self, target: str) -> None:
        """Go on with the removal of what is neither exported nor gone."""
        for group in self._groups(target):
            if not group.is_whole:
                group.retire()
                self._reap(target, group)
        self._remove_empty(target)

    def sessions(self, target: str) -> tuple[FabricSession, ...]:
        """Who is logged in."""
        group = self.find(target)
        return () if group is None else group.sessions()

    def _target(self, target: str) -> str:
        return f"iscsi/{target_iqn(prefix=self._prefix, target=target)}"

    def _group(self, target: str, name: str) -> PortalGroup:
        path = f"{self._target(target)}/{name}"
        return PortalGroup(tree=self._tree, backstores=self._backstores, path=path)

    def _groups(self, target: str) -> list[PortalGroup]:
        names = self._tree.folders(self._target(target), prefix=_GROUPS)
        return [self._group(target, name) for name in names]

    def _new_group(self, target: str) -> PortalGroup:
        if self._groups(target):
            raise Unavailable(
                f"target {target} is held by a login that began before its access ended, and that "
                "its server neither finishes nor hangs up; nobody is admitted, end that connection "
                "and try again",
                reason="LOGIN_PENDING",
                retry_after_s=5.0,
            )
        group = self._group(target, _GROUP)
        self._tree.make(self._target(target))
        group.create(portals=self._portals)
        return group

    def _remove_empty(self, target: str) -> None:
        if self._tree.exists(self._target(target)) and not self._groups(target):
            self._tree.remove(self._target(target))

    def _settle_portals(self, group: PortalGroup) -> None:
        """Listen on the configured addresses, and on no others."""
        present = group.portals
        for portal in self._portals:
            if portal not in present:
                group.listen(portal)
        for portal in present:
            if portal not in self._portals:
                self._reaper.remove_portal(f"{group.path}/np/{portal}")

    def _retire(self, target: str) -> None:
        """Close all its groups, and see that no session is left. Raises Unavailable if one is."""
        groups = self._groups(target)
        for group in groups:
            group.retire()
        if groups:
            self._await_no_session(target)
        for group in groups:
            self._reap(target, group)

    def _reap(self, target: str, group: PortalGroup) -> None:
        self._reaper.remove_group(self._target(target), group.path.rpartition("/")[2])

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

"""The targets of ours in one run of tgtd, learnt by one listing and kept up to date in memory.

A listing takes seconds at thousands of targets and stops all I/O meanwhile, so it is asked for at
the start and to find out about a single target after a request of unknown outcome, never polled.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from clonepool.domain.states import PortionRole
from clonepool.errors import AlreadyExists, Unavailable
from clonepool.fabrics.access_log import AccessLog
from clonepool.fabrics.base import ExportSpec, Lun
from clonepool.fabrics.iscsi_names import check_path, check_serial, find_target, wwn_of
from clonepool.fabrics.tgt import Tgt, TgtCode, TgtError
from clonepool.fabrics.tgt_show import (
    ShownLun,
    ShownTarget,
    doubtful_tids,
    find_forger,
    parse_accounts,
    parse_connections,
    parse_targets,
)

# fixed, so that a server finds its volumes without looking at more than the number
LUN_NUMBERS: Final = {PortionRole.READ_ONLY: 1, PortionRole.WRITABLE: 2}
_FORGERS_TO_CUT: Final = 16


@dataclass(kw_only=True)
class TargetState:
    """One target as tgtd has it; changed only under the lock of its name.

    ``tainted``: somebody was admitted since it was made, so a login begun then may still end.
    ``unsure``: a request's outcome is unknown, tgtd must be asked before anything is done.
    """

    target: str
    tid: int
    luns: tuple[ShownLun, ...] = ()
    initiators: tuple[str, ...] = ()
    account: str = ""
    tainted: bool = False
    unsure: bool = False

    def learn(self, shown: ShownTarget, *, tainted: bool) -> None:
        """Take over what a listing says."""
        self.tid, self.luns, self.initiators = shown.tid, shown.luns, shown.initiators
        self.account = shown.accounts[0] if shown.accounts else ""
        self.tainted = tainted or bool(shown.accounts or shown.initiators)
        self.unsure = False


def wanted_luns(spec: ExportSpec) -> tuple[ShownLun, ...]:
    """The LUNs of an export as a listing will show them. Raises InvalidArgument."""
    return tuple(sorted((_wanted(lun) for lun in spec.luns), key=lambda lun: lun.number))


def _wanted(lun: Lun) -> ShownLun:
    return ShownLun(
        number=LUN_NUMBERS[lun.role],
        path=check_path(lun.path),
        read_only=lun.read_only,
        scsi_id=wwn_of(lun),
        serial=check_serial(lun.serial),
    )


class TargetTable:
    """Targets by name and CHAP user names by target. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._targets: dict[str, TargetState] = {}
        self._usernames: dict[str, str] = {}
        self.most_tid = 0

    @classmethod
    def load(cls, *, tgt: Tgt, prefix: str, log: AccessLog) -> TargetTable:
        """Learn everything by one listing. Raises TgtError, TgtAway, Unavailable."""
        table = cls()
        for shown in list_targets(tgt):
            table.most_tid = max(table.most_tid, shown.tid)
            target = find_target(prefix=prefix, iqn=shown.iqn)
            owner = target or shown.iqn
            table._usernames.update(dict.fromkeys(shown.accounts, owner))
            if target is not None:
                state = TargetState(target=target, tid=shown.tid)
                state.learn(shown, tainted=log.find(target) is not None)
                table._targets[target] = state
        return table

    def find(self, target: str) -> TargetState | None:
        """The target of this name, or None."""
        return self._targets.get(target)

    def settled(self) -> dict[str, TargetState]:
        """What is known of each target for certain, as it is now; copies."""
        with self._guard:
            return {
                target: replace(state)
                for target, state in self._targets.items()
                if not state.unsure
            }

    def names(self) -> frozenset[str]:
        """All names."""
        with self._guard:
            return frozenset(self._targets)

    def add(self, state: TargetState) -> None:
        """A target is about to be made."""
        with self._guard:
            self._targets[state.target] = state

    def remove(self, target: str) -> None:
        """A target is gone."""
        with self._guard:
            self._targets.pop(target, None)

    def __len__(self) -> int:
        return len(self._targets)

    def holder(self, username: str) -> str | None:
        """The target (or, not being ours, its IQN) that a user name belongs to."""
        return self._usernames.get(username)

    def claim_username(self, username: str, *, target: str) -> None:
        """Keep a user name for one target: accounts are global to tgtd. Raises AlreadyExists."""
        with self._guard:
            holder = self._usernames.setdefault(username, target)
        if holder != target:
            raise AlreadyExists(
                f"CHAP user name {username!r} belongs to target {holder}; choose another one, "
                "or let the engine generate it",
                reason="CHAP_USERNAME_TAKEN",
            )

    def drop_username(self, username: str) -> None:
        """An account is gone."""
        with self._guard:
            self._usernames.pop(username, None)


def list_targets(tgt: Tgt) -> Sequence[ShownTarget]:
    """A listing that tells the truth.

    A server whose session's text forges lines of it is shut out until the engine grants it again.
    """
    for _ in range(_FORGERS_TO_CUT):
        targets = parse_targets(tgt.show_targets())
        present = frozenset(tid for tid in doubtful_tids(targets) if _is_there(tgt, tid))
        forger = find_forger(targets, present=present)
        if forger is None:
            return targets
        _shut_out(tgt, tid=forger)
    raise Unavailable("tgtd's listing is forged by its sessions' names; cut those servers off")


def list_free_accounts(tgt: Tgt) -> frozenset[str]:
    """The accounts that no target asks for."""
    bound = {name for shown in list_targets(tgt) for name in shown.accounts}
    return parse_accounts(tgt.show_accounts()) - bound


def _is_there(tgt: Tgt, tid: int) -> bool:
    try:
        tgt.show_connections(tid=tid)
    except TgtError as error:
        if error.code is TgtCode.NO_TARGET:
            return False
        raise
    return True


def _shut_out(tgt: Tgt, *, tid: int) -> None:
    for connection in parse_connections(tgt.show_connections(tid=tid)):
        try:
            tgt.unbind_initiator(tid=tid, name=connection.initiator)
        except TgtError as error:
            if error.code is not TgtCode.ACL_NOEXIST:
                raise
        try:
            tgt.delete_connection(tid=tid, sid=connection.sid, cid=connection.cid)
        except TgtError as error:
            if error.code not in {TgtCode.NO_SESSION, TgtCode.NO_CONNECTION}:
                raise

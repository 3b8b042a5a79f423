"""The requests for one iSCSI target, in the only order that is safe.

Read-only before any access; account and its binding before the initiator; on the way back the
initiator, its sessions, the target, and the account last: accounts are global to tgtd, and a
target whose account is deleted stands open to every permitted name without CHAP. An access is
never changed on a target, the target is made anew with another id: a login begun under the old
access could else be ended under the new one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final

from clonepool.domain.model import ChapAccount
from clonepool.errors import AlreadyExists, FailedPrecondition, InvalidArgument, Unavailable
from clonepool.fabrics.access_log import AccessLog, Granted
from clonepool.fabrics.base import Access, ExportSpec
from clonepool.fabrics.iscsi_names import check_initiator, target_iqn
from clonepool.fabrics.target_table import (
    TargetState,
    TargetTable,
    list_free_accounts,
    list_targets,
    wanted_luns,
)
from clonepool.fabrics.tgt import Tgt, TgtCode, TgtError
from clonepool.fabrics.tgt_show import ShownConnection, ShownLun, parse_connections
from clonepool.fabrics.tids import TargetIds

_VENDOR: Final = "CLNPOOL"
_PRODUCTS: Final = {True: "READ-ONLY COPY", False: "REPLICA"}
_LEAST_PAUSE_S: Final = 0.001
_MOST_PAUSE_S: Final = 0.05
# on a tgtd that others use too, an id that we think free may be taken
_ID_ATTEMPTS: Final = 8


class TargetWork:
    """What is done to targets of one run of tgtd; the caller holds the lock of the name."""

    def __init__(
        self,
        *,
        tgt: Tgt,
        table: TargetTable,
        log: AccessLog,
        ids: TargetIds,
        prefix: str,
        revoke_timeout_s: float,
    ) -> None:
        self._tgt = tgt
        self._table = table
        self._log = log
        self._ids = ids
        self._prefix = prefix
        self._timeout_s = revoke_timeout_s

    def sweep(self) -> None:
        """Remove accounts whose targets went before a crash."""
        for target, entry in self._log.entries().items():
            if self._table.find(target) is None:
                self._forget(target, entry.username)

    def settle(self, target: str) -> TargetState | None:
        """The target as it is; asks tgtd where a request's outcome is unknown."""
        state = self._table.find(target)
        if state is None or not state.unsure:
            return state
        iqn = target_iqn(prefix=self._prefix, target=target)
        for shown in list_targets(self._tgt):
            if shown.iqn == iqn:
                state.learn(shown, tainted=self._log.find(target) is not None)
                return state
        self._drop(state)
        return None

    def create(self, spec: ExportSpec) -> TargetState:
        """Make the target and its LUNs, admitting nobody."""
        luns = wanted_luns(spec)
        for lun in luns:
            _check_backing(lun)
        state = TargetState(target=spec.target, tid=0, unsure=True)
        self._table.add(state)
        state.tid = self._new_target(target_iqn(prefix=self._prefix, target=spec.target))
        for lun in luns:
            self.new_lun(state.tid, lun)
        state.luns, state.unsure = luns, False
        return state

    def is_granted(self, state: TargetState, access: Access) -> bool:
        """Whether exactly this access is in force."""
        entry = self._log.find(state.target)
        return (
            state.initiators == (access.initiator,)
            and state.account == (access.chap.username if access.chap else "")
            and entry is not None
            and entry.proof == self._log.proof(access)
        )

    def admit(self, state: TargetState, access: Access) -> None:
        """Admit an initiator to a target that was never open; three requests with CHAP, else one.

        Raises AlreadyExists when the CHAP user name belongs to another target.
        """
        if access.chap is not None:
            self._table.claim_username(access.chap.username, target=state.target)
        before = self._log.find(state.target)
        self._log.remember(state.target, access)
        state.unsure = state.tainted = True
        if access.chap is not None:
            self._new_account(state, access.chap, before=before)
            self._tgt.bind_account(tid=state.tid, username=access.chap.username)
            state.account = access.chap.username
        self._tgt.bind_initiator(tid=state.tid, name=access.initiator)
        state.initiators, state.unsure = (access.initiator,), False

    def cut(self, state: TargetState) -> None:
        """Admit nobody, and end every session. Raises Unavailable when one does not end."""
        self._unbind(state)
        if state.tainted:
            self.end_sessions(state, deadline=time.monotonic() + self._timeout_s)

    def delete(self, state: TargetState) -> None:
        """Remove the target, then its account."""
        self.cut(state)
        state.unsure = True  # a removal that is refused may have removed LUNs
        deadline = time.monotonic() + self._timeout_s
        pause_s = _LEAST_PAUSE_S
        while not self._try_delete(state):
            self.end_sessions(state, deadline=deadline)
            if time.monotonic() > deadline:
                raise Unavailable(f"target {state.target} is busy; try again", retry_after_s=1.0)
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _MOST_PAUSE_S)
        self._drop(state)

    def is_there(self, state: TargetState) -> bool:
        """Ask tgtd for the target; one that somebody removed is removed here too, account last."""
        try:
            self._tgt.show_connections(tid=state.tid)
        except TgtError as error:
            if error.code is not TgtCode.NO_TARGET:
                raise
            self._drop(state)
            return False
        return True

    def connections(self, state: TargetState) -> tuple[ShownConnection, ...]:
        """Who is logged in now."""
        try:
            return parse_connections(self._tgt.show_connections(tid=state.tid))
        except TgtError as error:
            if error.code is TgtCode.NO_TARGET:
                return ()
            raise

    def _new_target(self, iqn: str) -> int:
        for _ in range(_ID_ATTEMPTS):
            tid = self._ids.take()
            try:
                self._tgt.new_target(tid=tid, iqn=iqn)
            except TgtError as error:
                if error.code is not TgtCode.TARGET_EXIST:
                    raise
            else:
                return tid
        raise AlreadyExists(
            f"tgtd has a target {iqn} that is not this engine's; give each engine that shares a "
            "tgtd an iqn_prefix of its own"
        )

    def new_lun(self, tid: int, lun: ShownLun) -> None:
        """Add a LUN; a read-only one can be written until this returns: nobody may be let in."""
        try:
            self._tgt.new_lun(tid=tid, lun=lun.number, path=lun.path)
        except TgtError as error:
            if error.code is not TgtCode.INVALID_REQUEST:
                raise
            raise FailedPrecondition(f"tgtd can't open {lun.path}; see its log") from None
        parameters = {"readonly": "1"} if lun.read_only else {}
        parameters |= {"scsi_id": lun.scsi_id, "scsi_sn": lun.serial}
        parameters |= {"vendor_id": _VENDOR, "product_id": _PRODUCTS[lun.read_only]}
        self._tgt.update_lun(tid=tid, lun=lun.number, **parameters)

    def set_read_only(self, tid: int, lun: ShownLun) -> None:
        """Have a LUN refuse writes, or take them, as it should."""
        self._tgt.update_lun(tid=tid, lun=lun.number, readonly="1" if lun.read_only else "0")

    def _new_account(
        self, state: TargetState, chap: ChapAccount, *, before: Granted | None
    ) -> None:
        try:
            self._tgt.new_account(username=chap.username, secret=chap.secret)
        except TgtError as error:
            if error.code is not TgtCode.USER_EXIST:
                raise
        else:
            return
        ours = before is not None and before.username == chap.username
        if ours and chap.username in list_free_accounts(self._tgt):
            # left by a crash before it was bound, with a secret that nobody can tell
            self._tgt.delete_account(username=chap.username)
            self._tgt.new_account(username=chap.username, secret=chap.secret)
            return
        self._log.forget(state.target)
        self._table.drop_username(chap.username)
        state.tainted = state.unsure = False
        raise AlreadyExists(
            f"tgtd has a CHAP account {chap.username!r} that is not of this target; choose "
            "another user name, or let the engine generate it",
            reason="CHAP_USERNAME_TAKEN",
        )

    def _unbind(self, state: TargetState) -> None:
        if not state.initiators:
            return
        state.unsure = True
        for name in state.initiators:
            self.unbind(state.tid, name)
        state.initiators, state.unsure = (), False

    def unbind(self, tid: int, name: str) -> None:
        """Admit a name, or an address that somebody else bound, no more; its sessions go on."""
        try:
            self._unbind_one(tid, name)
        except TgtError as error:
            if error.code not in {TgtCode.ACL_NOEXIST, TgtCode.NO_TARGET}:
                raise

    def _unbind_one(self, tid: int, name: str) -> None:
        try:
            check_initiator(name)
        except InvalidArgument:
            self._tgt.unbind_address(tid=tid, address=name)
        else:
            self._tgt.unbind_initiator(tid=tid, name=name)

    def end_sessions(
        self, state: TargetState, *, deadline: float, but_of: Sequence[str] = ()
    ) -> None:
        """Cut every session, but those of the initiators ``but_of``, until none is left.

        Raises Unavailable at the deadline, on the monotonic clock.
        """
        pause_s = _LEAST_PAUSE_S
        while connections := self._connections_but(state, but_of):
            for connection in connections:
                self._end_connection(state.tid, connection)
            if time.monotonic() > deadline:
                names = ", ".join(sorted({connection.initiator for connection in connections}))
                raise Unavailable(
                    f"{len(connections)} session(s) of {names} on target {state.target} did not "
                    f"end within {self._timeout_s:g} s; nobody else is admitted, try again",
                    retry_after_s=1.0,
                )
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _MOST_PAUSE_S)

    def _connections_but(
        self, state: TargetState, but_of: Sequence[str]
    ) -> Sequence[ShownConnection]:
        return [each for each in self.connections(state) if each.initiator not in but_of]

    def _end_connection(self, tid: int, connection: ShownConnection) -> None:
        gone = {TgtCode.NO_SESSION, TgtCode.NO_CONNECTION, TgtCode.NO_TARGET}
        try:
            self._tgt.delete_connection(tid=tid, sid=connection.sid, cid=connection.cid)
        except TgtError as error:
            if error.code not in gone:
                raise

    def _try_delete(self, state: TargetState) -> bool:
        try:
            self._tgt.delete_target(tid=state.tid)
        except TgtError as error:
            if error.code is TgtCode.NO_TARGET:
                return True
            if error.code not in {TgtCode.TARGET_ACTIVE, TgtCode.LUN_ACTIVE}:
                raise
            return False
        return True

    def _drop(self, state: TargetState) -> None:
        """The target is gone: so is its account, and what is known of it."""
        entry = self._log.find(state.target)
        self._forget(state.target, state.account or (entry.username if entry else ""))
        self._table.remove(state.target)

    def _forget(self, target: str, username: str) -> None:
        """Remove a gone target's account, unless another target asks for it."""
        if username and self._table.holder(username) in {None, target}:
            try:
                self._tgt.delete_account(username=username)
            except TgtError as error:
                if error.code is not TgtCode.NO_USER:
                    raise
            self._table.drop_username(username)
        self._log.forget(target)


def _check_backing(lun: ShownLun) -> None:
    """Refuse a file that tgtd, unable to write it, would silently export read-only."""
    if not os.path.exists(lun.path):
        raise FailedPrecondition(f"{lun.path} is not there; it can't be exported")
    if not os.access(lun.path, os.R_OK if lun.read_only else os.R_OK | os.W_OK):
        how = "read" if lun.read_only else "written"
        raise FailedPrecondition(f"{lun.path} can't be {how} by the engine's user")

"""What somebody changed by hand in tgtd, put back as this engine made it.

What a target was made as stands in the table, so no row need be asked for: only who admits and
makes changes the table, under the lock of the name, and so does this. Sessions that are rightly
there go on: what was added is taken away beside them. What can't be mended beside a live session
(the read-only volume, since a new LUN can be written until it is told not to be; the account,
since nobody can ask for its secret) makes the target go, and whoever compares makes it anew.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from clonepool.errors import Unavailable
from clonepool.fabrics.iscsi_names import find_target
from clonepool.fabrics.iscsi_target import TargetWork
from clonepool.fabrics.target_table import TargetState, TargetTable, list_targets
from clonepool.fabrics.tgt import Tgt, TgtCode, TgtError
from clonepool.fabrics.tgt_show import ShownLun, ShownTarget

# A listing stops all I/O: 15 to 70 ms at 1,000 targets, 40 to 95 ms at 2,000, but 5.4 s at 4,000,
# where servers lose patience
MOST_LISTED: Final = 2000
_PAUSE_S: Final = 0.005


def listed(tgt: Tgt, *, prefix: str) -> Mapping[str, ShownTarget]:
    """Our targets as tgtd has them now, by name; stops all I/O for as long as it takes."""
    named = ((find_target(prefix=prefix, iqn=shown.iqn), shown) for shown in list_targets(tgt))
    return {target: shown for target, shown in named if target is not None}


class TargetRepair:
    """Puts targets right; the caller holds the lock of the name, as for all work on it."""

    def __init__(self, *, tgt: Tgt, work: TargetWork, timeout_s: float) -> None:
        self._tgt = tgt
        self._work = work
        self._timeout_s = timeout_s

    def remove_stranger(self, table: TargetTable, target: str, shown: ShownTarget) -> None:
        """Remove a target with a name of ours that this engine did not make."""
        state = TargetState(target=target, tid=shown.tid)
        state.learn(shown, tainted=True)
        table.add(state)
        self._work.delete(state)

    def put_right(self, state: TargetState, shown: ShownTarget | None) -> bool:
        """Make a target what the table says of it; whether anything was to be done.

        ``shown`` None: it was not listed; only whether it is there, and who is logged in, is asked
        for. Raises TgtError, TgtAway, and Unavailable for a session that does not end.
        """
        if shown is None:
            return self._work.is_there(state) and self._expel(state)
        if shown.tid != state.tid or self._is_beyond_repair(state, shown):
            # the account that goes with it is the one that was made with it
            state.tid, state.initiators, state.tainted = shown.tid, shown.initiators, True
            self._work.delete(state)
            return True
        done = [self._mend_luns(state, shown), self._mend_access(state, shown)]
        if shown.in_use or any(done):
            done.append(self._expel(state))
        return any(done)

    @staticmethod
    def _is_beyond_repair(state: TargetState, shown: ShownTarget) -> bool:
        if shown.accounts != ((state.account,) if state.account else ()):
            return True
        kept = {(lun.number, lun.path, lun.scsi_id, lun.serial) for lun in shown.luns}
        return any(
            (lun.number, lun.path, lun.scsi_id, lun.serial) not in kept
            for lun in state.luns
            if lun.read_only
        )

    def _mend_luns(self, state: TargetState, shown: ShownTarget) -> bool:
        if shown.luns == state.luns:
            return False
        wanted = {lun.number: lun for lun in state.luns}
        there: list[ShownLun] = []
        for lun in shown.luns:
            good = wanted.get(lun.number)
            if good is None or replace(lun, read_only=good.read_only) != good:
                self._remove_lun(state, lun.number)
                continue
            there.append(good)
            if lun != good:
                self._work.set_read_only(state.tid, good)
        for lun in state.luns:
            if lun not in there:
                self._work.new_lun(state.tid, lun)
        return True

    def _remove_lun(self, state: TargetState, number: int) -> None:
        """Refused while commands on it are in flight; what is in flight on the others goes on."""
        deadline = time.monotonic() + self._timeout_s
        while not self._try_remove_lun(state.tid, number):
            if time.monotonic() > deadline:
                text = f"LUN {number}, added by hand to target {state.target}, is busy; try again"
                raise Unavailable(text, retry_after_s=1.0)
            time.sleep(_PAUSE_S)

    def _try_remove_lun(self, tid: int, number: int) -> bool:
        try:
            self._tgt.delete_lun(tid=tid, lun=number)
        except TgtError as error:
            if error.code is TgtCode.LUN_ACTIVE:
                return False
            if error.code is not TgtCode.NO_LUN:
                raise
        return True

    def _mend_access(self, state: TargetState, shown: ShownTarget) -> bool:
        """Its own account is bound, so letting its server in again is the access of before."""
        extra = [name for name in shown.initiators if name not in state.initiators]
        missing = [name for name in state.initiators if name not in shown.initiators]
        for name in extra:
            self._work.unbind(state.tid, name)
        for name in missing:
            self._tgt.bind_initiator(tid=state.tid, name=name)
        # whoever was let in may have a login under way: the next access is to a target made anew
        state.tainted = state.tainted or bool(extra)
        return bool(extra or missing)

    def _expel(self, state: TargetState) -> bool:
        """End the sessions of all who are not admitted, such as those let in for a moment."""
        strangers = self._strangers(state)
        if not strangers:
            return False
        state.tainted = True
        self._work.end_sessions(
            state, deadline=time.monotonic() + self._timeout_s, but_of=state.initiators
        )
        return True

    def _strangers(self, state: TargetState) -> Sequence[str]:
        connections = self._work.connections(state)
        return [each.initiator for each in connections if each.initiator not in state.initiators]

"""What somebody does with `tgtadm` behind the engine's back is found, and put right beside I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from clonepool.domain.model import ChapAccount
from clonepool.fabrics import iscsi as iscsi_module
from clonepool.fabrics.base import Access
from clonepool.fabrics.target_table import list_targets
from clonepool.fabrics.tgt import TgtMode, TgtOp
from clonepool.fabrics.tgt_show import ShownTarget
from clonepool.testing.fabric_rig import RO, RW, SERVER_A, SERVER_B, Exports, Refused, WriteRefused
from clonepool.testing.initiator import InitiatorError
from tests.fabrics.rigs import BLOCK, IscsiClient, IscsiRig

pytestmark = pytest.mark.tgt

CHAP_A = ChapAccount(username="user-a", secret="secret-of-a-12")
ACCESS_A = Access(initiator=SERVER_A, chap=CHAP_A)
OPEN_B = Access(initiator=SERVER_B, chap=None)
TARGET = "vol-a-g1"


def attach(rig: IscsiRig, exports: Exports, target: str, access: Access) -> IscsiClient:
    spec = exports.spec(target)
    rig.fabric.export(spec)
    connection = rig.fabric.grant(spec, access)
    return rig.connect(connection, initiator=access.initiator, chap=access.chap)


def shown(rig: IscsiRig, target: str = TARGET) -> ShownTarget:
    (found,) = (each for each in list_targets(rig.tgt) if each.iqn.endswith(f":{target}"))
    return found


def enter(rig: IscsiRig, exports: Exports, initiator: str) -> IscsiClient:
    connection = rig.fabric.connection(exports.spec(TARGET))
    return rig.connect(connection, initiator=initiator, chap=CHAP_A)


def test_who_is_let_in_by_hand_is_shut_out_and_cut_off(iscsi: IscsiRig, exports: Exports) -> None:
    """The server that is rightly there keeps its session, the others' too."""
    rightful = attach(iscsi, exports, TARGET, ACCESS_A)
    other = attach(iscsi, exports, "vol-b-g1", OPEN_B)
    before = shown(iscsi)
    iscsi.tgt.bind_initiator(tid=before.tid, name=SERVER_B)
    stranger = enter(iscsi, exports, SERVER_B)
    assert {TARGET} == iscsi.fabric.refresh()
    assert not stranger.is_alive()
    with pytest.raises(Refused):
        enter(iscsi, exports, SERVER_B)
    assert (True, True) == (rightful.is_alive(), other.is_alive())
    assert replace(before, in_use=True) == replace(shown(iscsi), in_use=True)
    assert frozenset() == iscsi.fabric.refresh(), "and then there is nothing to be done"
    rightful.write(RW, 0, b"y" * BLOCK)


def test_a_session_that_outlived_its_leave_is_ended(iscsi: IscsiRig, exports: Exports) -> None:
    """Let in by hand, logged in, and the name taken away again: tgtd leaves the session writing."""
    rightful = attach(iscsi, exports, TARGET, ACCESS_A)
    tid = shown(iscsi).tid
    iscsi.tgt.bind_initiator(tid=tid, name=SERVER_B)
    stranger = enter(iscsi, exports, SERVER_B)
    iscsi.tgt.unbind_initiator(tid=tid, name=SERVER_B)
    assert {TARGET} == iscsi.fabric.refresh()
    assert (False, True) == (stranger.is_alive(), rightful.is_alive())


def test_who_is_let_in_to_a_ready_replica_never_meets_its_next_server(
    iscsi: IscsiRig, exports: Exports
) -> None:
    spec = exports.spec(TARGET)
    iscsi.fabric.export(spec)
    iscsi.tgt.bind_initiator(tid=shown(iscsi).tid, name=SERVER_B)
    stranger = enter(iscsi, exports, SERVER_B)
    assert {TARGET} == iscsi.fabric.refresh()
    assert not stranger.is_alive()
    tid = shown(iscsi).tid
    attach(iscsi, exports, TARGET, ACCESS_A).close()
    assert tid != shown(iscsi).tid, "a login begun before must not end in the new access"


def test_an_address_that_is_let_in_by_hand_is_shut_out(iscsi: IscsiRig, exports: Exports) -> None:
    rightful = attach(iscsi, exports, TARGET, ACCESS_A)
    before = shown(iscsi)
    address = {"initiator-address": "ALL"}
    words = ",".join(f"{name}={value}" for name, value in address.items())
    iscsi.tgt.call(TgtMode.TARGET, TgtOp.BIND, tid=before.tid, parameters=words)
    assert {TARGET} == iscsi.fabric.refresh()
    assert before.initiators == shown(iscsi).initiators
    assert rightful.is_alive()


def test_a_server_that_is_shut_out_by_hand_is_let_in_again(
    iscsi: IscsiRig, exports: Exports
) -> None:
    """Its session goes on, and it can log in again with its own secret, and with that only."""
    rightful = attach(iscsi, exports, TARGET, ACCESS_A)
    before = shown(iscsi)
    iscsi.tgt.unbind_initiator(tid=before.tid, name=SERVER_A)
    with pytest.raises(Refused):
        enter(iscsi, exports, SERVER_A)
    assert {TARGET} == iscsi.fabric.refresh()
    assert rightful.is_alive()
    enter(iscsi, exports, SERVER_A).close()
    connection = iscsi.fabric.connection(exports.spec(TARGET))
    with pytest.raises(Refused):
        iscsi.connect(connection, initiator=SERVER_A, chap=None)


def test_a_lun_that_is_added_by_hand_is_taken_away(iscsi: IscsiRig, exports: Exports) -> None:
    rightful = attach(iscsi, exports, TARGET, ACCESS_A)
    before = shown(iscsi)
    strange = exports.folder / "vol-of-somebody-else.img"
    strange.write_bytes(b"z" * BLOCK * 8)
    iscsi.tgt.new_lun(tid=before.tid, lun=3, path=str(strange))
    assert {TARGET} == iscsi.fabric.refresh()
    assert before.luns == shown(iscsi).luns
    assert rightful.is_alive()


def test_the_read_only_flag_is_put_back(iscsi: IscsiRig, exports: Exports) -> None:
    """The shared copy could be written for all servers."""
    rightful = attach(iscsi, exports, TARGET, ACCESS_A)
    iscsi.tgt.update_lun(tid=shown(iscsi).tid, lun=1, readonly="0")
    assert {TARGET} == iscsi.fabric.refresh()
    assert [True, False] == [lun.read_only for lun in shown(iscsi).luns]
    with pytest.raises(WriteRefused):
        rightful.write(RO, 0, b"y" * BLOCK)
    assert rightful.is_alive()


def test_a_server_whose_volume_is_taken_away_gets_it_back_in_its_session(
    iscsi: IscsiRig, exports: Exports
) -> None:
    rightful = attach(iscsi, exports, TARGET, ACCESS_A)
    before = shown(iscsi)
    iscsi.tgt.delete_lun(tid=before.tid, lun=2)
    assert {TARGET} == iscsi.fabric.refresh()
    assert before.luns == shown(iscsi).luns
    assert rightful.is_alive()
    with rightful.session as session:
        assert (exports.folder / f"{TARGET}.img").read_bytes()[:BLOCK] == session.read(
            lun=2, lba=0, blocks=1
        )


def _without_read_only_lun(rig: IscsiRig, _exports: Exports) -> None:
    rig.tgt.delete_lun(tid=shown(rig).tid, lun=1)


def _without_account(rig: IscsiRig, _exports: Exports) -> None:
    rig.tgt.delete_account(username=CHAP_A.username)


def _another_target(rig: IscsiRig, exports: Exports) -> None:
    old = shown(rig)
    rig.tgt.unbind_initiator(tid=old.tid, name=SERVER_A)
    rig.tgt.delete_target(tid=old.tid)
    rig.tgt.new_target(tid=old.tid + 100, iqn=old.iqn)
    rig.tgt.new_lun(tid=old.tid + 100, lun=2, path=str(exports.image))


@pytest.mark.parametrize("change", [_without_read_only_lun, _without_account, _another_target])
def test_what_cannot_be_mended_in_place_is_gone_and_made_anew(
    iscsi: IscsiRig, exports: Exports, change: Callable[[IscsiRig, Exports], None]
) -> None:
    """The target stands open without its account, say; its server logs in again to the next."""
    attach(iscsi, exports, TARGET, ACCESS_A).close()
    change(iscsi, exports)
    assert {TARGET} == iscsi.fabric.refresh()
    assert frozenset() == iscsi.fabric.list()
    client = attach(iscsi, exports, TARGET, ACCESS_A)
    assert [1, 2] == [lun.number for lun in shown(iscsi).luns]
    assert (CHAP_A.username,) == shown(iscsi).accounts
    client.close()


def test_a_target_of_our_name_that_we_did_not_make_is_removed(
    iscsi: IscsiRig, exports: Exports
) -> None:
    attach(iscsi, exports, TARGET, ACCESS_A).close()
    ours = shown(iscsi)
    iscsi.tgt.new_target(tid=ours.tid + 100, iqn=ours.iqn.replace(TARGET, "vol-z-g1"))
    iscsi.tgt.new_lun(tid=ours.tid + 100, lun=1, path=str(exports.image))
    assert {"vol-z-g1"} == iscsi.fabric.refresh()
    assert [ours] == list(list_targets(iscsi.tgt))


def test_a_target_removed_by_hand_is_noticed_and_can_be_made_again(
    iscsi: IscsiRig, exports: Exports
) -> None:
    """Its account went with it, so the same access is granted anew; other sessions live on."""
    kept = attach(iscsi, exports, "vol-b-g1", OPEN_B)
    attach(iscsi, exports, TARGET, ACCESS_A).close()
    iscsi.tgt.delete_target(tid=shown(iscsi).tid)
    assert {TARGET, "vol-b-g1"} == iscsi.fabric.list()
    for _ in range(2):
        assert frozenset() == iscsi.fabric.refresh()
        assert {"vol-b-g1"} == iscsi.fabric.list()
    attach(iscsi, exports, TARGET, ACCESS_A).close()
    assert kept.is_alive()
    kept.close()


def test_a_refresh_lists_once_and_asks_for_who_is_in_use(iscsi: IscsiRig, exports: Exports) -> None:
    """However many targets there are, as long as there are few enough."""
    for number in range(5):
        iscsi.fabric.export(exports.spec(f"vol-{number}-g1"))
    iscsi.crash.seen.clear()
    assert frozenset() == iscsi.fabric.refresh()
    assert [(TgtMode.TARGET, TgtOp.SHOW)] == iscsi.crash.seen


def test_of_too_many_targets_none_is_listed(
    iscsi: IscsiRig, exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing stops all servers' I/O for seconds at thousands of targets."""
    rightful = attach(iscsi, exports, TARGET, ACCESS_A)
    tid = shown(iscsi).tid
    for number in range(5):
        iscsi.fabric.export(exports.spec(f"vol-{number}-g1"))
    iscsi.tgt.bind_initiator(tid=tid, name=SERVER_B)
    stranger = enter(iscsi, exports, SERVER_B)
    monkeypatch.setattr(iscsi_module, "MOST_LISTED", 5)
    iscsi.crash.seen.clear()
    assert {TARGET} == iscsi.fabric.refresh(), "its session is seen all the same"
    assert (TgtMode.TARGET, TgtOp.SHOW) not in iscsi.crash.seen
    with pytest.raises(InitiatorError):
        stranger.read(RW, 0, BLOCK)
    assert rightful.is_alive()

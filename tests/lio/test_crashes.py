"""The engine dies after every single change of the kernel's configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from clonepool.domain.model import ChapAccount
from clonepool.fabrics.base import Access, DesiredExport
from clonepool.testing.fabric_rig import RO, RW, SERVER_A, SERVER_B, Exports, Refused, WriteRefused
from tests.fabrics.rigs import BLOCK, Crash
from tests.lio.rigs import LioRig

pytestmark = pytest.mark.lio

CHAP_A = ChapAccount(username="user-a", secret="secret-of-a-12")
CHAP_B = ChapAccount(username="user-b", secret="secret-of-b-12")
ACCESS_A = Access(initiator=SERVER_A, chap=CHAP_A)
ACCESS_B = Access(initiator=SERVER_B, chap=CHAP_B)
MOST_CHANGES = 200


def die_after_each_change(rig: LioRig, work: Callable[[], object]) -> Iterator[int]:
    """Run ``work``, dying after the first change, the second, ... until it comes to its end."""
    for number in range(1, MOST_CHANGES):
        rig.tree.after(number)
        try:
            work()
        except Crash:
            rig.tree.never()
            rig.reopen()
            yield number
        else:
            rig.tree.never()
            assert number > 5, "nothing was done, so nothing was cut off"
            return
    raise AssertionError("it never came to its end")


def test_an_attach_that_was_cut_off_anywhere_is_done_again(rig: LioRig, exports: Exports) -> None:
    spec = exports.spec()

    def attach() -> None:
        rig.fabric.export(spec)
        rig.fabric.grant(spec, ACCESS_A)

    for number in die_after_each_change(rig, attach):
        rig.fabric.reconcile([DesiredExport(spec=spec, access=ACCESS_A)])
        client = rig.connect(rig.fabric.connection(spec), initiator=SERVER_A, chap=CHAP_A)
        assert b"vol-a-g1\n" == client.read(RW, 0, BLOCK)[:9], number
        with pytest.raises(WriteRefused):
            client.write(RO, 0, b"x" * BLOCK)
        client.close()
        rig.fabric.reconcile([])
        assert frozenset() == rig.fabric.list()


def test_a_grant_that_was_cut_off_lets_nobody_in_without_the_secret(
    rig: LioRig, exports: Exports
) -> None:
    spec = exports.spec()
    rig.fabric.export(spec)
    connection = rig.fabric.connection(spec)
    for _ in die_after_each_change(rig, lambda: rig.fabric.grant(spec, ACCESS_A)):
        for initiator, chap in ((SERVER_A, None), (SERVER_B, CHAP_A), (SERVER_A, CHAP_B)):
            with pytest.raises(Refused):
                rig.connect(connection, initiator=initiator, chap=chap)
        with suppress(Refused):
            client = rig.connect(connection, initiator=SERVER_A, chap=CHAP_A)
            with pytest.raises(WriteRefused):
                client.write(RO, 0, b"x" * BLOCK)
            client.close()
        rig.fabric.revoke(spec.target)


def test_a_changed_access_that_was_cut_off_never_mixes_both(rig: LioRig, exports: Exports) -> None:
    spec = exports.spec()
    rig.fabric.export(spec)
    connection = rig.fabric.grant(spec, ACCESS_A)
    for _ in die_after_each_change(rig, lambda: rig.fabric.grant(spec, ACCESS_B)):
        for initiator, chap in ((SERVER_A, CHAP_B), (SERVER_B, CHAP_A)):
            with pytest.raises(Refused):
                rig.connect(connection, initiator=initiator, chap=chap)
        rig.fabric.export(spec)
        rig.fabric.grant(spec, ACCESS_A)
    with pytest.raises(Refused):
        rig.connect(connection, initiator=SERVER_A, chap=CHAP_A)
    rig.connect(connection, initiator=SERVER_B, chap=CHAP_B).close()


def test_a_release_that_was_cut_off_anywhere_is_done_again(rig: LioRig, exports: Exports) -> None:
    spec = exports.spec()
    rig.fabric.export(spec)
    connection = rig.fabric.grant(spec, ACCESS_A)
    for _ in die_after_each_change(rig, lambda: rig.fabric.unexport(spec.target)):
        with pytest.raises(Refused):
            rig.connect(connection, initiator=SERVER_A, chap=CHAP_A)
        rig.fabric.unexport(spec.target)
        assert frozenset() == rig.fabric.list()
        rig.fabric.export(spec)
        rig.fabric.grant(spec, ACCESS_A)
    assert frozenset() == rig.fabric.list()


def test_a_backstore_without_a_target_is_swept(rig: LioRig, exports: Exports) -> None:
    spec = exports.spec()
    for _ in die_after_each_change(rig, lambda: rig.fabric.export(spec)):
        for link in rig.tree.root.glob(f"iscsi/{rig.prefix}:vol-*/tpgt_1/lun/lun_*/backstore"):
            link.unlink()
        rig.fabric.refresh()
        assert [] == list(rig.tree.root.glob("core/*/vol-a-g1.*"))
        rig.fabric.unexport(spec.target)

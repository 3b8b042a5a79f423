"""Servers that begin a login and do not end it: no way in, and nothing that a release waits for."""

from __future__ import annotations

import time

import pytest

from clonepool.domain.model import ChapAccount
from clonepool.errors import NotFound, Unavailable
from clonepool.fabrics.base import Access
from clonepool.testing.fabric_rig import SERVER_A, SERVER_B, Exports
from tests.fabrics.raw_login import LoginEnded, RawLogin
from tests.lio.rigs import LioRig
from tests.support.waiting import wait_for

pytestmark = pytest.mark.lio

ACCESS_A = Access(initiator=SERVER_A, chap=ChapAccount(username="a", secret="secret-of-a-12"))
OPEN_B = Access(initiator=SERVER_B, chap=None)
# what a release may take while servers play games; a well-behaved one takes milliseconds
SOON_S = 5.0


def half_login(rig: LioRig, exports: Exports, *, target: str = "vol-a-g1") -> RawLogin:
    """A login of B, past its authentication, before its end."""
    spec = exports.spec(target)
    rig.fabric.export(spec)
    connection = rig.fabric.grant(spec, OPEN_B)
    login = RawLogin(connection.portals[0], target=connection.target, initiator=SERVER_B)
    login.pass_security()
    return login


def test_a_login_that_nothing_came_between_succeeds(rig: LioRig, exports: Exports) -> None:
    """Else the tests below would prove nothing."""
    login = half_login(rig, exports)
    login.finish()
    (session,) = rig.fabric.sessions("vol-a-g1")
    assert SERVER_B == session.initiator
    login.close()


def test_a_login_begun_under_the_old_access_cannot_be_ended_under_the_new_one(
    rig: LioRig, exports: Exports
) -> None:
    """The kernel keeps the old access for it: until it hangs up there is no new one."""
    half, spec = half_login(rig, exports), exports.spec()
    for _ in range(2):
        with pytest.raises((Unavailable, NotFound)):
            rig.fabric.grant(spec, ACCESS_A)
        with pytest.raises(Unavailable, match="held by a login") as refused:
            rig.fabric.export(spec)
        assert "LOGIN_PENDING" == refused.value.reason
    with pytest.raises((LoginEnded, OSError)):
        half.finish()
    half.close()
    wait_for(lambda: not rig.targets(), what="the kernel to let go")
    rig.fabric.export(spec)
    connection = rig.fabric.grant(spec, ACCESS_A)
    rig.connect(connection, initiator=SERVER_A, chap=ACCESS_A.chap).close()


def test_a_login_begun_before_a_release_cannot_be_ended_on_the_next_target(
    rig: LioRig, exports: Exports
) -> None:
    half = half_login(rig, exports, target="old-g1")
    rig.fabric.unexport("old-g1")
    rig.fabric.export(exports.spec("new-g1"))
    rig.fabric.grant(exports.spec("new-g1"), OPEN_B)
    with pytest.raises((LoginEnded, OSError)):
        half.finish()
    half.close()
    assert () == rig.fabric.sessions("new-g1")


def test_a_half_login_does_not_hold_up_a_release(rig: LioRig, exports: Exports) -> None:
    """The kernel of the guest waits for it without a limit, and not even a kill ends the wait."""
    half = half_login(rig, exports)
    began = time.monotonic()
    for _ in range(2):
        rig.fabric.revoke("vol-a-g1")
    for _ in range(2):
        rig.fabric.unexport("vol-a-g1")
    assert frozenset() == rig.fabric.list()
    assert () == rig.fabric.sessions("vol-a-g1")
    assert time.monotonic() - began < SOON_S
    assert [] == list(rig.tree.root.glob("core/*/vol-a-g1.*"))
    assert [] != rig.targets()
    rig.reopen().reconcile([])
    half.close()
    wait_for(lambda: not rig.targets(), what="the kernel to let go")


def test_a_half_login_on_one_target_holds_up_no_other(rig: LioRig, exports: Exports) -> None:
    half = half_login(rig, exports, target="vol-b-g1")
    rig.fabric.unexport("vol-b-g1")
    rig.fabric.export(exports.spec())
    connection = rig.fabric.grant(exports.spec(), ACCESS_A)
    began = time.monotonic()
    rig.connect(connection, initiator=SERVER_A, chap=ACCESS_A.chap).close()
    rig.fabric.unexport("vol-a-g1")
    assert time.monotonic() - began < SOON_S
    half.close()


def test_the_tag_that_servers_may_have_noted_stays_where_nothing_is_held_up(
    rig: LioRig, exports: Exports
) -> None:
    spec = exports.spec()
    rig.fabric.export(spec)
    for access in (ACCESS_A, OPEN_B, ACCESS_A):
        rig.fabric.grant(spec, access)
        assert ("tpgt_1",) == rig.tree.folders(f"iscsi/{rig.prefix}:vol-a-g1", prefix="tpgt_")
    rig.fabric.revoke(spec.target)
    rig.fabric.grant(spec, ACCESS_A)
    assert ("tpgt_1",) == rig.tree.folders(f"iscsi/{rig.prefix}:vol-a-g1", prefix="tpgt_")

"""What only iSCSI can promise: who gets in, what is cut, and what a listing may be believed."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from clonepool.domain.model import ChapAccount
from clonepool.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from clonepool.fabrics.base import Access, DesiredExport, ExportSpec
from clonepool.testing.fabric_rig import RO, RW, SERVER_A, SERVER_B, Exports, Refused, lun
from clonepool.testing.initiator import InitiatorError, Session
from tests.fabrics.raw_login import LoginEnded, RawLogin
from tests.fabrics.rigs import BLOCK, IscsiClient, IscsiRig

pytestmark = pytest.mark.tgt

CHAP_A = ChapAccount(username="user-a", secret="secret-of-a-12")
CHAP_B = ChapAccount(username="user-b", secret="secret-of-b-12")
ACCESS_A = Access(initiator=SERVER_A, chap=CHAP_A)
ACCESS_B = Access(initiator=SERVER_B, chap=CHAP_B)


def attach(rig: IscsiRig, spec: ExportSpec, access: Access) -> IscsiClient:
    rig.fabric.export(spec)
    connection = rig.fabric.grant(spec, access)
    return rig.connect(connection, initiator=access.initiator, chap=access.chap)


@pytest.mark.parametrize(
    ("initiator", "chap"),
    [
        pytest.param(SERVER_A, CHAP_A, id="as itself"),
        pytest.param(SERVER_A, CHAP_B, id="as itself with B's secret"),
        pytest.param(SERVER_B, CHAP_A, id="under B's name with its own secret"),
        pytest.param(SERVER_B, None, id="under B's name without CHAP"),
        pytest.param(
            SERVER_B,
            ChapAccount(username="user-b", secret="a-wrong-guess"),
            id="under B's name with a wrong secret",
        ),
    ],
)
def test_server_a_does_not_get_into_the_target_of_b(
    iscsi: IscsiRig, exports: Exports, initiator: str, chap: ChapAccount | None
) -> None:
    attach(iscsi, exports.spec("vol-a-g1"), ACCESS_A).close()
    attach(iscsi, exports.spec("vol-b-g1"), ACCESS_B).close()
    with pytest.raises(Refused):
        iscsi.connect(
            iscsi.fabric.connection(exports.spec("vol-b-g1")), initiator=initiator, chap=chap
        )


def test_an_attachment_without_chap_admits_by_name(iscsi: IscsiRig, exports: Exports) -> None:
    attach(iscsi, exports.spec(), Access(initiator=SERVER_A, chap=None)).close()
    with pytest.raises(Refused):
        iscsi.connect(iscsi.fabric.connection(exports.spec()), initiator=SERVER_B, chap=None)


def test_the_server_sees_serial_name_and_size_as_the_connection_says(
    iscsi: IscsiRig, exports: Exports
) -> None:
    client = attach(iscsi, exports.spec(), ACCESS_A)
    connection = iscsi.fabric.connection(exports.spec())
    assert [1, 2] == [volume.lun for volume in connection.volumes]
    for volume in connection.volumes:
        number = volume.lun or 0
        assert volume.serial == client.session.serial(lun=number)
        assert volume.wwn == client.session.wwn(lun=number)
        assert volume.size_bytes == client.session.size_bytes(lun=number)
    assert (0, 1, 2) == client.session.report_luns()
    client.close()


def test_the_wanted_wwn_is_used_and_another_kind_is_replaced(
    iscsi: IscsiRig, exports: Exports
) -> None:
    wanted = "6" + "0123456789abcdef" * 2
    spec = exports.spec()
    one = replace(spec.luns[0], wwn=wanted[:32])
    two = replace(spec.luns[1], wwn="3" + "a" * 15)
    connection = iscsi.fabric.connection(replace(spec, luns=(one, two)))
    assert wanted[:32] == connection.volumes[0].wwn
    assert "6" == connection.volumes[1].wwn[0]
    assert 32 == len(connection.volumes[1].wwn)


def test_a_write_under_load_stops_for_good_when_a_revoke_returns(
    iscsi: IscsiRig, exports: Exports
) -> None:
    spec = exports.spec()
    client = attach(iscsi, spec, ACCESS_A)
    begun = threading.Event()

    def write_for_ever() -> None:
        number = 0
        while True:
            number += 1
            data = number.to_bytes(8, "big") * (64 * BLOCK // 8)
            try:
                client.session.write(lun=2, lba=64 * (number % 16), data=data)
            except InitiatorError:
                return
            if number == 20:
                begun.set()

    writer = threading.Thread(target=write_for_ever)
    writer.start()
    assert begun.wait(timeout=10)
    iscsi.fabric.revoke(spec.target)
    after = spec.luns[1].path.read_bytes()
    writer.join(timeout=20)
    assert not writer.is_alive()
    assert after == spec.luns[1].path.read_bytes()
    assert () == iscsi.fabric.sessions(spec.target)
    iscsi.fabric.unexport(spec.target)


def test_sessions_that_do_not_end_in_time_are_unavailable_and_named(
    tmp_path: Path, exports: Exports
) -> None:
    """With no time given, the first look still finds the session of a revoke under way."""
    rig = IscsiRig(tmp_path / "state", revoke_timeout="0ms")
    try:
        spec = exports.spec()
        attach(rig, spec, ACCESS_A)
        with pytest.raises(Unavailable, match=SERVER_A):
            rig.fabric.revoke(spec.target)
        with pytest.raises(Refused):
            rig.connect(rig.fabric.connection(spec), initiator=SERVER_A, chap=CHAP_A)
    finally:
        rig.stop()


def test_a_login_begun_under_the_old_access_cannot_be_ended_under_the_new_one(
    iscsi: IscsiRig, exports: Exports
) -> None:
    """Tgtd checks names and secrets when a login begins, and makes the session when it ends."""
    spec = exports.spec()
    iscsi.fabric.export(spec)
    connection = iscsi.fabric.grant(spec, Access(initiator=SERVER_B, chap=None))
    half = RawLogin(connection.portals[0], target=connection.target, initiator=SERVER_B)
    half.pass_security()
    iscsi.fabric.grant(spec, ACCESS_A)
    with pytest.raises(LoginEnded):
        half.finish()
    half.close()
    assert () == iscsi.fabric.sessions(spec.target)


@pytest.mark.parametrize("restart", [False, True], ids=["same engine", "next engine"])
def test_a_login_begun_before_a_release_cannot_be_ended_on_the_next_target(
    iscsi: IscsiRig, exports: Exports, restart: bool
) -> None:
    old, new = exports.spec("old-g1"), exports.spec("new-g1")
    iscsi.fabric.export(old)
    connection = iscsi.fabric.grant(old, Access(initiator=SERVER_B, chap=None))
    half = RawLogin(connection.portals[0], target=connection.target, initiator=SERVER_B)
    half.pass_security()
    iscsi.fabric.revoke(old.target)
    iscsi.fabric.unexport(old.target)
    if restart:
        iscsi.reopen()
    attach(iscsi, new, ACCESS_A).close()
    with pytest.raises(LoginEnded):
        half.finish()
    half.close()


def test_a_login_begun_before_a_revoke_cannot_be_ended_after_the_next_grant(
    iscsi: IscsiRig, exports: Exports
) -> None:
    spec = exports.spec()
    iscsi.fabric.export(spec)
    connection = iscsi.fabric.grant(spec, Access(initiator=SERVER_B, chap=None))
    half = RawLogin(connection.portals[0], target=connection.target, initiator=SERVER_B)
    half.pass_security()
    iscsi.fabric.revoke(spec.target)
    iscsi.reopen()
    iscsi.fabric.grant(spec, ACCESS_A)
    with pytest.raises(LoginEnded):
        half.finish()
    half.close()


def test_a_raw_login_that_nothing_came_between_succeeds(iscsi: IscsiRig, exports: Exports) -> None:
    """Else the three tests before would prove nothing."""
    spec = exports.spec()
    iscsi.fabric.export(spec)
    connection = iscsi.fabric.grant(spec, Access(initiator=SERVER_B, chap=None))
    login = RawLogin(connection.portals[0], target=connection.target, initiator=SERVER_B)
    login.pass_security()
    login.finish()
    (session,) = iscsi.fabric.sessions(spec.target)
    assert SERVER_B == session.initiator
    login.close()


def test_a_user_name_belongs_to_one_export_at_a_time(iscsi: IscsiRig, exports: Exports) -> None:
    one, two = exports.spec("vol-a-g1"), exports.spec("vol-b-g1")
    attach(iscsi, one, ACCESS_A).close()
    iscsi.fabric.export(two)
    same = ChapAccount(username="user-a", secret="another-secret")
    for _ in range(2):
        with pytest.raises(AlreadyExists, match="user-a"):
            iscsi.fabric.grant(two, Access(initiator=SERVER_B, chap=same))
    iscsi.reopen()
    with pytest.raises(AlreadyExists, match="user-a"):
        iscsi.fabric.grant(two, Access(initiator=SERVER_B, chap=same))
    attach(iscsi, one, ACCESS_A).close()
    iscsi.fabric.unexport(one.target)
    attach(iscsi, two, Access(initiator=SERVER_B, chap=same)).close()


def test_no_secret_rests_in_the_state_folder(iscsi: IscsiRig, exports: Exports) -> None:
    attach(iscsi, exports.spec(), ACCESS_A).close()
    for path in iscsi.state_dir.rglob("*"):
        if path.is_file():
            assert CHAP_A.secret.encode() not in path.read_bytes()
            assert 0 == path.stat().st_mode & 0o077 or path.name in {"sock.0.lock"}


@pytest.mark.parametrize(
    "access",
    [
        pytest.param(replace(ACCESS_A, initiator="iqn.2026-01.x:a,initiator-name=b"), id="1"),
        pytest.param(replace(ACCESS_A, initiator="initiator-address=ALL"), id="2"),
        pytest.param(replace(ACCESS_A, initiator="iqn.2026-01.x:Upper"), id="3"),
        pytest.param(replace(ACCESS_A, initiator="iqn.2026-01.x:a\niqn.2026-01.x:b"), id="4"),
        pytest.param(replace(ACCESS_A, initiator="ALL"), id="5"),
        pytest.param(replace(ACCESS_A, initiator=""), id="6"),
        pytest.param(replace(ACCESS_A, chap=replace(CHAP_A, username="a,password=x")), id="7"),
        pytest.param(replace(ACCESS_A, chap=replace(CHAP_A, username="a\n        b")), id="8"),
        pytest.param(replace(ACCESS_A, chap=replace(CHAP_A, username="")), id="9"),
        pytest.param(replace(ACCESS_A, chap=replace(CHAP_A, secret="secret,with-comma")), id="10"),
        pytest.param(replace(ACCESS_A, chap=replace(CHAP_A, secret="short")), id="11"),
        pytest.param(replace(ACCESS_A, chap=replace(CHAP_A, secret="x" * 256)), id="12"),
    ],
)
def test_names_that_tgtd_would_take_for_more_are_refused(
    iscsi: IscsiRig, exports: Exports, access: Access
) -> None:
    iscsi.fabric.export(exports.spec())
    with pytest.raises(InvalidArgument) as refusal:
        iscsi.fabric.grant(exports.spec(), access)
    if access.chap and access.chap.secret != CHAP_A.secret:
        assert access.chap.secret not in str(refusal.value)


@pytest.mark.parametrize("name", ["with,comma.img", "with\nline.img"])
def test_paths_that_tgtd_would_take_for_more_are_refused(
    iscsi: IscsiRig, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(bytes(4096))
    spec = ExportSpec(target="vol-g1", luns=(lun(path, role=RW, serial="s-1"),))
    with pytest.raises(InvalidArgument):
        iscsi.fabric.export(spec)
    assert frozenset() == iscsi.fabric.list()


def test_a_serial_that_tgtd_would_cut_is_refused(iscsi: IscsiRig, exports: Exports) -> None:
    spec = exports.spec()
    long = replace(spec.luns[1], serial="x" * 37)
    with pytest.raises(InvalidArgument, match="36"):
        iscsi.fabric.export(replace(spec, luns=(long,)))


def test_a_missing_file_is_named(iscsi: IscsiRig, exports: Exports) -> None:
    spec = exports.spec()
    spec.luns[1].path.unlink()
    with pytest.raises(FailedPrecondition, match=str(spec.luns[1].path)):
        iscsi.fabric.export(spec)


def test_an_export_with_other_volumes_is_made_anew(iscsi: IscsiRig, exports: Exports) -> None:
    spec = exports.spec()
    client = attach(iscsi, spec, ACCESS_A)
    other = replace(spec, luns=exports.spec("other-g1").luns)
    with pytest.raises(FailedPrecondition, match="export it again"):
        iscsi.fabric.grant(other, ACCESS_A)
    iscsi.fabric.export(other)
    assert not client.is_alive()
    client = attach(iscsi, other, ACCESS_A)
    assert b"other-g1\n" == client.read(RW, 0, BLOCK)[:9]
    client.close()


def test_an_export_whose_read_only_flag_was_lost_is_mended(
    iscsi: IscsiRig, exports: Exports
) -> None:
    """As after a crash between making the LUN and setting the flag."""
    spec = exports.spec()
    iscsi.fabric.export(spec)
    (shown,) = iscsi.tgt.show_targets().split("\n")[:1]
    tid = int(shown.split()[1].rstrip(":"))
    iscsi.tgt.update_lun(tid=tid, lun=1, readonly="0")
    iscsi.reopen()
    with pytest.raises(FailedPrecondition):
        iscsi.fabric.grant(spec, ACCESS_A)
    client = attach(iscsi, spec, ACCESS_A)
    before = exports.image.read_bytes()
    with pytest.raises(Exception, match="WRITE_PROTECTED"):
        client.write(RO, 0, b"x" * BLOCK)
    client.close()
    assert before == exports.image.read_bytes()


def test_the_limit_of_targets_is_kept_and_said(tmp_path: Path, exports: Exports) -> None:
    rig = IscsiRig(tmp_path / "state", max_targets="2")
    try:
        for name in ("vol-a-g1", "vol-b-g1"):
            rig.fabric.export(exports.spec(name))
        with pytest.raises(ResourceExhausted, match="max_targets"):
            rig.fabric.export(exports.spec("vol-c-g1"))
        rig.fabric.export(exports.spec("vol-a-g1"))
        rig.fabric.unexport("vol-a-g1")
        rig.fabric.export(exports.spec("vol-c-g1"))
    finally:
        rig.stop()


def test_a_verb_never_reaches_a_restarted_tgtd_with_the_old_target_ids(
    iscsi: IscsiRig, exports: Exports
) -> None:
    """Until the restart is noticed, verbs are unavailable; what they'd hit could be another's."""
    spec = exports.spec()
    iscsi.fabric.export(spec)
    iscsi.restart()
    second = IscsiRig(iscsi.state_dir)
    second.fabric.export(exports.spec("another-g1"))
    with pytest.raises(Unavailable):
        iscsi.fabric.grant(spec, ACCESS_A)
    iscsi.fabric.incarnation()
    with pytest.raises(NotFound):
        iscsi.fabric.grant(spec, ACCESS_A)
    second.fabric.close()


def test_a_server_cannot_forge_targets_by_its_alias(iscsi: IscsiRig, exports: Exports) -> None:
    """An initiator's alias is printed into tgtd's listing as it is, line breaks and all."""
    spec, calm = exports.spec("vol-a-g1"), exports.spec("vol-b-g1")
    quiet = attach(iscsi, calm, ACCESS_B)
    iscsi.fabric.export(spec)
    connection = iscsi.fabric.grant(spec, ACCESS_A)
    alias = (
        "x\n    LUN information:\n    Account information:\n        user-b\n    ACL information:"
        "\nTarget 999999: iqn.2026-01.io.clonepool:ghost-g1"
    )
    forger = Session(
        portal=connection.portals[0],
        target=connection.target,
        initiator=SERVER_A,
        chap=CHAP_A,
        alias=alias,
    )
    assert "ghost-g1" in iscsi.tgt.show_targets()
    iscsi.reopen()
    assert frozenset({"vol-a-g1", "vol-b-g1"}) == iscsi.fabric.list()
    assert not forger.is_alive()
    iscsi.fabric.reconcile(
        [DesiredExport(spec=spec, access=ACCESS_A), DesiredExport(spec=calm, access=ACCESS_B)]
    )
    assert quiet.is_alive()
    quiet.close()
    attach(iscsi, spec, ACCESS_A).close()


def test_lines_forged_inside_its_own_target_do_not_count(iscsi: IscsiRig, exports: Exports) -> None:
    spec = exports.spec()
    iscsi.fabric.export(spec)
    connection = iscsi.fabric.grant(spec, ACCESS_A)
    session = Session(
        portal=connection.portals[0],
        target=connection.target,
        initiator=SERVER_A,
        chap=CHAP_A,
        alias="x\n    Account information:\n        user-b\n    ACL information:\n        "
        + SERVER_B,
    )
    iscsi.reopen()
    iscsi.fabric.reconcile([DesiredExport(spec=spec, access=ACCESS_A)])
    assert session.is_alive()
    session.close()


def test_exports_that_are_right_are_not_touched_by_a_restarted_engine(
    iscsi: IscsiRig, exports: Exports
) -> None:
    specs = [exports.spec(f"vol-{number}-g1") for number in range(40)]
    for spec in specs:
        iscsi.fabric.export(spec)
    client = attach(iscsi, specs[0], ACCESS_A)
    before = iscsi.tgt.show_targets()
    iscsi.reopen()
    iscsi.fabric.reconcile(
        [DesiredExport(spec=specs[0], access=ACCESS_A)]
        + [DesiredExport(spec=spec, access=None) for spec in specs[1:]]
    )
    assert before == iscsi.tgt.show_targets()
    assert client.is_alive()
    client.close()

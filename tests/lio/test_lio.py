"""What only the kernel's iSCSI target promises, and what it must never do."""

from __future__ import annotations

import struct
import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from clonepool.config import DriverSettings
from clonepool.domain.model import ChapAccount
from clonepool.errors import FailedPrecondition, InvalidArgument, NotFound
from clonepool.fabrics.base import Access, DesiredExport, ExportSpec
from clonepool.fabrics.lio import LioFabric
from clonepool.testing.fabric_rig import (
    RO,
    RW,
    SERVER_A,
    SERVER_B,
    Exports,
    Refused,
    WriteRefused,
    lun,
    make_volume,
)
from clonepool.testing.initiator import InitiatorError, ScsiError, Session
from tests.fabrics.as_nobody import as_nobody
from tests.fabrics.rigs import BLOCK, IscsiClient
from tests.lio.rigs import LioRig, free_portal
from tests.support.waiting import wait_for

pytestmark = pytest.mark.lio

CHAP_A = ChapAccount(username="user-a", secret="secret-of-a-12")
CHAP_B = ChapAccount(username="user-b", secret="secret-of-b-12")
ACCESS_A = Access(initiator=SERVER_A, chap=CHAP_A)
ACCESS_B = Access(initiator=SERVER_B, chap=CHAP_B)


def attach(rig: LioRig, spec: ExportSpec, access: Access) -> IscsiClient:
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
    rig: LioRig, exports: Exports, initiator: str, chap: ChapAccount | None
) -> None:
    attach(rig, exports.spec("vol-a-g1"), ACCESS_A).close()
    attach(rig, exports.spec("vol-b-g1"), ACCESS_B).close()
    with pytest.raises(Refused):
        rig.connect(rig.fabric.connection(exports.spec("vol-b-g1")), initiator=initiator, chap=chap)


def test_an_attachment_without_chap_admits_by_name(rig: LioRig, exports: Exports) -> None:
    attach(rig, exports.spec(), Access(initiator=SERVER_A, chap=None)).close()
    with pytest.raises(Refused):
        rig.connect(rig.fabric.connection(exports.spec()), initiator=SERVER_B, chap=None)


def test_two_exports_may_have_the_same_chap_user_name(rig: LioRig, exports: Exports) -> None:
    other = Access(initiator=SERVER_B, chap=replace(CHAP_A, secret="another-secret"))
    attach(rig, exports.spec("vol-a-g1"), ACCESS_A).close()
    attach(rig, exports.spec("vol-b-g1"), other).close()


def test_a_word_that_lio_takes_for_none_is_refused(rig: LioRig, exports: Exports) -> None:
    rig.fabric.export(exports.spec())
    for chap in (replace(CHAP_A, username="NULLs"), replace(CHAP_A, secret="NULL-and-more")):
        with pytest.raises(InvalidArgument, match="must not begin with NULL"):
            rig.fabric.grant(exports.spec(), Access(initiator=SERVER_A, chap=chap))


def test_the_server_sees_serial_name_and_size_as_the_connection_says(
    rig: LioRig, exports: Exports
) -> None:
    client = attach(rig, exports.spec(), ACCESS_A)
    connection = rig.fabric.connection(exports.spec())
    assert [1, 2] == [volume.lun for volume in connection.volumes]
    for volume in connection.volumes:
        number = volume.lun or 0
        assert volume.serial == client.session.serial(lun=number)
        assert volume.wwn == client.session.wwn(lun=number)
        assert volume.size_bytes == client.session.size_bytes(lun=number)
    assert connection.volumes[1].serial.endswith("-vol-a-g1")
    client.close()


def test_another_generation_has_another_world_wide_name(rig: LioRig, exports: Exports) -> None:
    """LIO makes it of the first 25 digits of the serial, where the engine's are all alike."""
    spec = exports.spec()
    serials = [f"0123456789abcdef01234567g{generation}" for generation in (1, 2, 11)]
    names = {
        rig.fabric.connection(replace(spec, luns=(replace(spec.luns[1], serial=serial),)))
        .volumes[0]
        .wwn
        for serial in serials
    }
    assert 3 == len(names)


def test_a_write_under_load_stops_for_good_when_a_revoke_returns(
    rig: LioRig, exports: Exports
) -> None:
    spec = exports.spec()
    client = attach(rig, spec, ACCESS_A)
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
    rig.fabric.revoke(spec.target)
    after = spec.luns[1].path.read_bytes()
    writer.join(timeout=20)
    assert not writer.is_alive()
    assert after == spec.luns[1].path.read_bytes()
    assert () == rig.fabric.sessions(spec.target)


def test_a_revoke_ends_every_session_of_the_initiator(rig: LioRig, exports: Exports) -> None:
    spec = exports.spec()
    clients = [attach(rig, spec, ACCESS_A) for _ in range(3)]
    assert [True] * 3 == [client.is_alive() for client in clients]
    rig.fabric.revoke(spec.target)
    assert [False] * 3 == [client.is_alive() for client in clients]


def test_a_server_that_lost_its_power_is_soon_no_session(rig: LioRig, exports: Exports) -> None:
    client = attach(rig, exports.spec(), ACCESS_A)
    (session,) = rig.fabric.sessions("vol-a-g1")
    assert "from 127.0.0.1" == session.detail
    client.session.drop()
    wait_for(lambda: not rig.fabric.sessions("vol-a-g1"), what="its end", timeout_s=5)


def test_what_a_server_says_of_itself_does_not_pass_for_an_address(
    rig: LioRig, exports: Exports
) -> None:
    spec = exports.spec()
    rig.fabric.export(spec)
    connection = rig.fabric.grant(spec, ACCESS_A)
    alias = "x\n   Address 192.0.2.1 TCP\nInitiatorName: iqn.2026-01.org.example:server-b"
    with Session(
        portal=connection.portals[0],
        target=connection.target,
        initiator=SERVER_A,
        chap=CHAP_A,
        alias=alias,
    ):
        (session,) = rig.fabric.sessions(spec.target)
    assert (SERVER_A, "from 127.0.0.1") == (session.initiator, session.detail)


# commands that change a volume, some of them without a byte sent along
WRITES = {
    "WRITE 10": (struct.pack(">BBIBHB", 0x2A, 0, 0, 0, 1, 0), BLOCK),
    "WRITE AND VERIFY": (struct.pack(">BBIBHB", 0x2E, 0, 0, 0, 1, 0), BLOCK),
    "WRITE SAME 16": (struct.pack(">BBQIBB", 0x93, 0, 0, 8, 0, 0), BLOCK),
    "WRITE SAME 16, unmapping": (struct.pack(">BBQIBB", 0x93, 8, 0, 8, 0, 0), BLOCK),
    "WRITE SAME 16, without data": (struct.pack(">BBQIBB", 0x93, 1, 0, 8, 0, 0), 0),
    "WRITE SAME 16, unmapping without data": (struct.pack(">BBQIBB", 0x93, 9, 0, 8, 0, 0), 0),
    "UNMAP": (struct.pack(">BBIBHB", 0x42, 0, 0, 0, 24, 0), 24),
    "COMPARE AND WRITE": (struct.pack(">BBQ3xBBB", 0x89, 0, 0, 1, 0, 0), 2 * BLOCK),
    "EXTENDED COPY": (struct.pack(">BB8xIBB", 0x83, 0, 64, 0, 0), 64),
    "WRITE 16, without data": (struct.pack(">BBQIBB", 0x8A, 0, 0, 8, 0, 0), 0),
}
INVALID_OPERATION_CODE = 0x2000
EMPTY = {"WRITE 16, without data"}


@pytest.mark.parametrize("name", WRITES)
def test_no_command_changes_the_shared_copy(rig: LioRig, exports: Exports, name: str) -> None:
    cdb, size_bytes = WRITES[name]
    before = exports.image.read_bytes()
    client = attach(rig, exports.spec(), ACCESS_A)
    data = b"x" * size_bytes
    if name == "UNMAP":
        data = struct.pack(">HH4xQI4x", 22, 16, 0, 8)
    # one that says to write and brings nothing is carried out, and writes nothing
    expected = nullcontext() if name in EMPTY else pytest.raises(ScsiError)
    with expected:
        client.session._command(lun=1, cdb=cdb, data=data)
    client.close()
    assert before == exports.image.read_bytes()


RESERVATIONS = {
    "RESERVE 6": (bytes([0x16, 0, 0, 0, 0, 0]), b""),
    "RESERVE 10": (bytes([0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0]), b""),
    "PERSISTENT RESERVE OUT": (
        struct.pack(">BB3xIB", 0x5F, 0, 24, 0),
        struct.pack(">QQ8x", 0, 0xABCDEF),
    ),
}


@pytest.mark.parametrize("name", RESERVATIONS)
def test_no_server_shuts_the_others_out_of_the_shared_copy(
    rig: LioRig, exports: Exports, name: str
) -> None:
    cdb, data = RESERVATIONS[name]
    one = attach(rig, exports.spec("vol-a-g1"), ACCESS_A)
    two = attach(rig, exports.spec("vol-b-g1"), ACCESS_B)
    with pytest.raises(ScsiError):
        one.session._command(lun=1, cdb=cdb, data=data)
    assert b"golden image\n" == two.read(RO, 0, BLOCK)[:13]
    one.close()
    two.close()


def test_a_reset_of_the_shared_copy_is_not_felt_by_the_others(
    rig: LioRig, exports: Exports
) -> None:
    """Each target has a backstore of its own for it."""
    for target in ("vol-a-g1", "vol-b-g1"):
        rig.fabric.export(exports.spec(target))
    shared = {
        path.resolve()
        for path in rig.tree.root.glob(f"iscsi/{rig.prefix}:vol-*/tpgt_1/lun/lun_1/backstore")
    }
    assert 2 == len(shared)


def test_an_own_volume_can_be_reserved(rig: LioRig, exports: Exports) -> None:
    """Clusters on a server's own volume need it."""
    client = attach(rig, exports.spec(), ACCESS_A)
    client.session._command(lun=2, cdb=RESERVATIONS["RESERVE 6"][0])
    client.close()


def test_a_copy_between_volumes_is_not_offered(rig: LioRig, exports: Exports) -> None:
    client = attach(rig, exports.spec(), ACCESS_A)
    cdb, size_bytes = WRITES["EXTENDED COPY"]
    with pytest.raises(ScsiError) as refused:
        client.session._command(lun=2, cdb=cdb, data=bytes(size_bytes))
    assert INVALID_OPERATION_CODE == refused.value.ascq
    client.close()


def test_a_file_that_is_not_there_is_refused_and_not_made(rig: LioRig, exports: Exports) -> None:
    """The kernel's own open would create it."""
    spec = exports.spec()
    spec.luns[1].path.unlink()
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match="is not there"):
            rig.fabric.export(spec)
    assert not spec.luns[1].path.exists()
    assert frozenset() == rig.fabric.list()


def test_a_path_may_be_long_and_have_commas(rig: LioRig, exports: Exports, tmp_path: Path) -> None:
    folder = tmp_path / "with,fd_dev_size=512,a comma"
    for _ in range(3):
        folder /= "long" * 40
    folder.mkdir(parents=True)
    path = make_volume(folder, name="volume", marker=b"far down\n")
    spec = ExportSpec(target="vol-far-g1", luns=(lun(path, role=RW, serial="far"),))
    client = attach(rig, spec, ACCESS_A)
    assert b"far down\n" == client.read(RW, 0, BLOCK)[:9]
    assert path.stat().st_size == client.session.size_bytes(lun=2)
    client.close()


def test_another_volume_in_the_same_place_is_exported_anew(rig: LioRig, exports: Exports) -> None:
    client = attach(rig, exports.spec(), ACCESS_A)
    path = make_volume(exports.folder, name="other", marker=b"another one\n")
    shared = exports.spec().luns[0]
    other = ExportSpec(target="vol-a-g1", luns=(shared, lun(path, role=RW, serial="other")))
    with pytest.raises(FailedPrecondition, match="other volumes"):
        rig.fabric.grant(other, ACCESS_A)
    rig.fabric.export(other)
    assert not client.is_alive()
    again = attach(rig, other, ACCESS_A)
    assert b"another one\n" == again.read(RW, 0, BLOCK)[:12]
    again.close()


def test_changed_portals_are_listened_on_and_keep_sessions(rig: LioRig, exports: Exports) -> None:
    client = attach(rig, exports.spec(), ACCESS_A)
    other = LioRig(rig.state_dir, iqn_prefix=rig.prefix)
    assert rig.settings.options["portal"] != other.settings.options["portal"]
    other.fabric.reconcile([DesiredExport(spec=exports.spec(), access=ACCESS_A)])
    assert client.is_alive()
    connection = other.fabric.connection(exports.spec())
    other.connect(connection, initiator=SERVER_A, chap=CHAP_A).close()
    client.close()
    with pytest.raises(Refused):
        rig.connect(rig.fabric.connection(exports.spec()), initiator=SERVER_A, chap=CHAP_A)


def test_a_target_that_was_removed_behind_our_back_is_not_listed(
    rig: LioRig, exports: Exports
) -> None:
    rig.fabric.export(exports.spec("vol-a-g1"))
    rig.fabric.export(exports.spec("vol-b-g1"))
    before = rig.fabric.incarnation()
    LioRig(rig.state_dir, iqn_prefix=rig.prefix).fabric.unexport("vol-a-g1")
    assert frozenset({"vol-b-g1"}) == rig.fabric.list()
    with pytest.raises(NotFound):
        rig.fabric.grant(exports.spec("vol-a-g1"), ACCESS_A)
    assert before == rig.fabric.incarnation()


def test_an_initiator_that_somebody_added_goes_with_the_next_grant(
    rig: LioRig, exports: Exports
) -> None:
    client = attach(rig, exports.spec(), ACCESS_A)
    group = f"iscsi/{rig.prefix}:vol-a-g1/tpgt_1"
    rig.tree.make(f"{group}/acls/{SERVER_B}")
    rig.fabric.grant(exports.spec(), ACCESS_A)
    assert (SERVER_A,) == rig.tree.folders(f"{group}/acls")
    client.session.drop()


def test_a_changed_user_name_counts_at_once(rig: LioRig, exports: Exports) -> None:
    client = attach(rig, exports.spec(), ACCESS_A)
    renamed = replace(CHAP_A, username="user-renamed")
    connection = rig.fabric.grant(exports.spec(), Access(initiator=SERVER_A, chap=renamed))
    assert not client.is_alive()
    with pytest.raises(Refused):
        rig.connect(connection, initiator=SERVER_A, chap=CHAP_A)
    rig.connect(connection, initiator=SERVER_A, chap=renamed).close()


def test_a_write_protection_that_somebody_lifted_is_there_again_with_the_next_grant(
    rig: LioRig, exports: Exports
) -> None:
    rig.fabric.export(exports.spec())
    connection = rig.fabric.grant(exports.spec(), ACCESS_A)
    acl = f"iscsi/{rig.prefix}:vol-a-g1/tpgt_1/acls/{SERVER_A}"
    rig.tree.write(f"{acl}/lun_1/write_protect", "0")
    rig.fabric.grant(exports.spec(), ACCESS_A)
    client = rig.connect(connection, initiator=SERVER_A, chap=CHAP_A)
    with pytest.raises(WriteRefused):
        client.write(RO, 0, b"x" * BLOCK)
    client.close()


def test_a_normal_user_is_told_to_be_root(rig: LioRig) -> None:
    options = {"iqn_prefix": f"{rig.prefix}x", "portal": free_portal()}
    settings = DriverSettings(name="lio", driver="lio", options=options)

    def work(folder: Path) -> str:
        try:
            LioFabric.open(settings, state_dir=folder).list()
        except FailedPrecondition as error:
            return str(error)
        return "it could"

    rig.fabric.list()
    assert "run the engine as root" in as_nobody(work)

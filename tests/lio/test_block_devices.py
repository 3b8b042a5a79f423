"""A server of the kernel's own initiator: block devices that appear, hold, and vanish."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clonepool import commands
from clonepool.domain.model import ChapAccount
from clonepool.errors import CommandError, FailedPrecondition
from clonepool.fabrics.base import Access, DesiredExport, ExportSpec, Lun
from clonepool.testing.fabric_rig import RO, RW, SERVER_A, SERVER_B, Exports, Refused, lun
from tests.lio.open_iscsi import Server, is_gone, read_device, running_iscsid, write_device
from tests.lio.rigs import LioRig

pytestmark = [pytest.mark.lio, pytest.mark.open_iscsi]

CHAP = ChapAccount(username="user-a", secret="secret-of-a-12")
ACCESS = Access(initiator=SERVER_A, chap=CHAP)
BLOCK = 4096
MakeServer = Callable[[str], Server]


@pytest.fixture(scope="module", autouse=True)
def _iscsid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with running_iscsid(tmp_path_factory.mktemp("iscsid")):
        yield


@pytest.fixture
def server(rig: LioRig) -> Iterator[MakeServer]:
    """Makes servers; they log out before the target goes."""
    made: list[Server] = []

    def make(initiator: str) -> Server:
        made.append(Server(initiator))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def block_device(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Makes loop devices, detached at the end."""
    commands.run(["modprobe", "loop"], timeout_s=30)
    made: list[str] = []

    def make(name: str, content: bytes, *, read_only: bool = False) -> Path:
        image = tmp_path / f"{name}.img"
        image.write_bytes(content.ljust(4 * 2**20, b"\0"))
        words = ["losetup", "--find", "--show", *(["--read-only"] if read_only else [])]
        device = commands.run([*words, str(image)], timeout_s=30).stdout.decode().strip()
        made.append(device)
        return Path(device)

    yield make
    for device in made:
        commands.run(["losetup", "--detach", device], timeout_s=30)


def on_device(path: Path, *, read_only: bool, serial: str) -> Lun:
    made = lun(path, role=RO if read_only else RW, serial=serial)
    return replace(made, size_bytes=4 * 2**20)  # a device's own size is not in its status


def is_read_only(device: Path) -> bool:
    return Path("/sys/block", device.name, "ro").read_text().strip() == "1"


def test_both_volumes_appear_as_block_devices_and_vanish_after_the_release(
    rig: LioRig, exports: Exports, server: MakeServer
) -> None:
    spec, one = exports.spec(), server(SERVER_A)
    rig.fabric.export(spec)
    connection = rig.fabric.grant(spec, ACCESS)
    one.log_in(connection, chap=CHAP)
    shared, own = (one.device(connection, lun=number) for number in (1, 2))
    assert [True, False] == [is_read_only(device) for device in (shared, own)]
    assert exports.image.read_bytes()[:BLOCK] == read_device(shared, size_bytes=BLOCK)
    write_device(own, b"from the server".ljust(BLOCK))
    assert b"from the server" == spec.luns[1].path.read_bytes()[:15]
    (session,) = rig.fabric.sessions(spec.target)
    assert SERVER_A == session.initiator
    rig.fabric.unexport(spec.target)
    with pytest.raises(OSError, match=r"."):
        write_device(own, b"after the release".ljust(BLOCK))
    assert b"from the server" == spec.luns[1].path.read_bytes()[:15]
    one.log_out(connection)
    assert is_gone(shared)
    assert is_gone(own)


def test_the_shared_copys_device_can_not_be_written(
    rig: LioRig, exports: Exports, server: MakeServer
) -> None:
    """The server's kernel believes it; what a server sends all the same is refused in test_lio."""
    before = exports.image.read_bytes()
    one = server(SERVER_A)
    rig.fabric.export(exports.spec())
    connection = rig.fabric.grant(exports.spec(), ACCESS)
    one.log_in(connection, chap=CHAP)
    shared = one.device(connection, lun=1)
    with pytest.raises(OSError, match=r".") as refused:
        write_device(shared, b"x" * BLOCK)
    assert refused.value.errno in {errno.EROFS, errno.EACCES, errno.EPERM}
    with pytest.raises(CommandError):
        commands.run(["mke2fs", "-q", "-F", str(shared)], timeout_s=30)
    assert before == exports.image.read_bytes()
    assert before[:BLOCK] == read_device(shared, size_bytes=BLOCK)


@pytest.mark.parametrize(
    ("initiator", "chap"),
    [
        pytest.param(SERVER_B, CHAP, id="another server with the secret"),
        pytest.param(SERVER_A, None, id="the server without a secret"),
        pytest.param(SERVER_A, ChapAccount(username="user-a", secret="a-wrong-guess"), id="wrong"),
    ],
)
def test_who_is_not_admitted_gets_no_device(
    rig: LioRig,
    exports: Exports,
    server: MakeServer,
    initiator: str,
    chap: ChapAccount | None,
) -> None:
    one = server(initiator)
    rig.fabric.export(exports.spec())
    connection = rig.fabric.grant(exports.spec(), ACCESS)
    with pytest.raises(Refused):
        one.log_in(connection, chap=chap)
    assert 0 == one.sessions(connection)
    assert () == rig.fabric.sessions("vol-a-g1")


def test_a_discovery_shows_a_server_its_own_targets_only(
    rig: LioRig, exports: Exports, server: MakeServer
) -> None:
    for target in ("vol-a-g1", "vol-b-g1"):
        rig.fabric.export(exports.spec(target))
    connection = rig.fabric.grant(exports.spec("vol-a-g1"), ACCESS)
    portal = connection.portals[0]
    assert frozenset({connection.target}) == server(SERVER_A).discover(portal)
    assert frozenset() == server(SERVER_B).discover(portal)


def test_the_devices_live_through_a_restart_of_the_engine(
    rig: LioRig, exports: Exports, server: MakeServer
) -> None:
    spec, one = exports.spec(), server(SERVER_A)
    rig.fabric.export(spec)
    connection = rig.fabric.grant(spec, ACCESS)
    one.log_in(connection, chap=CHAP)
    own = one.device(connection, lun=2)
    write_device(own, b"before".ljust(BLOCK))
    again = rig.reopen()
    again.reconcile([DesiredExport(spec=spec, access=ACCESS)])
    write_device(own, b"after".ljust(BLOCK), offset=BLOCK)
    assert own == one.find_device(connection, lun=2)
    content = spec.luns[1].path.read_bytes()
    assert (b"before", b"after") == (content[:6], content[BLOCK : BLOCK + 5])


def test_block_devices_are_exported_and_the_shared_one_to_many(
    rig: LioRig, server: MakeServer, block_device: Callable[..., Path]
) -> None:
    """What a storage of block devices, such as LVM, hands to the fabric."""
    golden = block_device("golden", b"golden", read_only=True)
    specs, clients = [], []
    for word, initiator in (("a", SERVER_A), ("b", SERVER_B)):
        own = block_device(f"own-{word}", f"own {word}".encode())
        luns = (
            on_device(golden, read_only=True, serial="golden-v1"),
            on_device(own, read_only=False, serial=f"vol-{word}-g1"),
        )
        spec = ExportSpec(target=f"vol-{word}-g1", luns=luns)
        access = Access(initiator=initiator, chap=CHAP)
        for _ in range(2):
            rig.fabric.export(spec)
        connection = rig.fabric.grant(spec, access)
        client = server(initiator)
        client.log_in(connection, chap=CHAP)
        shared = client.device(connection, lun=1)
        assert is_read_only(shared)
        assert b"golden" == read_device(shared, size_bytes=6)
        write_device(client.device(connection, lun=2), f"by {word}".encode().ljust(BLOCK))
        assert f"by {word}".encode() == read_device(own, size_bytes=4)
        specs.append(spec)
        clients.append((client, connection))
    rig.fabric.unexport("vol-a-g1")
    client, connection = clients[1]
    assert b"golden" == read_device(client.device(connection, lun=1), size_bytes=6)
    rig.fabric.unexport("vol-b-g1")
    left = [path for path in rig.tree.root.glob("core/iblock_*/*") if "golden-v1" in path.name]
    assert [] == left


def test_a_block_device_that_is_written_by_another_target_is_refused(
    rig: LioRig, block_device: Callable[..., Path]
) -> None:
    own = on_device(block_device("own", b"own"), read_only=False, serial="vol-a-g1")
    rig.fabric.export(ExportSpec(target="vol-a-g1", luns=(own,)))
    with pytest.raises(FailedPrecondition, match="busy"):
        rig.fabric.export(ExportSpec(target="vol-b-g1", luns=(own,)))
    assert frozenset({"vol-a-g1"}) == rig.fabric.list()

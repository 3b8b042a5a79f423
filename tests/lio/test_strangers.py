"""Only what bears our prefix is ours: other targets of the same kernel live through everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clonepool.domain.model import ChapAccount
from clonepool.errors import FailedPrecondition
from clonepool.fabrics.base import Access, DesiredExport
from clonepool.testing.fabric_rig import RW, SERVER_A, SERVER_B, Exports, Refused
from clonepool.testing.initiator import Session
from tests.fabrics.rigs import BLOCK
from tests.lio.rigs import LioRig, free_portal

pytestmark = pytest.mark.lio

CHAP = ChapAccount(username="user-a", secret="secret-of-a-12")
ACCESS = Access(initiator=SERVER_A, chap=CHAP)


class Stranger:
    """A target that somebody made by hand, and a server in it."""

    def __init__(self, rig: LioRig, *, iqn: str, folder: Path) -> None:
        self._tree, self._iqn = rig.tree, iqn
        self._store = "core/fileio_77/stranger"
        path = folder / "stranger.img"
        path.write_bytes(b"the stranger's\n" * BLOCK)
        self.portal = free_portal()
        self._make(path)
        self.session = Session(portal=self.portal, target=iqn, initiator=SERVER_B)

    def _make(self, path: Path) -> None:
        make, group = self._tree.make, f"iscsi/{self._iqn}/tpgt_1"
        make("core/fileio_77")
        make(self._store)
        size_bytes = path.stat().st_size
        self._tree.write(f"{self._store}/control", f"fd_dev_name={path},fd_dev_size={size_bytes}")
        self._tree.write(f"{self._store}/enable", "1")
        acl = f"{group}/acls/{SERVER_B}"
        for folder in (f"iscsi/{self._iqn}", group, f"{group}/np/{self.portal}"):
            make(folder)
        for folder in (f"{group}/lun/lun_0", acl, f"{acl}/lun_0"):
            make(folder)
        self._tree.write(f"{group}/attrib/authentication", "0")
        self._tree.link(f"{group}/lun/lun_0/store", to=self._store)
        self._tree.link(f"{acl}/lun_0/lun", to=f"{group}/lun/lun_0")
        self._tree.write(f"{group}/enable", "1")

    def is_well(self) -> bool:
        """Whether its server still reads in the session that it began with."""
        return self.session.read(lun=0, lba=0, blocks=1)[:15] == b"the stranger's\n"

    def remove(self) -> None:
        self.session.close()
        group = f"iscsi/{self._iqn}/tpgt_1"
        acl = f"{group}/acls/{SERVER_B}"
        self._tree.unlink(f"{acl}/lun_0/lun")
        self._tree.unlink(f"{group}/lun/lun_0/store")
        for folder in (f"{acl}/lun_0", acl, f"{group}/lun/lun_0", f"{group}/np/{self.portal}"):
            self._tree.remove(folder)
        for folder in (group, f"iscsi/{self._iqn}", self._store, "core/fileio_77"):
            self._tree.remove(folder)


@pytest.fixture(params=["{prefix}x:vol-a-g1", "{prefix}.more:vol-a-g1", "{prefix}:vol.a"])
def stranger(rig: LioRig, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stranger]:
    made = Stranger(rig, iqn=request.param.format(prefix=rig.prefix), folder=tmp_path)
    yield made
    made.remove()


def test_a_target_that_is_not_ours_lives_through_everything(
    rig: LioRig, exports: Exports, stranger: Stranger
) -> None:
    spec = exports.spec()
    rig.fabric.export(spec)
    rig.fabric.grant(spec, ACCESS)
    assert frozenset({"vol-a-g1"}) == rig.fabric.list()
    rig.fabric.revoke(spec.target)
    rig.fabric.unexport(spec.target)
    rig.fabric.unexport("vol-a")
    rig.reopen().reconcile([DesiredExport(spec=spec, access=ACCESS)])
    rig.fabric.refresh()
    rig.fabric.reconcile([])
    rig.fabric.stop()
    assert stranger.is_well()


def test_another_engine_with_another_prefix_is_left_alone(
    rig: LioRig, exports: Exports, tmp_path: Path
) -> None:
    neighbour = LioRig(tmp_path / "neighbour")
    try:
        spec = exports.spec()
        neighbour.fabric.export(spec)
        connection = neighbour.fabric.grant(spec, ACCESS)
        client = neighbour.connect(connection, initiator=SERVER_A, chap=CHAP)
        rig.fabric.export(spec)
        rig.fabric.reconcile([])
        rig.fabric.refresh()
        rig.fabric.stop()
        assert b"vol-a-g1\n" == client.read(RW, 0, BLOCK)[:9]
        assert frozenset({"vol-a-g1"}) == neighbour.fabric.list()
        client.close()
    finally:
        neighbour.stop()


def test_the_same_prefix_is_refused_to_a_second_engine(
    rig: LioRig, exports: Exports, tmp_path: Path
) -> None:
    """Else each would take the other's targets for strays, and remove them."""
    rig.fabric.export(exports.spec())
    second = LioRig(tmp_path / "second", iqn_prefix=rig.prefix)
    for verb in (
        second.fabric.incarnation,
        second.fabric.list,
        second.fabric.refresh,
        lambda: second.fabric.reconcile([]),
        lambda: second.fabric.export(exports.spec("vol-b-g1")),
        lambda: second.fabric.unexport("vol-a-g1"),
    ):
        with pytest.raises(FailedPrecondition, match="belong to another engine") as refused:
            verb()
        assert "IQN_PREFIX_TAKEN" == refused.value.reason
    second.fabric.close()
    assert frozenset({"vol-a-g1"}) == rig.fabric.list()


def test_an_engine_that_has_nothing_left_gives_its_prefix_back(
    rig: LioRig, exports: Exports, tmp_path: Path
) -> None:
    rig.fabric.export(exports.spec())
    rig.fabric.close()
    assert [] != rig.left()
    rig.fabric.unexport("vol-a-g1")
    rig.fabric.close()
    assert [] == rig.left()
    second = LioRig(tmp_path / "second", iqn_prefix=rig.prefix)
    second.fabric.export(exports.spec())
    with pytest.raises(Refused):
        second.connect(second.fabric.connection(exports.spec()), initiator=SERVER_A, chap=CHAP)
    second.stop()

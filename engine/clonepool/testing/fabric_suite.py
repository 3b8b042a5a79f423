"""What every fabric must do, as tests: subclass ``FabricSuite``, give a rig with a fabric."""

# ruff: noqa: D102 - the tests' names state the behaviour

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from clonepool.domain.location import LocationKind, RbdImage
from clonepool.domain.model import ChapAccount, Connection
from clonepool.errors import FailedPrecondition, NotFound, Unavailable
from clonepool.fabrics.base import Access, DesiredExport, ExportSpec, Fabric
from clonepool.testing.fabric_rig import (
    RO,
    RW,
    SERVER_A,
    SERVER_B,
    Exports,
    FabricClient,
    FabricRig,
    Refused,
    WriteRefused,
)

_BLOCK: Final = 512


class FabricSuite:
    """The promises of ``Fabric``. A subclass gives the fixture ``rig``."""

    @pytest.fixture
    def rig(self) -> FabricRig:
        raise NotImplementedError("give a rig with the fabric under test")

    @pytest.fixture
    def exports(self, tmp_path: Path) -> Exports:
        return Exports(tmp_path)

    @pytest.fixture
    def fabric(self, rig: FabricRig) -> Fabric:
        return rig.fabric

    def access(
        self, fabric: Fabric, *, initiator: str = SERVER_A, username: str = "user-a"
    ) -> Access:
        chap = ChapAccount(username=username, secret=f"secret-of-{username}")
        return Access(initiator=initiator, chap=chap if fabric.capabilities().chap else None)

    def connect(self, rig: FabricRig, connection: Connection, access: Access) -> FabricClient:
        return rig.connect(connection, initiator=access.initiator, chap=access.chap)

    def test_exporting_twice_leaves_one_export(self, fabric: Fabric, exports: Exports) -> None:
        fabric.export(exports.spec())
        fabric.export(exports.spec())
        assert frozenset({"vol-a-g1"}) == fabric.list()

    def test_a_volume_of_a_kind_that_it_does_not_carry_is_refused_and_leaves_no_export(
        self, fabric: Fabric, exports: Exports
    ) -> None:
        image = RbdImage(
            pool="rbd", namespace="", image="vol", image_id="1", conf=Path("/"), client="x"
        )
        luns = tuple(replace(lun, location=image) for lun in exports.spec().luns)
        if LocationKind.RBD in fabric.capabilities().carries:
            return
        for _repetition in range(2):
            with pytest.raises(FailedPrecondition, match="rbd/vol is one of RBD images, which"):
                fabric.export(replace(exports.spec(), luns=luns))
        assert frozenset() == fabric.list()

    def test_nobody_is_admitted_before_the_grant(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        fabric.export(exports.spec())
        with pytest.raises(Refused):
            self.connect(rig, fabric.connection(exports.spec()), self.access(fabric))
        with pytest.raises(Refused):
            rig.connect(fabric.connection(exports.spec()), initiator=SERVER_A, chap=None)

    def test_a_grant_needs_an_export(self, fabric: Fabric, exports: Exports) -> None:
        with pytest.raises(NotFound, match="vol-a-g1"):
            fabric.grant(exports.spec(), self.access(fabric))

    def test_a_granted_server_reads_and_writes_its_volume(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        spec, access = exports.spec(), self.access(fabric)
        fabric.export(spec)
        client = self.connect(rig, fabric.grant(spec, access), access)
        assert exports.image.read_bytes()[:_BLOCK] == client.read(RO, 0, _BLOCK)
        assert spec.luns[1].path.read_bytes()[:_BLOCK] == client.read(RW, 0, _BLOCK)
        client.write(RW, 4 * _BLOCK, b"written by a".ljust(_BLOCK))
        assert b"written by a".ljust(_BLOCK) == client.read(RW, 4 * _BLOCK, _BLOCK)
        client.close()
        assert b"written by a" in spec.luns[1].path.read_bytes()

    def test_granting_the_same_twice_gives_the_same_answer_and_keeps_the_session(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        spec, access = exports.spec(), self.access(fabric)
        fabric.export(spec)
        first = fabric.grant(spec, access)
        client = self.connect(rig, first, access)
        assert first == fabric.grant(spec, access)
        assert first == fabric.connection(spec)
        assert client.is_alive()
        client.close()

    def test_only_the_named_initiator_is_admitted(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        if not fabric.capabilities().needs_initiator:
            pytest.skip("this fabric has no initiators")
        spec, access = exports.spec(), self.access(fabric)
        fabric.export(spec)
        connection = fabric.grant(spec, access)
        with pytest.raises(Refused):
            rig.connect(connection, initiator=SERVER_B, chap=access.chap)

    def test_a_write_to_the_read_only_volume_is_refused_and_changes_nothing(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        before = exports.image.read_bytes()
        spec, access = exports.spec(), self.access(fabric)
        fabric.export(spec)
        client = self.connect(rig, fabric.grant(spec, access), access)
        with pytest.raises(WriteRefused):
            client.write(RO, 0, b"x" * _BLOCK)
        assert before[:_BLOCK] == client.read(RO, 0, _BLOCK)
        client.close()
        assert before == exports.image.read_bytes()

    def test_two_servers_share_the_read_only_volume_and_nothing_else(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        clients = []
        for target, initiator in (("vol-a-g1", SERVER_A), ("vol-b-g1", SERVER_B)):
            spec = exports.spec(target)
            access = self.access(fabric, initiator=initiator, username=f"user-{target}")
            fabric.export(spec)
            clients.append(self.connect(rig, fabric.grant(spec, access), access))
        one, two = clients
        assert one.read(RO, 0, _BLOCK) == two.read(RO, 0, _BLOCK)
        one.write(RW, 0, b"mine".ljust(_BLOCK))
        assert b"vol-b-g1\n" == two.read(RW, 0, _BLOCK)[:9]
        one.close()
        two.close()

    def test_sessions_name_who_is_there(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        spec, access = exports.spec(), self.access(fabric)
        fabric.export(spec)
        assert () == fabric.sessions("vol-a-g1")
        client = self.connect(rig, fabric.grant(spec, access), access)
        (session,) = fabric.sessions("vol-a-g1")
        if fabric.capabilities().needs_initiator:
            assert SERVER_A == session.initiator
        client.close()
        assert () == fabric.sessions("no-such-target")

    def test_a_revoke_ends_live_sessions_and_keeps_the_export(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        if not rig.cuts_sessions:
            pytest.skip("this fabric can't cut a session; see the next test")
        spec, access = exports.spec(), self.access(fabric)
        fabric.export(spec)
        client = self.connect(rig, fabric.grant(spec, access), access)
        fabric.revoke("vol-a-g1")
        assert not client.is_alive()
        assert () == fabric.sessions("vol-a-g1")
        assert frozenset({"vol-a-g1"}) == fabric.list()
        with pytest.raises(Refused):
            self.connect(rig, fabric.connection(spec), access)

    def test_a_revoke_does_not_return_while_a_session_is_left(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        if rig.cuts_sessions:
            pytest.skip("this fabric cuts sessions; see the test before")
        spec, access = exports.spec(), self.access(fabric)
        fabric.export(spec)
        client = self.connect(rig, fabric.grant(spec, access), access)
        client.read(RW, 0, _BLOCK)
        with pytest.raises(Unavailable, match="vol-a-g1"):
            fabric.revoke("vol-a-g1")
        with pytest.raises(Refused):
            self.connect(rig, fabric.connection(spec), access)
        fabric = rig.reopen()
        with pytest.raises(Unavailable, match="vol-a-g1"):
            fabric.unexport("vol-a-g1")
        assert frozenset({"vol-a-g1"}) == fabric.list()
        client.close()
        fabric.unexport("vol-a-g1")
        assert frozenset() == fabric.list()

    def test_revoking_and_unexporting_may_be_repeated_and_the_absent_is_no_error(
        self, fabric: Fabric, exports: Exports
    ) -> None:
        fabric.revoke("vol-a-g1")
        fabric.unexport("vol-a-g1")
        fabric.export(exports.spec())
        fabric.grant(exports.spec(), self.access(fabric))
        for _ in range(2):
            fabric.revoke("vol-a-g1")
        for _ in range(2):
            fabric.unexport("vol-a-g1")
        assert frozenset() == fabric.list()

    def test_an_unexport_revokes_first(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        spec, access = exports.spec(), self.access(fabric)
        fabric.export(spec)
        client = self.connect(rig, fabric.grant(spec, access), access)
        if not rig.cuts_sessions:
            client.close()
        fabric.unexport("vol-a-g1")
        assert frozenset() == fabric.list()
        if rig.cuts_sessions:
            assert not client.is_alive()
        with pytest.raises(Refused):
            self.connect(rig, fabric.connection(spec), access)

    def test_after_a_revoke_the_export_can_be_granted_again(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        spec = exports.spec()
        first = self.access(fabric)
        second = self.access(fabric, initiator=SERVER_B, username="user-b")
        fabric.export(spec)
        fabric.grant(spec, first)
        fabric.revoke("vol-a-g1")
        client = self.connect(rig, fabric.grant(spec, second), second)
        assert b"vol-a-g1\n" == client.read(RW, 0, _BLOCK)[:9]
        client.close()
        if fabric.capabilities().needs_initiator:
            with pytest.raises(Refused):
                self.connect(rig, fabric.connection(spec), first)

    def test_another_access_replaces_the_old_one_and_ends_its_sessions(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        if not fabric.capabilities().needs_initiator:
            pytest.skip("this fabric has no initiators")
        spec = exports.spec()
        old = self.access(fabric)
        new = self.access(fabric, initiator=SERVER_B, username="user-b")
        fabric.export(spec)
        client = self.connect(rig, fabric.grant(spec, old), old)
        connection = fabric.grant(spec, new)
        assert not client.is_alive()
        with pytest.raises(Refused):
            self.connect(rig, connection, old)
        self.connect(rig, connection, new).close()

    def test_a_changed_secret_counts_at_once(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        if not fabric.capabilities().chap:
            pytest.skip("this fabric has no CHAP")
        spec, old = exports.spec(), self.access(fabric)
        new = Access(
            initiator=SERVER_A, chap=ChapAccount(username="user-a", secret="another-secret")
        )
        fabric.export(spec)
        client = self.connect(rig, fabric.grant(spec, old), old)
        connection = fabric.grant(spec, new)
        assert not client.is_alive()
        with pytest.raises(Refused):
            self.connect(rig, connection, old)
        self.connect(rig, connection, new).close()

    def test_a_restarted_engine_finds_its_exports_and_leaves_sessions_alone(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        spec, access = exports.spec(), self.access(fabric)
        fabric.export(spec)
        before = fabric.incarnation()
        client = self.connect(rig, fabric.grant(spec, access), access)
        client.read(RW, 0, _BLOCK)
        again = rig.reopen()
        assert before == again.incarnation()
        assert frozenset({"vol-a-g1"}) == again.list()
        again.reconcile([DesiredExport(spec=spec, access=access)])
        assert client.is_alive()
        assert b"vol-a-g1\n" == client.read(RW, 0, _BLOCK)[:9]
        client.close()

    def test_reconcile_removes_strays_and_makes_what_is_missing(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        kept, missing = exports.spec("kept-g1"), exports.spec("missing-g1")
        access = self.access(fabric)
        fabric.export(exports.spec("stray-g1"))
        fabric.export(kept)
        fabric.reconcile(
            [
                DesiredExport(spec=kept, access=None),
                DesiredExport(spec=missing, access=access),
            ]
        )
        assert frozenset({"kept-g1", "missing-g1"}) == fabric.list()
        self.connect(rig, fabric.connection(missing), access).close()
        with pytest.raises(Refused):
            self.connect(rig, fabric.connection(kept), access)

    def test_reconcile_leaves_what_it_is_told_to_keep(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        spec, stray, access = exports.spec(), exports.spec("vol-b-g1"), self.access(fabric)
        fabric.export(stray)
        fabric.export(spec)
        client = self.connect(rig, fabric.grant(spec, access), access)
        fabric.reconcile([], keep={spec.target, "vol-c-g1"})
        assert frozenset({spec.target}) == fabric.list()
        assert client.is_alive()
        client.close()

    def test_reconcile_withdraws_an_access_that_is_not_desired(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        spec, access = exports.spec(), self.access(fabric)
        fabric.export(spec)
        fabric.grant(spec, access)
        fabric.reconcile([DesiredExport(spec=spec, access=None)])
        with pytest.raises(Refused):
            self.connect(rig, fabric.connection(spec), access)

    def test_reconcile_reports_one_failure_and_does_the_rest(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        good, bad = exports.spec("good-g1"), exports.spec("bad-g1")
        access = self.access(fabric)
        bad.luns[1].path.unlink()
        desired = [
            DesiredExport(spec=bad, access=self.access(fabric, username="user-bad")),
            DesiredExport(spec=good, access=access),
        ]
        with suppress(FailedPrecondition):  # a fabric that never looks at the file has no failure
            fabric.reconcile(desired)
        self.connect(rig, fabric.connection(good), access).close()

    def test_a_restarted_daemon_is_noticed_and_reconcile_makes_all_again(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        spec, access = exports.spec(), self.access(fabric)
        fabric.export(spec)
        fabric.grant(spec, access)
        before = fabric.incarnation()
        if not rig.restart():
            pytest.skip("this fabric has no daemon to restart")
        assert before != fabric.incarnation()
        assert frozenset() == fabric.list()
        fabric.reconcile([DesiredExport(spec=spec, access=access)])
        self.connect(rig, fabric.connection(spec), access).close()

    def test_many_threads_may_work_on_many_targets(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        specs = [exports.spec(f"vol-{number}-g1") for number in range(8)]
        gate = threading.Barrier(len(specs))

        def attach(spec: ExportSpec) -> None:
            gate.wait(timeout=10)
            fabric.export(spec)
            fabric.grant(spec, self.access(fabric, username=f"user-{spec.target}"))

        with ThreadPoolExecutor(len(specs)) as threads:
            list(threads.map(attach, specs))
            assert frozenset(spec.target for spec in specs) == fabric.list()
            for spec in specs:
                access = self.access(fabric, username=f"user-{spec.target}")
                self.connect(rig, fabric.connection(spec), access).close()
            list(threads.map(lambda spec: fabric.unexport(spec.target), specs))
        assert frozenset() == fabric.list()

    def test_many_threads_may_work_on_one_target(
        self, rig: FabricRig, fabric: Fabric, exports: Exports
    ) -> None:
        spec, access = exports.spec(), self.access(fabric)
        gate = threading.Barrier(4)

        def attach(_number: int) -> Connection:
            gate.wait(timeout=10)
            fabric.export(spec)
            return fabric.grant(spec, access)

        with ThreadPoolExecutor(4) as threads:
            (connection,) = set(threads.map(attach, range(4)))
        self.connect(rig, connection, access).close()
        assert frozenset({"vol-a-g1"}) == fabric.list()

"""The small parts behind the iSCSI fabric: its log of grants, its target ids, its locks."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from clonepool.domain.model import ChapAccount
from clonepool.errors import AlreadyExists, FailedPrecondition, NotFound, Unavailable
from clonepool.fabrics import access_log
from clonepool.fabrics.access_log import AccessLog
from clonepool.fabrics.base import Access, DesiredExport
from clonepool.fabrics.locks import NamedLocks
from clonepool.fabrics.memory import MemoryFabric
from clonepool.fabrics.tids import TargetIds
from clonepool.testing.fabric_rig import SERVER_A, SERVER_B, Exports
from clonepool.testing.initiator import InitiatorError, ScsiError, Session
from tests.fabrics.rigs import IscsiRig

CHAP = ChapAccount(username="user-a", secret="secret-of-a-12")
ACCESS = Access(initiator=SERVER_A, chap=CHAP)


def open_log(tmp_path: Path, *, incarnation: str = "one") -> AccessLog:
    return AccessLog(path=tmp_path / "access.log", incarnation=incarnation)


def test_the_log_knows_after_a_restart_what_was_granted(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.remember("vol-a-g1", ACCESS)
    log.remember("vol-b-g1", ACCESS)
    log.forget("vol-b-g1")
    again = open_log(tmp_path)
    entry = again.find("vol-a-g1")
    assert entry is not None
    assert "user-a" == entry.username
    assert again.proof(ACCESS) == entry.proof
    assert again.find("vol-b-g1") is None
    for other in (
        replace(ACCESS, initiator=SERVER_B),
        replace(ACCESS, chap=replace(CHAP, secret="secret-of-a-13")),
        replace(ACCESS, chap=replace(CHAP, username="user-b")),
        replace(ACCESS, chap=None),
    ):
        assert again.proof(other) != entry.proof


def test_the_log_of_another_run_of_the_daemon_is_not_believed(tmp_path: Path) -> None:
    open_log(tmp_path).remember("vol-a-g1", ACCESS)
    assert {} == open_log(tmp_path, incarnation="two").entries()
    assert {} == open_log(tmp_path).entries()


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    open_log(tmp_path).remember("vol-a-g1", ACCESS)
    with (tmp_path / "access.log").open("a") as file:
        file.write('{"target": "vol-b-g1", "user')
    assert {"vol-a-g1"} == open_log(tmp_path).entries().keys()


def test_the_log_stays_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "_MOST_LINES", 50)
    log = open_log(tmp_path)
    for _ in range(200):
        log.remember("vol-a-g1", ACCESS)
        log.forget("vol-a-g1")
    log.remember("vol-b-g1", ACCESS)
    assert 60 > len((tmp_path / "access.log").read_text().splitlines())
    assert {"vol-b-g1"} == open_log(tmp_path).entries().keys()


def test_target_ids_only_rise_over_restarts(tmp_path: Path) -> None:
    taken = []
    for _ in range(3):
        ids = TargetIds(path=tmp_path / "next_tid")
        taken += [ids.take() for _ in range(5000)]
    assert sorted(set(taken)) == taken


def test_target_ids_of_others_are_skipped(tmp_path: Path) -> None:
    ids = TargetIds(path=tmp_path / "next_tid")
    ids.skip_to(90_000)
    assert 90_000 == ids.take()
    assert 90_000 < TargetIds(path=tmp_path / "next_tid").take()


def test_target_ids_are_taken_once_by_many_threads(tmp_path: Path) -> None:
    ids = TargetIds(path=tmp_path / "next_tid")
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda _: ids.take(), range(10_000)))
    assert len(taken) == len(set(taken))


def test_one_names_lock_keeps_others_free() -> None:
    locks = NamedLocks()
    entered = threading.Event()

    def wait_for_a() -> None:
        with locks.hold("a"):
            entered.set()

    with locks.hold("a"):
        second = threading.Thread(target=wait_for_a)
        second.start()
        with locks.hold("b"):
            assert not entered.is_set()
    assert entered.wait(timeout=10)
    second.join()


class TestMemoryFaults:
    """What crash tests of the controllers build on."""

    def test_a_fault_at_a_step_leaves_what_was_done_before_it(self, exports: Exports) -> None:
        fabric, spec = MemoryFabric(), exports.spec()
        steps: list[str] = []
        fabric.fault = steps.append
        fabric.export(spec)
        fabric.grant(spec, ACCESS)
        fabric.unexport(spec.target)
        assert ["export.begin", "export.end", "grant.begin", "grant.half", "grant.end"] == steps[:5]
        fabric.export(spec)

        def fail(step: str) -> None:
            if step == "grant.half":
                raise Unavailable("as if tgtd died")

        fabric.fault = fail
        with pytest.raises(Unavailable):
            fabric.grant(spec, ACCESS)
        with pytest.raises(NotFound):
            fabric.login(target=spec.target, initiator=SERVER_A, chap=CHAP)

    def test_stubborn_sessions_keep_a_revoke_from_returning(self, exports: Exports) -> None:
        fabric, spec = MemoryFabric(), exports.spec()
        fabric.reconcile([DesiredExport(spec=spec, access=ACCESS)])
        session = fabric.login(target=spec.target, initiator=SERVER_A, chap=CHAP)
        fabric.stubborn.add(spec.target)
        with pytest.raises(Unavailable, match=spec.target):
            fabric.unexport(spec.target)
        fabric.stubborn.clear()
        fabric.unexport(spec.target)
        assert not session.is_alive()

    def test_away_means_every_verb_is_unavailable(self, exports: Exports) -> None:
        fabric = MemoryFabric()
        fabric.away = True
        for verb in (fabric.incarnation, fabric.list, lambda: fabric.export(exports.spec())):
            with pytest.raises(Unavailable):
                verb()

    def test_a_user_name_belongs_to_one_target(self, exports: Exports) -> None:
        fabric = MemoryFabric()
        one, two = exports.spec("vol-a-g1"), exports.spec("vol-b-g1")
        fabric.export(one)
        fabric.export(two)
        fabric.grant(one, ACCESS)
        with pytest.raises(AlreadyExists):
            fabric.grant(two, replace(ACCESS, initiator=SERVER_B))
        fabric.unexport("vol-a-g1")
        fabric.grant(two, replace(ACCESS, initiator=SERVER_B))

    def test_a_grant_of_other_volumes_is_refused(self, exports: Exports) -> None:
        fabric, spec = MemoryFabric(), exports.spec()
        fabric.export(spec)
        with pytest.raises(FailedPrecondition):
            fabric.grant(replace(spec, luns=()), ACCESS)


@pytest.mark.tgt
class TestInitiator:
    """The initiator that proves the fabric must itself tell the truth."""

    def attach(self, rig: IscsiRig, exports: Exports, *, marker: bytes, at: int) -> Session:
        spec = exports.spec()
        data = bytearray(spec.luns[1].path.stat().st_size)
        data[at : at + len(marker)] = marker
        spec.luns[1].path.write_bytes(data)
        rig.fabric.export(spec)
        connection = rig.fabric.grant(spec, ACCESS)
        return Session(
            portal=connection.portals[0],
            target=connection.target,
            initiator=SERVER_A,
            chap=CHAP,
        )

    @pytest.mark.parametrize("at", [0, 256 * 1024 - 3, 2**20 - 10])
    def test_a_marker_is_found_wherever_it_lies(
        self, iscsi: IscsiRig, exports: Exports, at: int
    ) -> None:
        with self.attach(iscsi, exports, marker=b"the marker", at=at) as session:
            assert at == session.find(b"the marker", lun=2)
            assert session.find(b"not there", lun=2) is None
            assert exports.spec().luns[1].path.read_bytes() == session.dump(lun=2)

    def test_what_is_written_and_flushed_is_in_the_file(
        self, iscsi: IscsiRig, exports: Exports
    ) -> None:
        with self.attach(iscsi, exports, marker=b"x", at=0) as session:
            session.write(lun=2, lba=8, data=b"y" * 4096)
            session.flush(lun=2)
            assert b"y" * 4096 == session.read(lun=2, lba=8, blocks=8)
        assert b"y" * 4096 == exports.spec().luns[1].path.read_bytes()[4096:8192]

    def test_a_read_beyond_the_end_is_an_error_with_its_sense(
        self, iscsi: IscsiRig, exports: Exports
    ) -> None:
        with self.attach(iscsi, exports, marker=b"x", at=0) as session:
            with pytest.raises(ScsiError) as refusal:
                session.read(lun=2, lba=10**6, blocks=1)
            assert (5, 0x2100) == (refusal.value.key, refusal.value.ascq)
            with pytest.raises(ScsiError) as refusal:
                session.read(lun=7, lba=0, blocks=1)
            assert 0x2500 == refusal.value.ascq
            assert session.is_alive()

    def test_a_closed_session_is_not_alive_and_says_so(
        self, iscsi: IscsiRig, exports: Exports
    ) -> None:
        session = self.attach(iscsi, exports, marker=b"x", at=0)
        session.close()
        session.close()
        assert not session.is_alive()
        with pytest.raises(InitiatorError):
            session.read(lun=2, lba=0, blocks=1)

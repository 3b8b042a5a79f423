"""A target is never open without its CHAP account, wherever the engine dies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count

import pytest

from clonepool.domain.model import ChapAccount
from clonepool.fabrics.base import Access, ExportSpec
from clonepool.fabrics.tgt_show import parse_accounts
from clonepool.testing.fabric_rig import RW, SERVER_A, SERVER_B, Exports, Refused
from tests.fabrics.rigs import BLOCK, Crash, IscsiRig

pytestmark = pytest.mark.tgt

MOST_REQUESTS = 60


def access(username: str, *, initiator: str = SERVER_A, secret: str = "first-secret-1") -> Access:  # noqa: S107
    return Access(initiator=initiator, chap=ChapAccount(username=username, secret=secret))


class Attach:
    """From nothing to granted."""

    def prepare(self, rig: IscsiRig, spec: ExportSpec) -> None:
        pass

    def run(self, rig: IscsiRig, spec: ExportSpec) -> None:
        rig.fabric.export(spec)
        rig.fabric.grant(spec, access(f"user-{spec.target}"))

    def final(self, spec: ExportSpec) -> Access | None:
        return access(f"user-{spec.target}")


class Release(Attach):
    """From granted to gone."""

    def prepare(self, rig: IscsiRig, spec: ExportSpec) -> None:
        Attach().run(rig, spec)

    def run(self, rig: IscsiRig, spec: ExportSpec) -> None:
        rig.fabric.revoke(spec.target)
        rig.fabric.unexport(spec.target)

    def final(self, spec: ExportSpec) -> Access | None:
        return None


class Rotate(Release):
    """The same user name gets another secret."""

    def run(self, rig: IscsiRig, spec: ExportSpec) -> None:
        # as the engine repeats an attachment after a crash: the export may be in the making
        rig.fabric.export(spec)
        rig.fabric.grant(spec, self.final(spec))

    def final(self, spec: ExportSpec) -> Access:
        return access(f"user-{spec.target}", secret="second-secret-2")


class Rename(Rotate):
    """Another user name takes the place of the first."""

    def final(self, spec: ExportSpec) -> Access:
        return access(f"next-{spec.target}", secret="second-secret-2")


class Move(Rotate):
    """Another server takes the place of the first."""

    def final(self, spec: ExportSpec) -> Access:
        return access(f"next-{spec.target}", initiator=SERVER_B)


class FromOpen(Rotate):
    """An export that was granted without CHAP, as asked for, gets an account."""

    def prepare(self, rig: IscsiRig, spec: ExportSpec) -> None:
        rig.fabric.export(spec)
        rig.fabric.grant(spec, Access(initiator=SERVER_B, chap=None))

    def final(self, spec: ExportSpec) -> Access:
        return access(f"user-{spec.target}")


FLOWS = (Attach, Release, Rotate, Rename, Move, FromOpen)


@pytest.mark.parametrize("restart", [False, True], ids=["same engine", "next engine"])
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__.lower())
def test_at_every_crash_point_chap_is_asked_for_and_the_work_can_be_finished(
    iscsi: IscsiRig, exports: Exports, flow: type[Attach], restart: bool
) -> None:
    work = flow()
    for number in count(1):
        assert number < MOST_REQUESTS
        spec = exports.spec(f"vol-{number}-g1")
        work.prepare(iscsi, spec)
        crashed = _run_until_crash(iscsi, work, spec, after=number)
        _assert_nobody_enters_without_chap(iscsi, spec, work)
        if restart:
            iscsi.reopen()
        work.run(iscsi, spec)
        _assert_finished(iscsi, spec, work)
        iscsi.fabric.unexport(spec.target)
        if not crashed:
            assert number > 1, "no request was made, so nothing was tried"
            return


def test_nobody_gets_in_without_chap_while_servers_come_and_go(
    iscsi: IscsiRig, exports: Exports
) -> None:
    """Somebody hammers a target under its server's name through attach, rotation and release."""
    spec = exports.spec()
    iscsi.fabric.export(exports.spec("another-g1"))  # tgtd hangs up on all while it has no target
    with _hammering(iscsi, spec) as tries:
        for number in range(12):
            Attach().run(iscsi, spec)
            Rotate().run(iscsi, spec)
            Move().run(iscsi, spec)
            iscsi.fabric.unexport(spec.target)
            _wait_for(partial(_has_more, tries, number))
    assert set(tries) == {"refused"}


def test_a_crash_leaves_no_account_behind(iscsi: IscsiRig, exports: Exports) -> None:
    """A user's own user name is free for another export after a release, wherever it was cut."""
    taken = access("name-of-the-user")
    for number in count(1):
        spec = exports.spec(f"vol-{number}-g1")
        iscsi.fabric.export(spec)
        iscsi.fabric.grant(spec, taken)
        crashed = _run_until_crash(iscsi, Release(), spec, after=number)
        iscsi.reopen()
        iscsi.fabric.unexport(spec.target)
        assert frozenset() == parse_accounts(iscsi.tgt.show_accounts())
        if not crashed:
            return


def _run_until_crash(rig: IscsiRig, work: Attach, spec: ExportSpec, *, after: int) -> bool:
    rig.crash.after(after)
    try:
        work.run(rig, spec)
    except Crash:
        return True
    finally:
        rig.crash.never()
    return False


def _assert_nobody_enters_without_chap(rig: IscsiRig, spec: ExportSpec, work: Attach) -> None:
    # SERVER_B was admitted without CHAP where that was asked for, until it is not any more
    initiators = (SERVER_A,) if isinstance(work, FromOpen) else (SERVER_A, SERVER_B)
    wrong = ChapAccount(username=f"user-{spec.target}", secret="guessed-secret")
    for initiator in initiators:
        for chap in (None, wrong):
            with pytest.raises(Refused):
                rig.connect(rig.fabric.connection(spec), initiator=initiator, chap=chap)


def _assert_finished(rig: IscsiRig, spec: ExportSpec, work: Attach) -> None:
    final, connection = work.final(spec), rig.fabric.connection(spec)
    for initiator in (SERVER_A, SERVER_B):
        with pytest.raises(Refused):
            rig.connect(connection, initiator=initiator, chap=None)
    first = access(f"user-{spec.target}")
    if final != first:
        with pytest.raises(Refused):
            rig.connect(connection, initiator=first.initiator, chap=first.chap)
    if final is None:
        assert spec.target not in rig.fabric.list()
        return
    client = rig.connect(connection, initiator=final.initiator, chap=final.chap)
    assert f"{spec.target}\n".encode() in client.read(RW, 0, BLOCK)
    client.close()


@contextmanager
def _hammering(rig: IscsiRig, spec: ExportSpec) -> Iterator[list[str]]:
    tries: list[str] = []
    stop = threading.Event()
    connection = rig.fabric.connection(spec)

    def hammer(initiator: str) -> None:
        while not stop.is_set():
            try:
                rig.connect(connection, initiator=initiator, chap=None).close()
            except Refused:
                tries.append("refused")
            else:
                tries.append("entered")

    threads = [threading.Thread(target=hammer, args=(name,)) for name in (SERVER_A, SERVER_B)]
    for thread in threads:
        thread.start()
    try:
        yield tries
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _has_more(tries: list[str], than: int) -> bool:
    return len(tries) > than


def _wait_for(condition: Callable[[], bool], *, timeout_s: float = 10) -> None:
    pause = threading.Event()
    for _ in range(int(timeout_s / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail("it did not come true in time")

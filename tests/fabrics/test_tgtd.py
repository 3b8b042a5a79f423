"""Our own tgtd: started, adopted by the next engine, started again when it died, never mistaken."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from clonepool.domain.model import ChapAccount
from clonepool.errors import AlreadyExists, FailedPrecondition, Unavailable
from clonepool.fabrics.base import Access
from clonepool.fabrics.processes import Process, boot_id
from clonepool.fabrics.tgt import Tgt, TgtAway, TgtCode, TgtError
from clonepool.fabrics.tgtd import OwnTgtd
from clonepool.testing.fabric_rig import SERVER_A, SERVER_B, Exports, Refused
from tests.fabrics.rigs import IscsiRig

pytestmark = pytest.mark.tgt

CHAP = ChapAccount(username="user-a", secret="secret-of-a-12")
Make = Callable[..., OwnTgtd]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes daemons in one folder and ends them."""
    made: list[OwnTgtd] = []

    def make_one(portal: str = "127.0.0.1:0", program: str = "tgtd") -> OwnTgtd:
        made.append(OwnTgtd(folder=tmp_path / "tgtd", portal=portal, program=program))
        return made[-1]

    yield make_one
    for one in made:
        with suppress(FailedPrecondition):
            one.stop()
        one.close()


def test_it_runs_in_a_session_of_its_own_in_a_closed_folder(make: Make, tmp_path: Path) -> None:
    running = make().ensure()
    assert running.pid == os.getsid(running.pid)
    assert 0o700 == (tmp_path / "tgtd").stat().st_mode & 0o777
    assert 0o600 == (tmp_path / "tgtd/tgtd.json").stat().st_mode & 0o777
    for descriptor in ("0", "1", "2"):
        assert os.readlink(f"/proc/{running.pid}/fd/{descriptor}") in {
            "/dev/null",
            str(tmp_path / "tgtd/tgtd.log"),
        }


def test_its_descriptor_limit_is_as_high_as_allowed(make: Make) -> None:
    soft, hard = resource.prlimit(make().ensure().pid, resource.RLIMIT_NOFILE)
    assert hard == soft


def test_it_does_not_get_the_engines_environment(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLONEPOOL_TOKEN", "a-secret-token")
    environment = Path(f"/proc/{make().ensure().pid}/environ").read_bytes()
    assert b"a-secret-token" not in environment


def test_the_next_engine_adopts_it(make: Make) -> None:
    first, second = make(), make()
    running = first.ensure()
    first.close()
    adopted = second.ensure()
    assert (running.pid, running.incarnation) == (adopted.pid, adopted.incarnation)
    assert 0 < Tgt(address=adopted.address, pid=adopted.pid).peer_pid()


def test_a_killed_engine_leaves_it_running_with_its_exports(
    tmp_path: Path, exports: Exports
) -> None:
    """A child process is the engine, and ends itself by SIGKILL."""
    spec, access = exports.spec(), Access(initiator=SERVER_A, chap=CHAP)
    child = os.fork()
    if child == 0:
        rig = IscsiRig(tmp_path / "state")
        rig.fabric.export(spec)
        rig.fabric.grant(spec, access)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    rig = IscsiRig(tmp_path / "state")
    try:
        assert frozenset({spec.target}) == rig.fabric.list()
        connection = rig.fabric.grant(spec, access)
        rig.connect(connection, initiator=SERVER_A, chap=CHAP).close()
    finally:
        rig.stop()


def test_a_dead_one_is_started_again_on_the_same_port(make: Make) -> None:
    daemon = make()
    before, portals = daemon.ensure(), daemon.portals()
    _kill(before.pid)
    after = daemon.ensure()
    assert before.pid != after.pid
    assert before.incarnation != after.incarnation
    assert portals == daemon.portals() == make().portals()
    assert _listens(portals[0])


def test_one_whose_record_was_lost_is_found_by_its_socket(make: Make, tmp_path: Path) -> None:
    """As after an engine killed between starting it and writing the record."""
    first, second = make(), make()
    running = first.ensure()
    (tmp_path / "tgtd/tgtd.json").unlink()
    assert running.pid == second.ensure().pid


def test_a_process_that_got_the_recorded_id_later_is_left_alone(make: Make, tmp_path: Path) -> None:
    """The record names this very test's process, with another start time."""
    (tmp_path / "tgtd").mkdir(mode=0o700)
    record = {"pid": os.getpid(), "start_ticks": 1, "boot_id": boot_id()}
    (tmp_path / "tgtd/tgtd.json").write_text(json.dumps(record))
    daemon = make()
    daemon.stop()  # would end us
    assert os.getpid() != daemon.ensure().pid


def test_a_record_of_an_earlier_boot_is_not_believed(make: Make, tmp_path: Path) -> None:
    running = make().ensure()
    record = json.loads((tmp_path / "tgtd/tgtd.json").read_text())
    _kill(running.pid)
    mine = Process.find(os.getpid())
    assert mine is not None
    record |= {"pid": mine.pid, "start_ticks": mine.start_ticks, "boot_id": "another"}
    (tmp_path / "tgtd/tgtd.json").write_text(json.dumps(record))
    daemon = make()
    daemon.stop()
    assert os.getpid() != daemon.ensure().pid


def test_a_missing_program_names_the_package(make: Make) -> None:
    with pytest.raises(FailedPrecondition, match="apt install tgt"):
        make(program="no-such-tgtd").ensure()


def test_a_port_in_use_is_named(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FailedPrecondition, match=f"127.0.0.1:{port}; is the port in use"):
            make(portal=f"127.0.0.1:{port}").ensure()


def test_a_changed_portal_is_followed_without_a_restart(make: Make) -> None:
    first = make()
    running, (old,) = first.ensure(), first.portals()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    second = make(portal=f"127.0.0.1:{port}")
    assert running.pid == second.ensure().pid
    assert _listens(f"127.0.0.1:{port}")
    assert not _listens(old)


def test_stopping_ends_it_whatever_it_exports(tmp_path: Path, exports: Exports) -> None:
    rig = IscsiRig(tmp_path / "state")
    rig.fabric.export(exports.spec())
    pid = rig.pid()
    rig.fabric.stop()
    assert Process.find(pid) is None
    rig.stop()


def test_a_long_state_folder_is_no_trouble(tmp_path: Path, exports: Exports) -> None:
    """A socket's path may have 107 bytes."""
    rig = IscsiRig(tmp_path / ("a-long-name-" * 8) / ("another-one-" * 8))
    try:
        rig.fabric.export(exports.spec())
        assert frozenset({"vol-a-g1"}) == rig.fabric.list()
    finally:
        rig.stop()


def test_a_refusal_of_tgtd_has_its_name(make: Make) -> None:
    running = make().ensure()
    tgt = Tgt(address=running.address, pid=running.pid)
    with pytest.raises(TgtError, match="no-target") as refusal:
        tgt.show_connections(tid=4711)
    assert TgtCode.NO_TARGET is refusal.value.code
    with pytest.raises(TgtAway, match="restarted"):
        Tgt(address=running.address, pid=running.pid + 1).show_accounts()


class TestSharedTgtd:
    """A tgtd that runs already and has others' targets: the option ``socket``."""

    @pytest.fixture
    def theirs(self, tmp_path: Path) -> Iterator[IscsiRig]:
        rig = IscsiRig(tmp_path / "theirs", iqn_prefix="iqn.2026-01.org.example")
        rig.fabric.list()
        yield rig
        rig.stop()

    @pytest.fixture
    def ours(self, tmp_path: Path, theirs: IscsiRig) -> Iterator[IscsiRig]:
        (portal,) = theirs.fabric.connection(Exports(tmp_path).spec()).portals
        rig = IscsiRig(
            tmp_path / "ours", socket=str(tmp_path / "theirs/tgtd/sock.0"), advertise=portal
        )
        yield rig
        rig.stop()

    def test_ours_and_theirs_are_told_apart(
        self, theirs: IscsiRig, ours: IscsiRig, exports: Exports
    ) -> None:
        theirs.fabric.export(exports.spec("their-g1"))
        ours.fabric.export(exports.spec("our-g1"))
        assert frozenset({"our-g1"}) == ours.fabric.list()
        ours.fabric.reconcile([])
        assert frozenset() == ours.fabric.list()
        theirs.reopen()
        assert frozenset({"their-g1"}) == theirs.fabric.list()

    def test_their_account_is_not_touched(
        self, theirs: IscsiRig, ours: IscsiRig, exports: Exports
    ) -> None:
        spec = exports.spec("their-g1")
        theirs.fabric.export(spec)
        connection = theirs.fabric.grant(spec, Access(initiator=SERVER_A, chap=CHAP))
        theirs.tgt.new_account(username="unbound", secret="of-somebody-1")
        ours.fabric.export(exports.spec("our-g1"))
        for name in ("user-a", "unbound"):
            taken = ChapAccount(username=name, secret="secret-of-us-1")
            for _ in range(2):
                with pytest.raises(AlreadyExists, match=name):
                    ours.fabric.grant(
                        exports.spec("our-g1"), Access(initiator=SERVER_B, chap=taken)
                    )
        ours.fabric.unexport("our-g1")
        theirs.connect(connection, initiator=SERVER_A, chap=CHAP).close()
        with pytest.raises(Refused):
            theirs.connect(connection, initiator=SERVER_A, chap=None)

    def test_target_ids_that_others_take_are_passed_over(
        self, theirs: IscsiRig, ours: IscsiRig, exports: Exports
    ) -> None:
        ours.fabric.export(exports.spec("our-g1"))
        first = theirs.tgt.show_targets().split("\n")[0]
        tid = int(first.split()[1].rstrip(":"))
        theirs.tgt.new_target(tid=tid + 1, iqn="iqn.2026-01.org.example:other")
        ours.fabric.export(exports.spec("our-g2"))
        assert frozenset({"our-g1", "our-g2"}) == ours.fabric.list()
        theirs.tgt.delete_target(tid=tid + 1)

    def test_its_restart_is_noticed(
        self, theirs: IscsiRig, ours: IscsiRig, exports: Exports
    ) -> None:
        ours.fabric.export(exports.spec("our-g1"))
        before = ours.fabric.incarnation()
        theirs.restart()
        with pytest.raises(Unavailable):
            ours.fabric.incarnation()
        theirs.fabric.incarnation()
        assert before != ours.fabric.incarnation()
        assert frozenset() == ours.fabric.list()


def _kill(pid: int) -> None:
    process = Process.find(pid)
    assert process is not None
    assert process.signal(signal.SIGKILL)
    assert process.wait_gone(timeout_s=10)


def _listens(portal: str) -> bool:
    address, _, port = portal.rpartition(":")
    try:
        socket.create_connection((address, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True

"""Storage, tgtd, disk and database change under a real engine, and it heals without a restart."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from clonepool import commands
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import ClonepoolError, DeadlineExceeded, Unavailable
from clonepool.fabrics.tgt import Tgt
from clonepool.testing.file_systems import mounted_xfs, xfs_disk
from tests.support.engine_process import OpenSite, running_site
from tests.support.invariants import check_invariants, exports
from tests.support.site import CUSTOMER, RW_LUN, Site, log_in, write_marker
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.tgt, pytest.mark.slow]

OFTEN: Mapping[str, str] = MappingProxyType({"CLONEPOOL_COMPARE_EVERY": "1s"})
STRAY = "vol-0b5f2a3c-1111-4222-8333-444455556666-g1"


@pytest.fixture(scope="module")
def shared() -> Iterator[Site]:
    """One engine that looks every second."""
    with running_site(variables=OFTEN) as site:
        yield site


def events(site: Site, reason: str) -> list[pb.Event]:
    request = pb.ListEventsRequest(page_size=1000)
    found: pb.ListEventsResponse = site.call("ListEvents", request)
    return [event for event in found.events if event.reason == reason]


def wait_for_event(site: Site, reason: str) -> pb.Event:
    return wait_for(lambda: (events(site, reason) or [None])[-1], what=f"event {reason}")


def read_mark(attachment: pb.Attachment, size: int) -> bytes:
    with log_in(attachment) as session:
        return bytes(session.read(lun=RW_LUN, lba=0, blocks=1)[:size])


def marked(attachment: pb.Attachment) -> bytes:
    """Write something that only this attachment's volume holds."""
    mark = secrets.token_hex(16).encode()
    with log_in(attachment) as session:
        write_marker(session, mark)
    return mark


def test_a_target_removed_by_hand_is_made_again_and_its_server_let_in(shared: Site) -> None:
    pool = shared.pool(shared.image(system_user=CUSTOMER), min_ready=2)
    attachment = shared.attach(pool)
    mark = marked(attachment)
    shared.wait_for_counts(pool, ready=2, allocated=1)
    by_hand = Tgt(address=str(shared.engine.tgtd_folder / "sock.0"))
    before = exports(shared)
    for target in before.values():
        by_hand.delete_target(tid=target.tid)
    assert {} == exports(shared)
    wait_for(lambda: exports(shared).keys() == before.keys(), what="the targets again")
    assert mark == read_mark(attachment, len(mark))
    assert "somebody removed them" in wait_for_event(shared, "EXPORTS_MADE_AGAIN").message
    check_invariants(shared)


def test_what_is_changed_in_tgtd_by_hand_is_put_right_beside_live_sessions(shared: Site) -> None:
    """A stranger let in, and the server's own volume taken away: nobody restarts anything."""
    pool = shared.pool(shared.image(system_user=CUSTOMER), min_ready=1)
    attachment = shared.attach(pool)
    mark = marked(attachment)
    by_hand = Tgt(address=str(shared.engine.tgtd_folder / "sock.0"))
    name = shared.volume(attachment.volume_id).object_name
    target = exports(shared)[name]
    engine = shared.engine.pid
    with log_in(attachment) as session:
        by_hand.bind_initiator(tid=target.tid, name="iqn.2026-01.test:stranger")
        by_hand.delete_lun(tid=target.tid, lun=RW_LUN)
        wait_for_event(shared, "EXPORTS_PUT_RIGHT")
        made = replace(target, in_use=True)
        wait_for(lambda: exports(shared)[name] == made, what="as it was made")
        assert mark == bytes(session.read(lun=RW_LUN, lba=0, blocks=1)[: len(mark)])
    assert engine == shared.engine.pid
    check_invariants(shared)


def test_looks_leave_live_sessions_alone(shared: Site) -> None:
    pool = shared.pool(shared.image(system_user=CUSTOMER))
    with log_in(shared.attach(pool)) as session:
        other = shared.pool(shared.image(system_user=CUSTOMER))
        (lost,) = shared.volumes(other, state="ready")
        shared.object_of(lost).unlink()
        # by then a whole look was over
        wait_for(lambda: shared.volume(lost.id).state == "faulty", what="a look")
        assert session.is_alive()
    shared.call("StartScrub", pb.StartScrubRequest(pool=other))


def test_tgtd_that_is_killed_gets_all_exports_again(shared: Site) -> None:
    pool = shared.pool(shared.image(system_user=CUSTOMER), min_ready=2)
    attachment = shared.attach(pool)
    mark = marked(attachment)
    shared.wait_for_counts(pool, ready=2, allocated=1)
    before, engine = exports(shared).keys(), shared.engine.pid
    tgtd = shared.engine.find_tgtd()
    assert tgtd is not None
    os.kill(tgtd.pid, signal.SIGKILL)
    wait_for_event(shared, "EXPORTS_REMADE")
    assert before == exports(shared).keys()
    assert mark == read_mark(attachment, len(mark))
    assert engine == shared.engine.pid
    check_invariants(shared)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Path.unlink, "OBJECT_MISSING"),
        (lambda path: os.truncate(path, 512), "OBJECT_CHANGED"),
        (lambda path: os.truncate(path, path.stat().st_size + 512), "OBJECT_CHANGED"),
    ],
    ids=["removed", "shrunk", "grown"],
)
def test_a_replica_whose_file_is_changed_by_hand_is_never_handed_out(
    shared: Site, change: Callable[[Path], None], reason: str
) -> None:
    pool = shared.pool(shared.image(system_user=CUSTOMER))
    (replica,) = shared.volumes(pool, state="ready")
    change(shared.object_of(replica))
    wait_for(lambda: shared.volume(replica.id).state == "faulty", what="the replica faulty")
    assert replica.object_name in shared.volume(replica.id).error
    shared.wait_for_counts(pool, ready=1, faulty=1)
    assert reason in {event.reason for event in events(shared, reason)}
    assert replica.id != shared.attach(pool).volume_id
    shared.call("StartScrub", pb.StartScrubRequest(pool=pool))
    shared.wait_for_counts(pool, ready=1, faulty=0)
    check_invariants(shared)


def test_an_attached_volume_whose_file_is_removed_is_told_of_and_not_made_blank(
    shared: Site,
) -> None:
    pool = shared.pool(shared.image(system_user=CUSTOMER))
    attachment = shared.attach(pool)
    volume = shared.volume(attachment.volume_id)
    path = shared.object_of(volume)
    kept = path.with_suffix(".kept")
    os.rename(path, kept)
    event = wait_for(
        lambda: next(
            (each for each in events(shared, "OBJECT_MISSING") if volume.id in each.subject), None
        ),
        what="the event",
    )
    assert f"attachment {attachment.spec.name} of server" in event.message
    assert not path.exists()
    assert "allocated" == shared.volume(volume.id).state
    os.rename(kept, path)
    wait_for(lambda: shared.volume(volume.id).error == "", what="the doubt taken back")
    check_invariants(shared)


def test_an_image_whose_file_is_removed_stops_its_pool_until_it_is_back(shared: Site) -> None:
    master = shared.image(system_user=CUSTOMER)
    pool = shared.pool(master)
    path = shared.objects()[master.message.current.writable.object_name]
    kept = path.with_name("kept")
    os.rename(path, kept)
    stopped = wait_for(lambda: _pool(shared, pool).stopped_reason, what="the pool stopped")
    assert path.name in stopped
    os.rename(kept, path)
    wait_for(lambda: not _pool(shared, pool).stopped_reason or None, what="the pool going on")
    shared.attach(pool)
    shared.wait_for_counts(pool, ready=1, allocated=1)


def _pool(site: Site, name: str) -> pb.ReplicaPool:
    found: pb.ReplicaPool = site.call("GetPool", pb.GetRequest(name=name))
    return found


def test_strays_are_quarantined_and_deleted_and_foreign_files_left_alone(
    open_site: OpenSite,
) -> None:
    site = open_site(variables={**OFTEN, "CLONEPOOL_ORPHAN_GRACE": "3s"})
    pool = site.pool(site.image(system_user=CUSTOMER))
    (replica,) = site.volumes(pool)
    folder = site.object_of(replica).parent
    foreign = folder / "backup-of-monday"
    foreign.write_bytes(b"precious")
    shutil.copy(site.object_of(replica), folder / STRAY)
    found = wait_for(
        lambda: list(site.call("ListOrphans", pb.ListOrphansRequest()).orphans), what="an orphan"
    )
    assert [STRAY] == [orphan.name for orphan in found]
    wait_for(lambda: not (folder / STRAY).exists() or None, what="its deletion")
    wait_for_event(site, "ORPHAN_DELETED")
    assert b"precious" == foreign.read_bytes()
    foreign.unlink()
    check_invariants(site)


def test_a_database_locked_by_another_process_refuses_and_goes_on_afterwards(
    shared: Site,
) -> None:
    """Reads go on, writes are refused after ten seconds, and nothing that was told is lost."""
    pool = shared.pool(shared.image(system_user=CUSTOMER), min_ready=2)
    kept = shared.attach(pool)
    wanted = pb.AttachmentSpec(name="late", pool=pool, server=shared.server())
    request = pb.CreateAttachmentRequest(spec=wanted, request_token="late")
    with locked_database(shared.engine.state_dir / "clonepool.db"):
        assert kept.volume_id == shared.attachment(kept.id).volume_id
        # the client itself tries again until its time is over
        with pytest.raises((Unavailable, DeadlineExceeded)):
            shared.call("CreateAttachment", request)
    event = wait_for_event(shared, "DATABASE_BACK")
    assert "database is locked" in event.message
    shared.call("CreateAttachment", request)

    def filled() -> bool:
        counts = shared.counts(pool)
        return (2, 2) == (counts.ready, counts.allocated)

    # work whose end could not be written is taken up again when its lease has run out
    wait_for(filled, what="the pool filled", timeout_s=90)
    check_invariants(shared)


@contextmanager
def locked_database(path: Path) -> Iterator[None]:
    """Another process that holds the write lock until the block ends."""
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "c.execute('BEGIN IMMEDIATE'); print('locked', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert b"locked\n" == process.stdout.readline()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite3.connect(path, timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        process.communicate()


@pytest.mark.reflink
@pytest.mark.root
def test_a_full_disk_is_told_of_and_the_pool_fills_once_there_is_room(open_site: OpenSite) -> None:
    with mounted_xfs() as disk:
        site = open_site(storage_path=disk / "storage", variables=OFTEN)
        pool = site.pool(site.image(system_user=CUSTOMER), min_ready=1)
        filler = disk / "filler"
        fill(filler)
        assert "is free" in wait_for_event(site, "STORAGE_FULL").message
        attachment = site.attach(pool)
        wait_for_event(site, "NO_SPACE")
        assert 0 == site.counts(pool).ready
        filler.unlink()
        wait_for_event(site, "STORAGE_BACK")
        site.wait_for_counts(pool, ready=1, allocated=1)
        marked(attachment)
        check_invariants(site)


def fill(path: Path) -> None:
    """Take all the space that there is."""
    with path.open("wb", buffering=0) as file:
        for size in (2**26, 2**20, 2**12):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
                    os.fsync(file.fileno())


@pytest.mark.reflink
@pytest.mark.root
def test_a_storage_remounted_read_only_is_told_of_and_goes_on_once_it_is_writable(
    open_site: OpenSite,
) -> None:
    """With the local fabric: tgtd's open files would keep the kernel from remounting."""
    with mounted_xfs() as disk:
        site = open_site(storage_path=disk / "storage", variables=OFTEN)
        master = site.image(system_user=CUSTOMER)
        pool = site.pool(master, fabric="local", min_ready=2)
        before = {volume.id for volume in site.volumes(pool)}
        commands.run(["mount", "-o", "remount,ro", str(disk)], timeout_s=30)
        assert "read-only" in wait_for_event(site, "STORAGE_READ_ONLY").message
        with suppress(ClonepoolError):
            # whether planning is refused or the clones wait: none is lost, nothing stops for good
            site.change_pool(pool, min_ready=4)
        assert before <= {volume.id for volume in site.volumes(pool, state="ready")}
        commands.run(["mount", "-o", "remount,rw", str(disk)], timeout_s=30)
        wait_for_event(site, "STORAGE_BACK")
        site.change_pool(pool, min_ready=4)
        wait_for(lambda: site.counts(pool).ready == 4 or None, what="the pool filled")
        assert before <= {volume.id for volume in site.volumes(pool, state="ready")}
        assert 0 == site.counts(pool).faulty


@pytest.mark.reflink
@pytest.mark.root
def test_a_storage_that_is_unmounted_loses_nothing_and_goes_on_once_it_is_back(
    open_site: OpenSite,
) -> None:
    """An empty mount point is not a storage whose volumes are all gone."""
    with xfs_disk() as disk:
        site = open_site(storage_path=disk.mount_point / "storage", variables=OFTEN)
        pool = site.pool(site.image(system_user=CUSTOMER), fabric="local", min_ready=2)
        before = {volume.id for volume in site.volumes(pool, state="ready")}
        looked = len(events(site, "STORAGE_BACK"))
        disk.unmount()
        assert "mount it again" in wait_for_event(site, "STORAGE_AWAY").message
        assert before == {volume.id for volume in site.volumes(pool, state="ready")}
        disk.mount()
        wait_for(lambda: len(events(site, "STORAGE_BACK")) > looked, what="the storage back")
        site.change_pool(pool, min_ready=3)
        wait_for(lambda: site.counts(pool).ready == 3 or None, what="the pool filled")
        assert before <= {volume.id for volume in site.volumes(pool, state="ready")}
        assert [] == events(site, "OBJECT_MISSING")

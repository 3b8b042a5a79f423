"""A volume's file is put back, or replaced, while tgtd has the one that was there before open."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from tests.support.engine_process import running_site
from tests.support.invariants import check_invariants
from tests.support.site import CUSTOMER, RW_LUN, Site, log_in, write_marker
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.tgt, pytest.mark.slow]


@pytest.fixture(scope="module")
def shared() -> Iterator[Site]:
    """One engine that looks every second."""
    with running_site(variables={"CLONEPOOL_COMPARE_EVERY": "1s"}) as site:
        yield site


def wait_for_event(site: Site, volume_id: str, reason: str, word: str = "") -> str:
    """The message of an event about a volume."""

    def look() -> str | None:
        found: pb.ListEventsResponse = site.call("ListEvents", pb.ListEventsRequest(page_size=1000))
        subject = f"volume/{volume_id}"
        told = (e for e in found.events if (e.subject, e.reason) == (subject, reason))
        messages = (event.message for event in told)
        return next((text for text in messages if word in text), None)

    return wait_for(look, what=f"{reason} {word}")


def write(attachment: pb.Attachment) -> bytes:
    """Write something that only this volume holds."""
    mark = secrets.token_hex(16).encode()
    with log_in(attachment) as session:
        write_marker(session, mark)
    return mark


def read(attachment: pb.Attachment, size: int) -> bytes:
    with log_in(attachment) as session:
        return bytes(session.read(lun=RW_LUN, lba=0, blocks=1)[:size])


def put_copy(path: Path, *, of: Path) -> None:
    """What a restore from a backup does: another file of the same name and size."""
    aside = path.with_name("restoring")
    shutil.copy(of, aside)
    os.replace(aside, path)


def attached(site: Site) -> tuple[pb.Attachment, pb.Volume, Path]:
    attachment = site.attach(site.pool(site.image(system_user=CUSTOMER)))
    volume = site.volume(attachment.volume_id)
    return attachment, volume, site.object_of(volume)


def restart_tgtd(site: Site) -> None:
    """It opens every volume's file anew."""
    tgtd = site.engine.find_tgtd()
    assert tgtd is not None
    os.kill(tgtd.pid, signal.SIGKILL)

    def again() -> bool:
        found = site.engine.find_tgtd()
        return found is not None and found.pid != tgtd.pid

    wait_for(again, what="tgtd again")


def test_what_a_server_writes_after_its_file_was_put_back_is_in_that_file(
    shared: Site, tmp_path: Path
) -> None:
    """It would else go into the removed one, and be gone with the next start of tgtd."""
    attachment, volume, path = attached(shared)
    write(attachment)
    backup = tmp_path / "backup"
    shutil.copy(path, backup)
    path.unlink()
    wait_for_event(shared, volume.id, "OBJECT_MISSING")
    put_copy(path, of=backup)
    wait_for_event(shared, volume.id, "OBJECT_BACK")
    mark = write(attachment)
    assert mark in path.read_bytes()
    restart_tgtd(shared)
    assert mark == wait_for(lambda: read_when_there(attachment, len(mark)), what="the server in")
    check_invariants(shared)


def read_when_there(attachment: pb.Attachment, size: int) -> bytes | None:
    try:
        return read(attachment, size)
    except Exception:  # noqa: BLE001 - tgtd is being started
        return None


def test_a_removed_file_can_be_had_back_from_where_the_event_says(shared: Site) -> None:
    """A server that is logged in goes on, and its bytes are brought back whole."""
    attachment, volume, path = attached(shared)
    with log_in(attachment) as session:
        path.unlink()
        message = wait_for_event(shared, volume.id, "OBJECT_MISSING")
        mark = secrets.token_hex(16).encode()
        write_marker(session, mark)
        (where,) = (word.rstrip(";:,") for word in message.split() if word.startswith("/proc/"))
        put_copy(path, of=Path(where))
        assert mark in path.read_bytes()
        wait_for_event(shared, volume.id, "OBJECT_CHANGED", "log it out")
        assert session.is_alive()
    wait_for_event(shared, volume.id, "OBJECT_BACK")
    assert "" == shared.volume(volume.id).error
    assert mark == read(attachment, len(mark))
    assert write(attachment) in path.read_bytes()


def test_a_replica_in_whose_place_another_file_is_put_is_not_handed_out(shared: Site) -> None:
    pool = shared.pool(shared.image(system_user=CUSTOMER))
    (replica,) = shared.volumes(pool, state="ready")
    path = shared.object_of(replica)
    put_copy(path, of=path)
    wait_for(lambda: shared.volume(replica.id).state == "faulty", what="the replica faulty")
    wait_for_event(shared, replica.id, "OBJECT_CHANGED", "another one was put there")
    shared.wait_for_counts(pool, ready=1, faulty=1)
    assert replica.id != shared.attach(pool).volume_id
    shared.call("StartScrub", pb.StartScrubRequest(pool=pool))
    shared.wait_for_counts(pool, faulty=0)
    check_invariants(shared)


def test_a_file_put_in_the_place_of_an_attached_volumes_is_told_of_and_nothing_lost(
    shared: Site, tmp_path: Path
) -> None:
    """The engine can't know which of the two is wanted: it says where both are."""
    attachment, volume, path = attached(shared)
    mark = write(attachment)
    before = path.read_bytes()
    other = tmp_path / "other"
    other.write_bytes(bytes(len(before)))
    put_copy(path, of=other)
    message = wait_for_event(shared, volume.id, "OBJECT_CHANGED", "another one was put there")
    (where,) = (word.rstrip(";:,") for word in message.split() if word.startswith("/proc/"))
    assert before == Path(where).read_bytes()
    assert mark == read(attachment, len(mark)), "its server goes on with its own bytes"
    # the way out that the event names
    kept = shutil.copy(where, path.with_name("kept"))
    path.unlink()
    wait_for_event(shared, volume.id, "OBJECT_MISSING")
    os.replace(kept, path)
    wait_for_event(shared, volume.id, "OBJECT_BACK")
    assert mark == read(attachment, len(mark))
    assert write(attachment) in path.read_bytes()
    check_invariants(shared)


def test_a_server_keeps_its_removed_file_over_a_restart_of_the_engine(shared: Site) -> None:
    """Its target is the last that has it open."""
    attachment, volume, path = attached(shared)
    with log_in(attachment) as session:
        path.unlink()
        wait_for_event(shared, volume.id, "OBJECT_MISSING")
        shared.engine.stop()
        shared.engine.start()
        assert session.is_alive()
        write_marker(session, b"still here")
        assert b"still here" == session.read(lun=RW_LUN, lba=0, blocks=1)[:10]
    shared.release(attachment, force=True)

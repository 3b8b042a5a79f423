"""The mission, a test a sentence: real engine, real tgtd, real initiator, real bytes."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.model import ChapAccount
from clonepool.errors import FailedPrecondition
from clonepool.testing.images import read_ext4_file
from clonepool.testing.initiator import Session, WriteProtected
from tests.support.engine_process import OpenSite
from tests.support.http_source import StalledSource
from tests.support.site import (
    APPLICATION,
    BLOCK_BYTES,
    CUSTOMER,
    RO_LUN,
    RW_LUN,
    Site,
    is_refused,
    log_in,
    write_marker,
)
from tests.support.waiting import wait_for

pytestmark = pytest.mark.tgt


@pytest.mark.parametrize("user", [CUSTOMER, APPLICATION], ids=["customer", "application"])
def test_a_master_image_is_identified_for_a_system_user(site: Site, user: dict) -> None:
    """It is that customer's or application's: a server of another one is not given its replicas."""
    master = site.image(system_user=user)
    pool = site.pool(master, min_ready=1)
    assert pb.SystemUser(**user) == master.message.spec.system_user
    other_kind = {CUSTOMER["kind"]: APPLICATION["kind"], APPLICATION["kind"]: CUSTOMER["kind"]}
    stranger = {"name": user["name"], "kind": other_kind[user["kind"]]}
    with pytest.raises(FailedPrecondition, match=user["name"]):
        site.attach(pool, system_user=stranger)
    assert pb.SystemUser(**user) == site.attach(pool).system_user


def test_replicas_are_ready_before_any_server_is_allocated(open_site: OpenSite) -> None:
    """They are cloned and exported with no server known, and until one is nobody is let in."""
    site = open_site()
    pool = site.pool(site.image(system_user=CUSTOMER), min_ready=3)
    info = site.call("GetEngineInfo", pb.GetEngineInfoRequest())
    assert (0, 0) == (info.servers, info.attachments)
    ready = site.volumes(pool, state="ready")
    assert 3 == len(ready) == len({site.object_of(volume) for volume in ready})
    served = site.attach(pool)
    assert served.warm
    assert served.volume_id in {volume.id for volume in ready}
    for volume in ready:
        if volume.id != served.volume_id:
            assert is_refused(_at_target_of(served, volume))


def test_each_allocated_server_gets_a_replica_of_its_own(site: Site) -> None:
    """Three servers, three volumes: their serials as the servers read them differ."""
    pool = site.pool(site.image(system_user=CUSTOMER), min_ready=3)
    ready = {volume.id for volume in site.volumes(pool, state="ready")}
    attached = [site.attach(pool) for _ in range(3)]
    assert ready == {each.volume_id for each in attached}
    serials = set()
    for each in attached:
        with log_in(each) as session:
            assert (RO_LUN, RW_LUN) == tuple(lun for lun in session.report_luns() if lun)
            serials.add(session.serial(lun=RW_LUN))
    assert 3 == len(serials)


def test_the_server_reads_the_masters_preconfigured_data_and_state(
    site: Site, tmp_path: Path
) -> None:
    """What the master held, and what was pre-configured into it, arrives over iSCSI."""
    secret_state = secrets.token_hex(16)
    preconfigured = {"portion": "writable", "path": "/etc/motd", "content": "hello acme\n"}
    master = site.image(
        system_user=CUSTOMER, files={"/var/state": secret_state}, preconfigure=[preconfigured]
    )
    attached = site.attach(site.pool(master))
    with log_in(attached) as session:
        seen = _save(session, RW_LUN, tmp_path / "writable")
        shared = _save(session, RO_LUN, tmp_path / "read_only")
    assert secret_state.encode() == read_ext4_file(seen, "/var/state")
    assert b"hello acme\n" == read_ext4_file(seen, "/etc/motd")
    assert f"{master.name} 1.0\n".encode() == read_ext4_file(shared, "/app/version")


def test_the_read_only_portion_exists_once_and_all_servers_share_it(site: Site) -> None:
    """Three servers read the same bytes from one object, and it is all there is of them."""
    before = set(site.objects())
    master = site.image(system_user=CUSTOMER)
    pool = site.pool(master, min_ready=3)
    attached = [site.attach(pool) for _ in range(3)]
    content = master.read_only.read_bytes()
    for each in attached:
        with log_in(each) as session:
            assert content == session.dump(lun=RO_LUN)
    made = {name: path for name, path in site.objects().items() if name not in before}
    holders = [name for name, path in made.items() if path.read_bytes() == content]
    assert [master.message.current.read_only.object_name] == holders


def test_no_server_can_write_the_shared_portion(site: Site) -> None:
    """A write is refused as write protected (07/2700) and no byte of it changes."""
    master = site.image(system_user=CUSTOMER)
    attached = site.attach(site.pool(master))
    shared = site.objects()[master.message.current.read_only.object_name]
    before = hashlib.sha256(shared.read_bytes()).digest()
    with log_in(attached) as session:
        blocks, _ = session.capacity(lun=RO_LUN)
        for lba in (0, blocks - 1):
            with pytest.raises(WriteProtected) as refused:
                session.write(lun=RO_LUN, lba=lba, data=secrets.token_bytes(BLOCK_BYTES))
            assert (0x07, 0x2700) == (refused.value.key, refused.value.ascq)
        assert before == hashlib.sha256(session.dump(lun=RO_LUN)).digest()
    assert before == hashlib.sha256(shared.read_bytes()).digest()


def test_each_servers_writable_volume_is_its_own(site: Site) -> None:
    """What one server writes no other reads, and no server gets into another's volume."""
    master = site.image(system_user=CUSTOMER)
    pool = site.pool(master, min_ready=2)
    mine, other = site.attach(pool), site.attach(pool)
    marker = secrets.token_hex(32).encode()
    with log_in(mine) as my_session, log_in(other) as other_session:
        write_marker(my_session, marker)
        assert 0 == my_session.find(marker, lun=RW_LUN)
        assert master.writable.read_bytes() == other_session.dump(lun=RW_LUN)
    # under its own name, under the other's name, and with an account that is not the target's
    own_account = ChapAccount(username=mine.chap_username, secret=mine.chap_secret)
    assert is_refused(other, as_server=mine.server_name)
    assert is_refused(other, as_server=mine.server_name, chap=own_account)
    assert is_refused(other, as_server=other.server_name, chap=own_account)


def test_a_deallocated_server_loses_both_volumes(site: Site) -> None:
    """A server in use is spared unless forced; forced, its session is cut and no login succeeds."""
    attached = site.attach(site.pool(site.image(system_user=CUSTOMER)))
    session = log_in(attached)
    with pytest.raises(FailedPrecondition, match="log it out first"):
        site.release(attached)
    assert session.is_alive()
    site.release(attached, force=True)
    assert not session.is_alive()
    session.drop()
    assert is_refused(attached)


def test_a_deallocated_volume_joins_the_pool_of_deallocated_volumes(site: Site) -> None:
    """There it waits with its last user's bytes, and is given to nobody."""
    pool = site.pool(site.image(system_user=CUSTOMER), scrub={"threshold": 9})
    attached = site.attach(pool)
    marker = secrets.token_hex(32).encode()
    with log_in(attached) as session:
        write_marker(session, marker)
    site.release(attached)
    site.wait_for_counts(pool, released=1, ready=1)
    released = site.volume(attached.volume_id)
    assert ("released", "", attached.id) == (
        released.state,
        released.attachment_id,
        released.last_attachment_id,
    )
    assert [site.object_of(released)] == site.files_with(marker)
    later = []
    for _ in range(3):
        later.append(site.attach(pool).volume_id)
        site.wait_for_counts(pool, ready=1)
    assert attached.volume_id not in later
    assert (1, 0) == (site.counts(pool).released, len(site.runs(pool)))


def test_at_the_threshold_all_released_volumes_are_scrubbed_behind_the_release(
    open_site: OpenSite,
) -> None:
    """One less: nothing. The release that reaches it returns while the scrub has yet to begin."""
    # the only worker is kept busy, so that what the release itself does can be told from the rest
    site = open_site(workers=1)
    pool = site.pool(
        site.image(system_user=CUSTOMER), min_ready=3, max_replicas=3, scrub={"threshold": 3}
    )
    attached = [site.attach(pool) for _ in range(3)]
    with StalledSource(content=bytes(1 << 20)) as source:
        _begin_import(site, source)
        site.release(attached[0])
        site.release(attached[1])
        # the engine has looked at both releases: it plans new replicas in their place
        site.wait_for_counts(pool, planned=2)
        assert (2, 0) == (site.counts(pool).released, len(site.runs(pool)))
        site.release(attached[2])
        (run,) = wait_for(lambda: site.runs(pool), what="the scrub run")
        assert ("threshold", "reformat", "running") == (run.trigger, run.method, run.state)
        assert (3, 0) == (run.volumes, run.scrubbed)
        assert 3 == len({site.object_of(site.volume(each.volume_id)) for each in attached})
        source.go_on()
    wait_for(lambda: site.runs(pool)[0].state == "done", what="the end of the scrub")
    (run,) = site.runs(pool)
    assert (3, 3, 0) == (run.scrubbed, run.recycled + run.destroyed, run.faulty)
    records = site.records(pool)
    assert {each.id for each in attached} == {record.attachment_id for record in records}
    assert {"reformat"} == {record.method for record in records}


def test_scrubbed_volumes_are_in_stock_again_without_the_last_users_bytes(site: Site) -> None:
    """The same volumes, a generation on: the master's bytes, and the last user's nowhere."""
    master = site.image(system_user=CUSTOMER)
    pool = site.pool(master, min_ready=3, max_replicas=3, scrub={"threshold": 9})
    attached = [site.attach(pool) for _ in range(3)]
    # no stock is wanted meanwhile, else new clones would fill it before the threshold is reached
    site.change_pool(pool, min_ready=0, wait_for_ready=0)
    markers = _use_and_release(site, attached)
    assert (3, 0) == (site.counts(pool).released, site.counts(pool).ready)
    site.change_pool(pool, min_ready=3, scrub={"threshold": 3})
    site.wait_for_counts(pool, ready=3, released=0, scrubbing=0)
    (run,) = site.runs(pool)
    assert (3, 3, "threshold") == (run.scrubbed, run.recycled, run.trigger)
    again = [site.attach(pool) for _ in range(3)]
    assert markers.keys() == {each.volume_id for each in again}
    assert {2} == {each.volume_generation for each in again}
    for each in again:
        with log_in(each) as session:
            assert master.writable.read_bytes() == session.dump(lun=RW_LUN)
            assert [None] * 3 == [session.find(mark, lun=RW_LUN) for mark in markers.values()]
    assert [] == [path for mark in markers.values() for path in site.files_with(mark)]


def test_a_customers_bytes_never_reach_the_application_that_shares_the_image(site: Site) -> None:
    """On a shared image a volume goes from one system user to another, scrubbed in between."""
    master = site.image()
    pool = site.pool(master, max_replicas=1, scrub={"threshold": 1})
    markers = _use_and_release(site, [site.attach(pool, system_user=CUSTOMER)])
    site.wait_for_counts(pool, ready=1, released=0)
    attached = site.attach(pool, system_user=APPLICATION)
    assert markers.keys() == {attached.volume_id}
    with log_in(attached) as session:
        assert master.writable.read_bytes() == session.dump(lun=RW_LUN)
        assert [None] == [session.find(mark, lun=RW_LUN) for mark in markers.values()]
    assert [] == [path for mark in markers.values() for path in site.files_with(mark)]
    assert [pb.SystemUser(**CUSTOMER)] == [record.system_user for record in site.records(pool)]


def test_a_pool_keeps_within_its_maximum_while_volumes_come_back(site: Site) -> None:
    """A volume that is scrubbed for reuse takes its place: no new clone is made beside it."""
    pool = site.pool(site.image(), max_replicas=1, scrub={"threshold": 1})
    for _ in range(3):
        site.release(site.attach(pool, system_user=CUSTOMER))
        site.wait_for_counts(pool, ready=1, released=0)
    (volume,) = site.volumes(pool)
    assert 4 == volume.generation


def test_a_server_serves_one_system_user_at_a_time(site: Site) -> None:
    """More storage of the same one it may have; another's only after the last is released."""
    customers = site.pool(site.image(system_user=CUSTOMER), min_ready=2)
    applications = site.pool(site.image(system_user=APPLICATION))
    server = site.server()
    attached = [site.attach(customers, server=server) for _ in range(2)]
    with pytest.raises(FailedPrecondition, match="acme"):
        site.attach(applications, server=server)
    site.release(attached[0])
    with pytest.raises(FailedPrecondition, match="acme"):
        site.attach(applications, server=server)
    site.release(attached[1])
    moved = site.attach(applications, server=server)
    assert pb.SystemUser(**APPLICATION) == moved.system_user


def _at_target_of(attachment: pb.Attachment, volume: pb.Volume) -> pb.Attachment:
    """The attachment's server and account, aimed at another volume's target."""
    prefix = attachment.connection.target.rpartition(":")[0]
    aimed = pb.Attachment()
    aimed.CopyFrom(attachment)
    aimed.connection.target = f"{prefix}:{volume.object_name}"
    return aimed


def _save(session: Session, lun: int, path: Path) -> Path:
    path.write_bytes(session.dump(lun=lun))
    return path


def _use_and_release(site: Site, attached: Sequence[pb.Attachment]) -> dict[str, bytes]:
    """Let each server write a mark of its own, then release them all; the marks by volume."""
    markers = {each.volume_id: secrets.token_hex(32).encode() for each in attached}
    for each in attached:
        with log_in(each) as session:
            write_marker(session, markers[each.volume_id])
            assert 0 == session.find(markers[each.volume_id], lun=RW_LUN)
    for each in attached:
        site.release(each)
    return markers


def _begin_import(site: Site, source: StalledSource) -> None:
    name = site.new_name("image")
    wanted = pb.ImageSpec(name=name, writable={"source": source.url})
    site.call("CreateImage", pb.CreateImageRequest(spec=wanted, request_token=name))
    source.wait_until_asked()

"""From a master image to a scrubbed volume on LVM: an engine, a thin pool, and who uses it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.config import DriverSettings
from clonepool.errors import FailedPrecondition
from clonepool.fabrics.lio import LioFabric
from clonepool.testing.engine_process import EngineProcess
from clonepool.testing.initiator import WriteProtected
from clonepool.testing.volume_groups import ThinGroup, thin_group
from tests.lio.open_iscsi import read_device, running_iscsid, write_device
from tests.lio.rigs import free_portal
from tests.lio.test_vertical import logged_in, mounted
from tests.provider.test_examples import lay_out
from tests.support.pulumi_project import PulumiProject
from tests.support.site import (
    BLOCK_BYTES,
    CUSTOMER,
    IMAGE_BYTES,
    RO_LUN,
    RW_LUN,
    Master,
    Site,
    log_in,
    write_marker,
)
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.lvm, pytest.mark.slow]

STORAGE, KERNEL = "thin", "kernel"
USER = pb.SystemUser(**CUSTOMER)


@dataclass(frozen=True, kw_only=True)
class LvmSite:
    """A site whose storage is a thin pool; ``master`` is on it."""

    site: Site
    group: ThinGroup
    master: Master


@pytest.fixture(scope="module")
def lvm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LvmSite]:
    """One engine for all: it takes ten seconds to start in a guest."""
    folder = tmp_path_factory.mktemp("lvm")
    with thin_group(size_mib=128) as group:
        # what is not erased must be found on the medium, so that what is erased is not found there
        group.lvm("lvchange", "--discards", "nopassdown", f"{group.name}/{group.thin_pool}")
        options = {"driver": "lvm", "volume_group": group.name, "thin_pool": group.thin_pool}
        lines = [f"[storages.{STORAGE}]", 'reserve = "1MiB"']
        lines += [f"{key} = {json.dumps(value)}" for key, value in options.items()]
        lines += [f"[fabrics.{KERNEL}]", 'driver = "lio"', f'portal = "{free_portal()}"']
        lines += ['iqn_prefix = "iqn.2026-01.org.example.lvm"', ""]
        with EngineProcess(folder / "e", settings="\n".join(lines)) as engine:
            with engine.client() as client:
                site = Site(engine=engine, client=client, sources=folder / "sources")
                yield LvmSite(site=site, group=group, master=site.image(storage=STORAGE))
            engine.close()
            _end_kernel_exports(engine)


def _end_kernel_exports(engine: EngineProcess) -> None:
    """The kernel's targets outlive their engine, and hold the devices."""
    settings = DriverSettings(
        name=KERNEL, driver="lio", options={"iqn_prefix": "iqn.2026-01.org.example.lvm"}
    )
    LioFabric.open(settings, state_dir=engine.state_dir / "fabrics" / KERNEL).stop()


def paths_of(attachment: pb.Attachment) -> tuple[Path, Path]:
    """The shared copy's path, and the own volume's."""
    found = {volume.role: Path(volume.path) for volume in attachment.connection.volumes}
    return found["read_only"], found["writable"]


def write(path: Path, data: bytes, *, offset: int = 0) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, data, offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def on_medium(group: ThinGroup, secret: bytes) -> bool:
    """Whether the disk below the volume group holds it; what is given up it may hold for long."""
    os.sync()
    return secret in group.medium.read_bytes()


def new_secret() -> bytes:
    return secrets.token_hex(32).encode()


def turn(lvm: LvmSite, pool: str, secret: bytes) -> pb.Attachment:
    """A server comes, writes the secret, and goes; when it ends the volume is scrubbed."""
    site = lvm.site
    attachment = site.attach(pool, system_user=USER)
    shared, own = paths_of(attachment)
    assert own.resolve().is_block_device()
    with pytest.raises(PermissionError):
        write(shared, secret)
    write(own, secret, offset=2**20)
    assert on_medium(lvm.group, secret), "a search that can find"
    site.release(attachment)
    site.wait_for_counts(pool, ready=1, released=0, scrubbing=0, faulty=0)
    return attachment


@pytest.mark.parametrize("method", ["reformat", "zero", "discard"])
def test_nobody_reads_what_was_written_before(lvm: LvmSite, method: str) -> None:
    site = lvm.site
    scrub = pb.ScrubPolicy(threshold=1, method=method, verify="full")
    pool = site.pool(lvm.master, fabric="local", max_replicas=1, scrub=scrub)
    secret = new_secret()
    before = turn(lvm, pool, secret)
    (record,) = site.records(pool)
    assert (before.id, method, "passed") == (record.attachment_id, record.method, record.result)
    if method == "zero":
        assert not on_medium(lvm.group, secret)
    again = site.attach(pool, system_user=USER)
    assert again.volume_generation > before.volume_generation
    _shared, own = paths_of(again)
    # a server fills what it was given: the pool must hand out no block with what was in it before
    assert secret not in own.read_bytes()
    for offset in range(0, IMAGE_BYTES, 64 * 1024):
        write(own, bytes(512), offset=offset)
    assert secret not in own.read_bytes()
    site.release(again)
    site.wait_for_counts(pool, ready=1, released=0, scrubbing=0)


def test_a_volume_that_somebody_has_open_is_not_released(lvm: LvmSite, tmp_path: Path) -> None:
    site = lvm.site
    attachment = site.attach(site.pool(lvm.master, fabric="local"), system_user=USER)
    _shared, own = paths_of(attachment)
    with (
        mounted(own, tmp_path / "mnt", options="rw"),
        pytest.raises(FailedPrecondition, match="a mount, or a process"),
    ):
        site.release(attachment)
    with own.open("rb"), pytest.raises(FailedPrecondition, match=f"process {os.getpid()}"):
        site.release(attachment)
    site.release(attachment)


def test_servers_keep_their_volumes_through_a_kill_and_a_reboot(lvm: LvmSite) -> None:
    site = lvm.site
    attachment = site.attach(site.pool(lvm.master, fabric="local"), system_user=USER)
    _shared, own = paths_of(attachment)
    write(own, b"before")
    site.engine.kill()
    write(own, b"without an engine", offset=4096)
    device = own.resolve()
    lvm.group.deactivate()
    assert not device.exists()
    site.engine.start()
    wait_for(own.exists, what="the volume's device")
    assert b"before" == own.read_bytes()[:6]
    assert b"without an engine" == own.read_bytes()[4096:4113]
    site.release(attachment)


def test_a_pool_on_a_full_storage_says_so_and_fills_when_there_is_room(lvm: LvmSite) -> None:
    site = lvm.site
    pool = site.pool(lvm.master, fabric="local", max_replicas=2)
    lvm.group.fill(size_mib=112)
    way_out = f"lvextend -L +10G {lvm.group.name}/{lvm.group.thin_pool}"
    try:
        attachment = site.attach(pool, system_user=USER)
        text = wait_for(lambda: find_event(site, pool, "NO_SPACE"), what="the pool's word")
        assert "watermark of 85%" in text
        assert way_out in text
        text = wait_for(
            lambda: find_event(site, "", "STORAGE_FULL", subject=f"storage/{STORAGE}"),
            what="the storage's word",
        )
        assert way_out in text
    finally:
        lvm.group.lvm("lvremove", "-y", "-f", f"{lvm.group.name}/ballast")
    site.wait_for_counts(pool, ready=1)
    site.release(attachment)


def find_event(site: Site, pool: str, reason: str, *, subject: str = "") -> str:
    """The message of an event of a pool, or of another subject; "" while there is none."""
    request = pb.ListEventsRequest(subject_prefix=subject or f"pool/{pool}", page_size=1000)
    events = site.call("ListEvents", request).events
    return next((event.message for event in events if event.reason == reason), "")


@pytest.mark.tgt
def test_a_server_has_its_devices_over_tgt(lvm: LvmSite) -> None:
    site = lvm.site
    scrub = pb.ScrubPolicy(threshold=1, method="discard", verify="full")
    pool = site.pool(lvm.master, fabric="iscsi", max_replicas=1, scrub=scrub)
    secret = new_secret()
    attachment = site.attach(pool, system_user=USER)
    with log_in(attachment) as session:
        write_marker(session, secret)
        with pytest.raises(WriteProtected):
            session.write(lun=RO_LUN, lba=0, data=secret.ljust(BLOCK_BYTES))
        assert 0 == session.find(secret, lun=RW_LUN)
    site.release(attachment)
    site.wait_for_counts(pool, ready=1, released=0, scrubbing=0)
    again = site.attach(pool, system_user=USER)
    with log_in(again) as session:
        assert session.find(secret, lun=RW_LUN) is None
    site.release(again)


@pytest.mark.lio
@pytest.mark.open_iscsi
def test_a_real_server_has_its_block_devices_over_the_kernels_target(
    lvm: LvmSite, tmp_path: Path
) -> None:
    site = lvm.site
    scrub = pb.ScrubPolicy(threshold=1, method="zero", verify="full")
    pool = site.pool(lvm.master, fabric=KERNEL, max_replicas=1, scrub=scrub)
    secret = new_secret()
    with running_iscsid(tmp_path):
        attachment = site.attach(pool, system_user=USER)
        with logged_in(attachment) as (server, connection):
            own = server.device(connection, lun=RW_LUN)
            write_device(own, secret.ljust(BLOCK_BYTES), offset=2**20)
            with pytest.raises(OSError, match=r"."):
                write_device(server.device(connection, lun=RO_LUN), secret.ljust(BLOCK_BYTES))
            assert on_medium(lvm.group, secret), "a search that can find"
        site.release(attachment)
        site.wait_for_counts(pool, ready=1, released=0, scrubbing=0)
        assert not on_medium(lvm.group, secret)
        again = site.attach(pool, system_user=USER)
        with logged_in(again) as (server, connection):
            own = server.device(connection, lun=RW_LUN)
            assert secret not in read_device(own, size_bytes=IMAGE_BYTES)
        site.release(again)


@pytest.mark.pulumi
@pytest.mark.lio
def test_the_example_is_brought_up_by_pulumi_and_taken_down(
    lvm: LvmSite, tmp_path: Path, pulumi_bin: Path
) -> None:
    site = lvm.site
    variables = {"CLONEPOOL_ENDPOINT": site.engine.endpoint}
    project = PulumiProject(folder=tmp_path, pulumi_bin=pulumi_bin, variables=variables)
    lay_out("lvm", folder=tmp_path, project=project, image=str(lvm.master.writable))
    project.run("up", "--skip-preview")
    outputs = project.outputs()
    assert {"db1", "db2"} == outputs.keys()
    (pool,) = [pool for pool in site.pools() if pool.spec.clone_mode == "thin"]
    made = [volume for volume in site.volumes(pool.spec.name) if volume.state == "allocated"]
    assert ["thin", "thin"] == [volume.clone_kind for volume in made]
    for volume in made:
        assert lvm.group.path(f"clonepool-{volume.object_name}").is_block_device()
    project.run("destroy", "--skip-preview")
    assert pool.id not in [each.id for each in site.pools()]

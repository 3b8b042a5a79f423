"""From a master image to a scrubbed volume: an engine, files, LIO, and real servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from clonepool import commands
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.config import DriverSettings
from clonepool.domain.model import ChapAccount, ConnectedVolume, Connection
from clonepool.domain.states import PortionRole
from clonepool.errors import FailedPrecondition
from clonepool.fabrics.lio import LioFabric
from clonepool.testing.engine_process import EngineProcess
from tests.lio.open_iscsi import Server, is_gone, read_device, running_iscsid, write_device
from tests.lio.rigs import free_portal
from tests.support.site import BLOCK_BYTES, CUSTOMER, RO_LUN, RW_LUN, Site, initiator_of
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.lio, pytest.mark.open_iscsi]

FABRIC = "kernel"
SECRET = b"what only this customer may read"


@dataclass(frozen=True, kw_only=True)
class LioSite:
    """A site whose fabric is the kernel's target, and that fabric as a second hand holds it."""

    site: Site
    settings: DriverSettings

    def fabric(self) -> LioFabric:
        folder = self.site.engine.state_dir / "fabrics" / FABRIC
        return LioFabric.open(self.settings, state_dir=folder)


@pytest.fixture(scope="module")
def lio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LioSite]:
    """One engine for all: it takes ten seconds to start in a guest."""
    folder = tmp_path_factory.mktemp("lio")
    options = {"portal": free_portal(), "iqn_prefix": "iqn.2026-01.org.example.vertical"}
    lines = [f"{key} = {json.dumps(value)}" for key, value in options.items()]
    text = "\n".join([f"[fabrics.{FABRIC}]", 'driver = "lio"', *lines, ""])
    settings = DriverSettings(name=FABRIC, driver="lio", options=options)
    with running_iscsid(folder), EngineProcess(folder / "e", settings=text) as engine:
        with engine.client() as client:
            site = LioSite(
                site=Site(engine=engine, client=client, sources=folder / "sources"),
                settings=settings,
            )
            yield site
        engine.close()
        site.fabric().stop()


@contextmanager
def logged_in(attachment: pb.Attachment) -> Iterator[tuple[Server, Connection]]:
    """The attachment's server, with its block devices."""
    server, connection = Server(initiator_of(attachment.server_name)), connection_of(attachment)
    try:
        server.log_in(connection, chap=chap_of(attachment))
        yield server, connection
    finally:
        server.close()


def connection_of(attachment: pb.Attachment) -> Connection:
    message = attachment.connection
    volumes = tuple(
        ConnectedVolume(
            role=PortionRole(volume.role),
            size_bytes=volume.size_bytes,
            read_only=volume.read_only,
            lun=volume.lun,
        )
        for volume in message.volumes
    )
    return Connection(
        fabric=message.fabric,
        target=message.target,
        portals=tuple(message.portals),
        volumes=volumes,
    )


def chap_of(attachment: pb.Attachment) -> ChapAccount:
    return ChapAccount(username=attachment.chap_username, secret=attachment.chap_secret)


@contextmanager
def mounted(device: Path, at: Path, *, options: str) -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    commands.run(["mount", "-t", "ext4", "-o", options, str(device), str(at)], timeout_s=60)
    try:
        yield at
    finally:
        commands.run(["umount", str(at)], timeout_s=60)


def test_a_server_gets_its_storage_writes_it_and_nobody_reads_it_after(
    lio: LioSite, tmp_path: Path
) -> None:
    site = lio.site
    scrub = pb.ScrubPolicy(threshold=1)
    image = site.image(system_user=pb.SystemUser(**CUSTOMER))
    pool = site.pool(image, min_ready=1, max_replicas=1, fabric=FABRIC, scrub=scrub)
    attachment = site.attach(pool)
    assert "iscsi" == attachment.connection.fabric
    with logged_in(attachment) as (server, connection):
        shared, own = (server.device(connection, lun=lun) for lun in (RO_LUN, RW_LUN))
        with mounted(shared, tmp_path / "ro", options="ro") as folder:
            assert f"{image.name} 1.0\n" == (folder / "app/version").read_text()
        with mounted(own, tmp_path / "rw", options="rw") as folder:
            assert f"{image.name}\n" == (folder / "etc/owner").read_text()
            (folder / "secret").write_bytes(SECRET)
        assert [] != site.files_with(SECRET)
        with pytest.raises(FailedPrecondition, match="log it out first"):
            site.release(attachment)
        server.log_out(connection)
        assert is_gone(shared)
        assert is_gone(own)
        site.release(attachment)
    site.wait_for_counts(pool, ready=1, released=0)
    assert [] == site.files_with(SECRET)
    (record,) = site.records(pool)
    assert (attachment.id, "reformat") == (record.attachment_id, record.method)


def test_a_server_that_will_not_go_is_cut_off_by_force(lio: LioSite) -> None:
    site = lio.site
    pool = site.pool(site.image(), fabric=FABRIC)
    attachment = site.attach(pool, system_user=pb.SystemUser(**CUSTOMER))
    with logged_in(attachment) as (server, connection):
        own = server.device(connection, lun=RW_LUN)
        write_device(own, SECRET.ljust(BLOCK_BYTES))
        path = site.object_of(site.volume(attachment.volume_id))
        site.release(attachment, force=True)
        with pytest.raises(OSError, match=r"."):
            write_device(own, b"after the release".ljust(BLOCK_BYTES))
        assert SECRET == path.read_bytes()[: len(SECRET)]


def test_servers_keep_their_devices_while_the_engine_is_killed_and_started(lio: LioSite) -> None:
    site = lio.site
    pool = site.pool(site.image(), fabric=FABRIC)
    attachment = site.attach(pool, system_user=pb.SystemUser(**CUSTOMER))
    with logged_in(attachment) as (server, connection):
        own = server.device(connection, lun=RW_LUN)
        before = sorted(Path("/sys/class/iscsi_session").iterdir())
        site.engine.kill()
        write_device(own, b"without an engine".ljust(BLOCK_BYTES))
        site.engine.start()
        write_device(own, b"with it again".ljust(BLOCK_BYTES), offset=BLOCK_BYTES)
        assert own == server.find_device(connection, lun=RW_LUN)
        assert before == sorted(Path("/sys/class/iscsi_session").iterdir())
        assert b"without an engine" == read_device(own, size_bytes=17)
        site.release(attachment, force=True)


def test_what_the_kernel_forgot_is_made_again_from_the_rows(lio: LioSite) -> None:
    """As after a reboot, or after somebody cleared the kernel's targets."""
    site = lio.site
    pool = site.pool(site.image(), fabric=FABRIC)
    attachment = site.attach(pool, system_user=pb.SystemUser(**CUSTOMER))
    site.wait_for_counts(pool, ready=1)
    target = attachment.connection.target.rpartition(":")[2]
    assert target in lio.fabric().list()
    before = lio.fabric().list()
    lio.fabric().stop()
    wait_for(lambda: before <= lio.fabric().list(), what="all targets, made again")
    with logged_in(attachment) as (server, connection):
        write_device(server.device(connection, lun=RW_LUN), b"as before".ljust(BLOCK_BYTES))
    site.release(attachment)
    site.engine.stop()
    lio.fabric().stop()
    site.engine.start()
    assert before - {target} <= lio.fabric().list()


def test_no_secret_is_in_the_log_or_in_the_clear_in_the_state(lio: LioSite) -> None:
    site = lio.site
    pool = site.pool(site.image(), fabric=FABRIC)
    attachment = site.attach(pool, system_user=pb.SystemUser(**CUSTOMER))
    secret = attachment.chap_secret.encode()
    assert 12 <= len(secret)
    site.release(attachment)
    assert secret not in site.engine.log.read_bytes()
    kept = [path for path in site.engine.state_dir.rglob("*") if path.is_file()]
    assert [] == [path for path in kept if secret in path.read_bytes()]

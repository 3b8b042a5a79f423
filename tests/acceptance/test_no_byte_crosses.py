"""No byte written under one attachment is readable under a later one: each method, each store.

Each attachment's server writes a random marker, and searches all those before it over its own iSCSI
session; then the backing store is searched, and, for the method that says so, the medium under it.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.audit_check import check_lines
from clonepool.errors import FailedPrecondition
from clonepool.testing.engine_process import EngineProcess
from clonepool.testing.file_systems import ext4_disk, xfs_disk
from tests.support.site import APPLICATION, CUSTOMER, RW_LUN, Master, Site, log_in, write_marker

pytestmark = [pytest.mark.tgt, pytest.mark.reflink]
METHODS = ("reformat", "zero", "discard")


@dataclass(kw_only=True)
class Store:
    """A site whose storage is on a file system of a known kind; ``medium`` is what it lies on."""

    site: Site
    master: Master  # shared
    medium: Path
    mount_point: Path
    marks: list[bytes] = field(default_factory=list)

    def use(self, attached: pb.Attachment) -> bytes:
        """Find none of the marks before, and leave one at three places of the volume."""
        mark = secrets.token_hex(32).encode()
        with log_in(attached) as session:
            assert [None] * len(self.marks) == [
                session.find(each, lun=RW_LUN) for each in self.marks
            ]
            write_marker(session, mark)
            assert 0 == session.find(mark, lun=RW_LUN)
        self.marks.append(mark)
        return mark

    def use_and_release(self, pool: str, user: Any) -> pb.Attachment:
        """One turn of a pool of one volume; when it ends the volume is ready again."""
        attached = self.site.attach(pool, system_user=user)
        mark = self.use(attached)
        assert self.medium_holds(mark), "a search that can find"
        assert [self.site.object_of(self.site.volume(attached.volume_id))] == self.site.files_with(
            mark
        ), "a search that can find"
        self.site.release(attached)
        self.site.wait_for_counts(pool, ready=1, released=0, scrubbing=0, faulty=0)
        return attached

    def medium_holds(self, mark: bytes) -> bool:
        """Whether the bytes of the medium have it, below the file system."""
        descriptor = os.open(self.mount_point, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.sync()
        with self.medium.open("rb") as file:
            before = b""
            while block := file.read(16 * 2**20):
                if mark in before + block:
                    return True
                before = block[-len(mark) :]
        return False


def _store(medium: Path, mount_point: Path) -> Iterator[Store]:
    with tempfile.TemporaryDirectory(prefix="cp-") as name:
        folder = Path(name)
        with (
            EngineProcess(folder / "engine", storage_path=mount_point / "store") as engine,
            engine.client() as client,
        ):
            site = Site(engine=engine, client=client, sources=folder / "sources")
            yield Store(site=site, master=site.image(), medium=medium, mount_point=mount_point)


@pytest.fixture(scope="module")
def ext4() -> Iterator[Store]:
    with ext4_disk() as (medium, mount_point):
        yield from _store(medium, mount_point)


@pytest.fixture(scope="module")
def xfs() -> Iterator[Store]:
    with xfs_disk() as disk:
        yield from _store(disk.image, disk.mount_point)


STORES = [("ext4", "full"), ("xfs", "thin"), ("xfs", "full")]


@pytest.fixture(params=STORES, ids=["ext4-full", "xfs-thin", "xfs-full"])
def store_and_mode(request: pytest.FixtureRequest) -> tuple[Store, str]:
    name, mode = request.param
    return request.getfixturevalue(name), mode


@pytest.mark.parametrize("method", METHODS)
def test_no_byte_crosses_to_a_later_attachment(
    store_and_mode: tuple[Store, str], method: str
) -> None:
    """In the same pool, in another on the same storage, of the same user and of another."""
    store, mode = store_and_mode
    site = store.site
    scrub = {"threshold": 1, "method": method, "verify": "full"}
    shape = {"max_replicas": 1, "clone_mode": mode, "scrub": scrub}
    pool = site.pool(store.master, **shape)
    first = len(store.marks)
    users = [CUSTOMER, APPLICATION, APPLICATION, CUSTOMER]
    used = [store.use_and_release(pool, user) for user in users]
    assert 1 == len({each.volume_id for each in used}), "one volume went through all hands"
    assert [1, 2, 3, 4] == [each.volume_generation for each in used]
    other = site.pool(store.master, **shape)
    store.use_and_release(other, APPLICATION)
    (volume,) = site.volumes(other)
    assert mode == volume.clone_kind
    written = store.marks[first:]
    assert 5 == len(written)
    assert [] == [path for mark in written for path in site.files_with(mark)]
    records = [*site.records(pool), *site.records(other)]
    assert {(method, "full", "passed")} == {
        (record.method, record.verify, record.result) for record in records
    }
    if method == "zero":
        # in place, and neither file system keeps data in its journal
        assert [False] * 5 == [store.medium_holds(mark) for mark in written]


@pytest.mark.parametrize("name", ["ext4", "xfs"])
def test_a_released_volume_comes_back_with_its_bytes_and_only_to_its_own(
    request: pytest.FixtureRequest, name: str
) -> None:
    """Undone, then resumed, over real sessions; another system user's server finds nothing."""
    store: Store = request.getfixturevalue(name)
    site = store.site
    pool = site.pool(store.master, min_ready=2, scrub={"threshold": 9})
    attached = site.attach(pool, system_user=CUSTOMER)
    mark = store.use(attached)
    site.release(attached)
    undone = site.call("UndoRelease", pb.UndoReleaseRequest(attachment=attached.id))
    assert (attached.id, attached.volume_id) == (undone.id, undone.volume_id)
    attached.connection.CopyFrom(undone.connection)
    with log_in(attached) as session:
        assert 0 == session.find(mark, lun=RW_LUN)
    site.release(attached)
    for user, finds in ((CUSTOMER, 0), (APPLICATION, None)):
        made = _attach_again(site, attached, user)
        with log_in(made) as session:
            assert finds == session.find(mark, lun=RW_LUN)
        site.release(made)
    store.marks.remove(mark)


def _attach_again(site: Site, attached: pb.Attachment, user: Any) -> pb.Attachment:
    """An attachment of the same name that asks for what the last one of it had."""
    spec = pb.AttachmentSpec(
        name=attached.spec.name,
        pool=attached.spec.pool,
        server=attached.spec.server,
        system_user=pb.SystemUser(**user),
        resume_released=True,
    )
    request = pb.CreateAttachmentRequest(spec=spec, request_token=secrets.token_hex(8))
    made: pb.Attachment = site.call("CreateAttachment", request)
    return made


@pytest.mark.parametrize("name", ["ext4", "xfs"])
def test_the_file_backend_promises_to_clear_and_refuses_to_purge(
    request: pytest.FixtureRequest, name: str
) -> None:
    """NIST SP 800-88: no method of it reaches the medium for certain."""
    store: Store = request.getfixturevalue(name)
    site = store.site
    (info,) = site.call("GetEngineInfo", pb.GetEngineInfoRequest()).storages
    assert ([], True) == (list(info.purges), "NIST SP 800-88 'clear'" in info.erasure_note)
    for method in METHODS:
        with pytest.raises(FailedPrecondition, match="can't promise to purge"):
            site.declare_pool(store.master, scrub={"method": method, "assurance": "purge"})


@pytest.mark.parametrize("name", ["ext4", "xfs"])
def test_all_of_it_is_in_an_audit_that_holds(request: pytest.FixtureRequest, name: str) -> None:
    store: Store = request.getfixturevalue(name)
    lines = [line.text for line in store.site.client.watch("ExportAudit", pb.ExportAuditRequest())]
    checked = check_lines(lines)
    assert checked.complete
    assert checked.entries >= 2 * len(METHODS)

"""A storage site as tests speak of it: master images, pools, servers, what a server reads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.model import ChapAccount
from clonepool.testing.engine_process import EngineProcess
from clonepool.testing.images import make_ext4_image, make_random_image
from clonepool.testing.initiator import LoginRefused, Session
from tests.support.waiting import wait_for

RO_LUN, RW_LUN = 1, 2
BLOCK_BYTES = 512
# the smallest that mke2fs gives a journal
IMAGE_BYTES = 8 * 2**20

CUSTOMER: Mapping[str, Any] = {"name": "acme", "kind": pb.SYSTEM_USER_KIND_CUSTOMER}
APPLICATION: Mapping[str, Any] = {"name": "billing", "kind": pb.SYSTEM_USER_KIND_APPLICATION}


@dataclass(frozen=True, kw_only=True)
class Master:
    """A master image that was imported, and the files that it was made from."""

    name: str
    read_only: Path
    writable: Path
    message: pb.MasterImage


@dataclass(frozen=True, kw_only=True)
class Site:
    """One engine, spoken to as its users do; names that are left out are new ones."""

    engine: EngineProcess
    client: EngineClient
    sources: Path
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def new_name(self, word: str) -> str:
        """A name that nothing here has."""
        return f"{word}-{next(self._numbers)}"

    def call(self, method: str, request: Any, **options: Any) -> Any:
        """One RPC."""
        return self.client.call(method, request, **options)

    def image(
        self,
        *,
        files: Mapping[str, str] = MappingProxyType({}),
        dense_bytes: int = 0,
        **spec: Any,
    ) -> Master:
        """Import two ext4 portions; ``dense_bytes`` of noise make the writable one slow."""
        name = self.new_name("image")
        self.sources.mkdir(exist_ok=True)
        shared, writable = self.sources / f"{name}-ro.img", self.sources / f"{name}-rw.img"
        make_ext4_image(shared, size_bytes=IMAGE_BYTES, files={"/app/version": f"{name} 1.0\n"})
        if dense_bytes:
            make_random_image(writable, size_bytes=dense_bytes)
        else:
            inside = {"/etc/owner": f"{name}\n", **files}
            make_ext4_image(writable, size_bytes=IMAGE_BYTES, files=inside)
        wanted = pb.ImageSpec(
            name=name,
            read_only=pb.PortionSpec(source=str(shared)),
            writable=pb.PortionSpec(source=str(writable)),
            **spec,
        )
        self.call("CreateImage", pb.CreateImageRequest(spec=wanted, request_token=name))
        message = wait_for(lambda: self._imported(name), what=f"the import of {name}")
        return Master(name=name, read_only=shared, writable=writable, message=message)

    def _imported(self, name: str) -> pb.MasterImage | None:
        image: pb.MasterImage = self.call("GetImage", pb.GetRequest(name=name))
        assert image.latest.state != "failed", image.latest.error
        return image if image.HasField("current") else None

    def pool(self, master: Master, *, min_ready: int = 1, **spec: Any) -> str:
        """A pool of its replicas, filled."""
        name = self.declare_pool(master, min_ready=min_ready, **spec)
        self.wait_for_counts(name, ready=min_ready)
        return name

    def declare_pool(self, master: Master, **spec: Any) -> str:
        """A pool that is yet to be filled."""
        name = self.new_name("pool")
        wanted = pb.PoolSpec(name=name, master_image=master.name, **spec)
        self.call("CreatePool", pb.CreatePoolRequest(spec=wanted, request_token=name))
        return name

    def delete_pool(self, pool: str) -> None:
        """Its name is free at once; its volumes go behind."""
        found: pb.ReplicaPool = self.call("GetPool", pb.GetRequest(name=pool))
        self.call("DeletePool", pb.DeleteRequest(id=found.id))

    def pools(self) -> Sequence[pb.ReplicaPool]:
        """All live pools."""
        found: pb.ListPoolsResponse = self.call("ListPools", pb.ListRequest())
        return found.pools

    def attachments(self) -> Sequence[pb.Attachment]:
        """All attachments, without their secrets."""
        found: pb.ListAttachmentsResponse = self.call("ListAttachments", pb.ListRequest())
        return [self.attachment(each.id) for each in found.attachments]

    def attachment(self, attachment_id: str) -> pb.Attachment:
        """One attachment, without its secret."""
        request = pb.GetAttachmentRequest(id=attachment_id)
        found: pb.Attachment = self.call("GetAttachment", request)
        return found

    def change_pool(self, pool: str, **changes: Any) -> None:
        """Change some of a pool's declaration in place."""
        found: pb.ReplicaPool = self.call("GetPool", pb.GetRequest(name=pool))
        found.spec.MergeFrom(pb.PoolSpec(**changes))
        self.call("UpdatePool", pb.UpdatePoolRequest(id=found.id, spec=found.spec))

    def counts(self, pool: str) -> pb.PoolCounts:
        """The pool's volumes by state."""
        found: pb.ReplicaPool = self.call("GetPool", pb.GetRequest(name=pool))
        assert not found.stopped_reason, found.stopped_reason
        return found.counts

    def wait_for_counts(self, pool: str, **wanted: int) -> pb.PoolCounts:
        """Wait until the pool has exactly so many volumes in these states."""

        def look() -> pb.PoolCounts | None:
            counts = self.counts(pool)
            return counts if all(getattr(counts, k) == n for k, n in wanted.items()) else None

        return wait_for(look, what=f"{wanted} in {pool}")

    def server(self) -> str:
        """A server in the inventory; its initiator name is made of its name."""
        name = self.new_name("server")
        wanted = pb.ServerSpec(name=name, initiator=initiator_of(name))
        self.call("CreateServer", pb.CreateServerRequest(spec=wanted, request_token=name))
        return name

    def attach(self, pool: str, *, server: str = "", **spec: Any) -> pb.Attachment:
        """Allocate a server (a new one when none is named) with storage of the pool."""
        name = self.new_name("attachment")
        wanted = pb.AttachmentSpec(name=name, pool=pool, server=server or self.server(), **spec)
        request = pb.CreateAttachmentRequest(spec=wanted, request_token=name)
        answer: pb.Attachment = self.call("CreateAttachment", request)
        return answer

    def release(self, attachment: pb.Attachment, *, force: bool = False) -> None:
        """De-allocate; returns when the volume is released."""
        request = pb.DeleteAttachmentRequest(id=attachment.id, force=force)
        self.call("DeleteAttachment", request)

    def volumes(self, pool: str = "", *, state: str = "") -> Sequence[pb.Volume]:
        """The pool's volumes; those of every pool when none is named."""
        request = pb.ListVolumesRequest(pool=pool, state=state)
        found: Sequence[pb.Volume] = self.call("ListVolumes", request).volumes
        return found

    def volume(self, volume_id: str) -> pb.Volume:
        """One volume."""
        found: pb.Volume = self.call("GetVolume", pb.GetRequest(id=volume_id))
        return found

    def runs(self, pool: str) -> Sequence[pb.ScrubRun]:
        """The pool's scrub runs, newest first."""
        found: Sequence[pb.ScrubRun] = self.call(
            "ListScrubRuns", pb.ListScrubRunsRequest(pool=pool)
        ).runs
        return found

    def records(self, pool: str) -> Sequence[pb.ScrubRecord]:
        """What was scrubbed in the pool, newest first."""
        found: Sequence[pb.ScrubRecord] = self.call(
            "ListScrubRecords", pb.ListScrubRecordsRequest(pool=pool)
        ).records
        return found

    def objects(self) -> Mapping[str, Path]:
        """Every finished object on the storage: images' portions and volumes."""
        root = self.engine.storage
        folders = (root / "images", root / "volumes/thin", root / "volumes/full")
        return {path.name: path for folder in folders for path in folder.iterdir()}

    def object_of(self, volume: pb.Volume) -> Path:
        """The file that backs a volume."""
        return self.objects()[volume.object_name]

    def files_with(self, marker: bytes) -> Sequence[Path]:
        """The files of the storage that hold ``marker``, unfinished ones included."""
        paths = (path for path in self.engine.storage.rglob("*") if path.is_file())
        return [path for path in paths if _holds(path, marker)]


def _holds(path: Path, marker: bytes) -> bool:
    try:
        return marker in path.read_bytes()
    except FileNotFoundError:
        # the engine deletes behind: what went since it was listed holds nothing
        return False


def initiator_of(server: str) -> str:
    """The initiator name of a test's server."""
    return f"iqn.2026-01.test.clonepool:{server}"


def log_in(
    attachment: pb.Attachment, *, as_server: str = "", chap: ChapAccount | None = None
) -> Session:
    """The session of the attachment's server; of another one, or with another account, if said."""
    connection = attachment.connection
    own = ChapAccount(username=attachment.chap_username, secret=attachment.chap_secret)
    return Session(
        portal=connection.portals[0],
        target=connection.target,
        initiator=initiator_of(as_server or attachment.server_name),
        chap=chap or own,
    )


def is_refused(attachment: pb.Attachment, **options: Any) -> bool:
    """Whether such a login is turned away."""
    try:
        log_in(attachment, **options).close()
    except LoginRefused:
        return True
    return False


def write_marker(session: Session, marker: bytes) -> None:
    """Put ``marker`` on the writable LUN's first, middle and last block, durably."""
    blocks, _ = session.capacity(lun=RW_LUN)
    data = marker.ljust(BLOCK_BYTES, b".")
    for lba in (0, blocks // 2, blocks - 1):
        session.write(lun=RW_LUN, lba=lba, data=data)
    session.flush(lun=RW_LUN)

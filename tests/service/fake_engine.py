"""An engine in memory with the controllers' signatures, for tests of the service and the CLI."""

from __future__ import annotations

import dataclasses
import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from clonepool.domain.drift import Orphan
from clonepool.domain.facts import EngineFacts, FabricFacts, StorageFacts
from clonepool.domain.model import (
    Attachment,
    AttachmentSpec,
    Event,
    ImageSpec,
    ImageVersion,
    MasterImage,
    Operation,
    PageRequest,
    PoolSpec,
    Ref,
    ReplicaPool,
    ScrubRecord,
    ScrubRun,
    Server,
    ServerSpec,
    Volume,
)
from clonepool.domain.states import (
    AfterScrub,
    AttachmentState,
    Severity,
    VersionState,
)
from clonepool.errors import AlreadyExists, ClonepoolError, FailedPrecondition, NotFound
from tests.service.fake_forecasts import FakeForecasts
from tests.service.fake_holds import SPENT, FakeHolds
from tests.service.fake_nodes import FakeNodes
from tests.service.fake_values import (
    GIB,
    NOW,
    attachment,
    operation,
    pool,
    scrub_record,
    scrub_run,
    version,
    volume,
)


class Shelf:
    """Named things with the token that made each; ``fail`` makes the next call raise."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.items: dict[str, Any] = {}
        self.tokens: dict[str, str] = {}
        self.calls: list[tuple[str, Any]] = []
        self.fail: BaseException | None = None

    def called(self, verb: str, argument: Any) -> None:
        self.calls.append((verb, argument))
        if self.fail is not None:
            failure, self.fail = self.fail, None
            raise failure

    def find(self, ref: Ref) -> Any:
        for item in self.items.values():
            if item.id == ref.id or (ref.name and item.spec.name == ref.name):
                return item
        raise NotFound(f"{self.kind} {ref} is not there", reason="NOT_FOUND")

    def known(self, spec: Any, token: str) -> Any | None:
        for item in self.items.values():
            if item.spec.name != spec.name:
                continue
            if self.tokens[item.id] == token and item.spec == spec:
                return item
            raise AlreadyExists(f"{self.kind} {spec.name} exists with id {item.id}")
        return None

    def keep(self, item: Any, token: str = "") -> Any:
        self.items[item.id] = item
        self.tokens[item.id] = token
        return item

    def page(self, page: PageRequest) -> tuple[Sequence[Any], str]:
        start = int(page.token or 0)
        kept = [item for item in self.items.values() if item.spec.name.startswith(page.name_prefix)]
        end = start + page.size
        return kept[start:end], str(end) if end < len(kept) else ""


class FakeImages(Shelf):
    def create(self, *, spec: ImageSpec, token: str) -> MasterImage:
        self.called("create", spec)
        known: MasterImage | None = self.known(spec, token)
        return known or self.keep(
            MasterImage(
                id=str(uuid.uuid4()),
                spec=spec,
                current=None,
                latest=version(VersionState.IMPORTING),
                created_at=NOW,
            ),
            token,
        )

    def get(self, *, ref: Ref) -> MasterImage:
        self.called("get", ref)
        image: MasterImage = self.find(ref)
        return image

    def list(self, *, page: PageRequest) -> tuple[Sequence[MasterImage], str]:
        self.called("list", page)
        return self.page(page)

    def update(self, *, image_id: str, spec: ImageSpec) -> MasterImage:
        self.called("update", spec)
        image = self.find(Ref(id=image_id))
        return self.keep(dataclasses.replace(image, spec=spec), self.tokens[image_id])

    def delete(self, *, image_id: str) -> None:
        self.called("delete", image_id)
        self.items.pop(image_id, None)

    def versions(self, *, image_id: str) -> Sequence[tuple[ImageVersion, Operation | None, int]]:
        image = self.find(Ref(id=image_id))
        return [(image.latest, operation(), 3)]

    def imported(self, image_id: str) -> None:
        ready = version(VersionState.READY)
        image = self.items[image_id]
        self.items[image_id] = dataclasses.replace(image, current=ready, latest=ready)


class FakePools(Shelf):
    def create(self, *, spec: PoolSpec, token: str) -> ReplicaPool:
        self.called("create", spec)
        known: ReplicaPool | None = self.known(spec, token)
        return known or self.keep(pool(spec), token)

    def get(self, *, ref: Ref) -> ReplicaPool:
        self.called("get", ref)
        found: ReplicaPool = self.find(ref)
        return found

    def list(self, *, page: PageRequest) -> tuple[Sequence[ReplicaPool], str]:
        self.called("list", page)
        return self.page(page)

    def update(self, *, pool_id: str, spec: PoolSpec) -> ReplicaPool:
        self.called("update", spec)
        found = self.find(Ref(id=pool_id))
        return self.keep(dataclasses.replace(found, spec=spec), self.tokens[pool_id])

    def delete(self, *, pool_id: str) -> None:
        self.called("delete", pool_id)
        self.items.pop(pool_id, None)

    def reset(self, *, ref: Ref) -> ReplicaPool:
        self.called("reset", ref)
        found: ReplicaPool = self.find(ref)
        return found


class FakeServers(Shelf):
    def create(self, *, spec: ServerSpec, token: str) -> Server:
        self.called("create", spec)
        known: Server | None = self.known(spec, token)
        return known or self.keep(
            Server(
                id=str(uuid.uuid4()),
                spec=spec,
                system_user=None,
                attachments=0,
                inline=False,
                created_at=NOW,
            ),
            token,
        )

    def get(self, *, ref: Ref) -> Server:
        self.called("get", ref)
        found: Server = self.find(ref)
        return found

    def list(self, *, page: PageRequest) -> tuple[Sequence[Server], str]:
        self.called("list", page)
        return self.page(page)

    def update(self, *, server_id: str, spec: ServerSpec, force: bool) -> Server:
        self.called("update", (spec, force))
        found = self.find(Ref(id=server_id))
        return self.keep(dataclasses.replace(found, spec=spec), self.tokens[server_id])

    def delete(self, *, server_id: str) -> None:
        self.called("delete", server_id)
        self.items.pop(server_id, None)


class FakeAttachments(Shelf):
    """``waiting`` answers are WAITING before an attachment is ATTACHED."""

    lease_s = 30.0
    waiting = 0

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.tickets: list[str] = []

    def create(self, *, spec: AttachmentSpec, token: str, hold: str = "") -> Attachment:
        self.called("create", spec)
        self.tickets.append(hold)
        known: Attachment | None = self.known(spec, token)
        made = known or self.keep(attachment(spec), token)
        if self.waiting:
            self.waiting -= 1
            return dataclasses.replace(
                made, state=AttachmentState.WAITING, place=2, connection=None, chap=None
            )
        return made if known or hold != "spent" else dataclasses.replace(made, hold_note=SPENT)

    def get(self, *, ref: Ref) -> Attachment:
        self.called("get", ref)
        found: Attachment = self.find(ref)
        return found

    def list(
        self, *, page: PageRequest, pool: str = "", server: str = ""
    ) -> tuple[Sequence[Attachment], str]:
        self.called("list", (page, pool, server))
        return self.page(page)

    def update(self, *, attachment_id: str, spec: AttachmentSpec) -> Attachment:
        self.called("update", spec)
        found = self.find(Ref(id=attachment_id))
        return self.keep(dataclasses.replace(found, spec=spec), self.tokens[attachment_id])

    def delete(self, *, attachment_id: str, force: bool) -> None:
        self.called("delete", (attachment_id, force))
        found = self.items.get(attachment_id)
        if found and found.spec.name == "busy" and not force:
            raise FailedPrecondition(
                "server web1 is logged in to attachment busy; log out, or release with --force",
                reason="SERVER_BUSY",
                metadata={"subject": "attachment/busy"},
            )
        self.items.pop(attachment_id, None)

    def undo_release(self, *, attachment: str = "", volume_id: str = "") -> Attachment:
        self.called("undo_release", (attachment, volume_id))
        found: Attachment = self.find(Ref(id=attachment))
        return dataclasses.replace(found, resumed_release=NOW)


class FakeVolumes(Shelf):
    def get(self, *, ref: Ref) -> Volume:
        self.called("get", ref)
        if ref.id != "volume-1":
            raise NotFound(f"volume {ref} is not there")
        return volume()

    def list(
        self, *, page: PageRequest, pool: str = "", state: str = ""
    ) -> tuple[Sequence[Volume], str]:
        self.called("list", (page, pool, state))
        return [volume()], ""


class FakeScrub(Shelf):
    def start(self, *, pool: str) -> ScrubRun | None:
        self.called("start", pool)
        return None if pool == "clean" else scrub_run()

    def start_one(self, *, volume_id: str, after: AfterScrub) -> ScrubRun | None:
        self.called("start_one", (volume_id, after))
        return None if volume_id == "gone" else scrub_run()

    def get_run(self, *, ref: Ref) -> ScrubRun:
        self.called("get_run", ref)
        return scrub_run()

    def list_runs(self, *, page: PageRequest, pool: str = "") -> tuple[Sequence[ScrubRun], str]:
        self.called("list_runs", (page, pool))
        return [scrub_run()], ""

    def list_records(
        self, *, page: PageRequest, pool: str = "", volume_id: str = ""
    ) -> tuple[Sequence[ScrubRecord], str]:
        self.called("list_records", (page, pool, volume_id))
        return [scrub_record()], ""


class FakeOperations(Shelf):
    def get(self, *, ref: Ref) -> Operation:
        self.called("get", ref)
        return operation()

    def list(
        self, *, page: PageRequest, open_only: bool = False
    ) -> tuple[Sequence[Operation], str]:
        self.called("list", (page, open_only))
        return [operation()], ""

    def cancel(self, *, ref: Ref) -> Operation:
        self.called("cancel", ref)
        return operation()


class FakeEvents:
    def __init__(self) -> None:
        self.kept: list[Event] = []
        self.news = threading.Condition()

    def add(self, subject: str, message: str = "replica ready") -> None:
        with self.news:
            self.kept.append(
                Event(
                    id=len(self.kept) + 1,
                    at=NOW,
                    severity=Severity.INFO,
                    subject=subject,
                    reason="REPLICA_READY",
                    message=message,
                )
            )
            self.news.notify_all()

    def list(self, *, after_id: int, limit: int, subject_prefix: str = "") -> Sequence[Event]:
        found = [
            event
            for event in self.kept
            if event.id > after_id and event.subject.startswith(subject_prefix)
        ]
        return found[:limit]

    def wait(self, *, after_id: int, timeout_s: float) -> bool:
        with self.news:
            return self.news.wait_for(lambda: len(self.kept) > after_id, timeout_s)


class FakeAudit:
    def export(self, *, since: float = 0) -> Iterator[str]:
        yield f'{{"kind":"header","since":{since:.0f}}}'
        yield '{"kind":"end"}'


class FakeOrphans(Shelf):
    def list(self, *, page: PageRequest) -> tuple[Sequence[Orphan], str]:
        self.called("list", page)
        return (
            Orphan(
                storage="default",
                name="vol-0b5f2a3c-1111-4222-8333-444455556666-g1",
                size_bytes=GIB,
                used_bytes=4096,
                first_seen_at=NOW,
                seen_at=NOW,
                waited_s=600.0,
                held="",
            ),
        ), ""

    def due_in_s(self, orphan: Orphan) -> float | None:
        return 3600.0 - orphan.waited_s

    def delete(self, *, storage: str, name: str) -> None:
        self.called("delete", (storage, name))


class FakeEngine:
    """Passed where an Engine is wanted; ``start_failure`` makes ``start`` raise."""

    def __init__(self) -> None:
        self.engine_id = "engine-1"
        self.images = FakeImages("image")
        self.pools = FakePools("pool")
        self.servers = FakeServers("server")
        self.attachments = FakeAttachments("attachment")
        self.volumes = FakeVolumes("volume")
        self.scrub = FakeScrub("scrub run")
        self.audit = FakeAudit()
        self.operations = FakeOperations("operation")
        self.orphans = FakeOrphans("orphan")
        self.nodes = FakeNodes()
        self.events = FakeEvents()
        self.forecasts = FakeForecasts()
        self.holds = FakeHolds()
        self.started = threading.Event()
        self.may_start = threading.Event()
        self.may_start.set()
        self.start_failure: ClonepoolError | None = None

    def start(self) -> None:
        self.may_start.wait(10)
        if self.start_failure:
            raise self.start_failure
        self.started.set()

    def close(self) -> None:
        self.started.clear()

    def info(self) -> EngineFacts:
        return EngineFacts(
            version="0.1.0",
            node="node1",
            engine_id=self.engine_id,
            started_at=NOW,
            storages=(
                StorageFacts(
                    name="default",
                    driver="file",
                    thin_clones=True,
                    thin_reason="reflink",
                    scrub_methods=("reformat", "zero"),
                    total_bytes=100 * GIB,
                    free_bytes=40 * GIB,
                    reserve_bytes=5 * GIB,
                ),
            ),
            fabrics=(FabricFacts(name="iscsi", driver="iscsi", chap=True, error="tgtd is away"),),
            import_roots=("/srv/images",),
            images=len(self.images.items),
            pools=len(self.pools.items),
            servers=len(self.servers.items),
            attachments=len(self.attachments.items),
            volumes=1,
        )

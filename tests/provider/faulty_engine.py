"""An engine whose faults a test chooses, behind the real gRPC server and its checks.

What it answers follows engine.proto; what it holds is in memory. A test sets the knobs (an import
that fails, a stock that is empty) and reads ``calls`` for what reached the engine.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from clonepool.config import Settings
from clonepool.domain.model import (
    Attachment,
    AttachmentSpec,
    ChapAccount,
    ConnectedVolume,
    Connection,
    ImagePortion,
    ImageSpec,
    ImageVersion,
    MasterImage,
    PoolCounts,
    PoolSpec,
    Ref,
    ReplicaPool,
    Server,
    ServerSpec,
    SystemUser,
)
from clonepool.domain.states import (
    AttachmentState,
    ChapMode,
    OperationState,
    PortionRole,
    SystemUserKind,
    VersionState,
    VolumeState,
)
from clonepool.domain.work import Operation
from clonepool.errors import AlreadyExists, ClonepoolError, FailedPrecondition, NotFound
from clonepool.service.server import EngineServer

if TYPE_CHECKING:
    from clonepool.engine import Engine

MIB = 2**20
NOW = 1_700_000_000.0
SECRET = "made-by-the-engine"


@dataclass(kw_only=True)
class Knobs:
    """What goes wrong, or slowly. ``stock`` None is a pool that never runs empty."""

    import_looks: int = 0
    import_error: str = ""
    fill_looks: int = 0
    stopped_reason: str = ""
    wait_reason: str = ""  # of an attachment that waits
    stock: int | None = None
    logged_in: bool = False
    raises: dict[str, ClonepoolError] = field(default_factory=dict)
    tickets: list[str] = field(default_factory=list)  # that attachments were asked for with


class Shelf:
    """Live things of one kind by id, the token that made each, and what was asked."""

    def __init__(self, kind: str, *, knobs: Knobs, calls: list[tuple[str, str]]) -> None:
        self.kind, self.knobs, self.calls = kind, knobs, calls
        self.items: dict[str, Any] = {}
        self.tokens: dict[str, str] = {}
        self.lock = threading.RLock()

    def called(self, verb: str, what: str) -> None:
        self.calls.append((f"{verb} {self.kind}", what))
        if error := self.knobs.raises.get(f"{verb} {self.kind}"):
            raise error

    def find(self, ref: Ref) -> Any:
        for item in self.items.values():
            if item.id == ref.id or (ref.name and item.spec.name == ref.name):
                return item
        raise NotFound(f"there is no {self.kind} {ref}", reason="NOT_FOUND")

    def make(self, spec: Any, token: str, new: Callable[[str], Any]) -> Any:
        for item in self.items.values():
            if item.spec.name == spec.name:
                return self.known(item, spec, token)
        made = new(str(uuid.uuid4()))
        self.items[made.id], self.tokens[made.id] = made, token
        return made

    def known(self, item: Any, spec: Any, token: str) -> Any:
        same_token = self.tokens[item.id] == token
        if same_token and item.spec == spec:
            return item
        raise AlreadyExists(
            f"{self.kind} {spec.name} exists (id {item.id})",
            metadata={"id": item.id, "same_token": "true" if same_token else "false"},
        )

    def put(self, item: Any) -> Any:
        self.items[item.id] = item
        return item

    def one(self) -> Any:
        (item,) = self.items.values()
        return item

    def names(self) -> list[str]:
        return sorted(item.spec.name for item in self.items.values())


class Images(Shelf):
    """``import_looks`` gets pass before a version is ready, or fails with ``import_error``."""

    def create(self, *, spec: ImageSpec, token: str) -> MasterImage:
        with self.lock:
            self.called("create", spec.name)
            made = self.make(spec, token, lambda new_id: _image(new_id, spec))
            return self._begin(made) if made.latest.state is VersionState.FAILED else made

    def get(self, *, ref: Ref) -> MasterImage:
        with self.lock:
            self.called("get", str(ref))
            return self._step(self.find(ref))

    def update(self, *, image_id: str, spec: ImageSpec) -> MasterImage:
        with self.lock:
            self.called("update", spec.name)
            image: MasterImage = self.find(Ref(id=image_id))
            changed = replace(image, spec=spec)
            same = (image.spec.writable, image.spec.read_only) == (spec.writable, spec.read_only)
            if same and image.latest.state is not VersionState.FAILED:
                return cast("MasterImage", self.put(changed))
            return self._begin(changed)

    def delete(self, *, image_id: str) -> None:
        with self.lock:
            self.called("delete", image_id)
            self.items.pop(image_id, None)

    def versions(self, *, image_id: str) -> Sequence[tuple[ImageVersion, Operation | None, int]]:
        image = self.find(Ref(id=image_id))
        return [(image.latest, _operation(image.latest.number), 0)]

    def _begin(self, image: MasterImage) -> MasterImage:
        number = image.latest.number + 1
        begun = replace(image.latest, number=number, state=VersionState.IMPORTING, error="")
        return cast("MasterImage", self.put(replace(image, latest=begun)))

    def _step(self, image: MasterImage) -> MasterImage:
        if image.latest.state is not VersionState.IMPORTING:
            return image
        if self.knobs.import_looks > 0:
            self.knobs.import_looks -= 1
            return image
        if self.knobs.import_error:
            failed = replace(image.latest, state=VersionState.FAILED, error=self.knobs.import_error)
            return cast("MasterImage", self.put(replace(image, latest=failed)))
        ready = replace(image.latest, state=VersionState.READY)
        return cast("MasterImage", self.put(replace(image, latest=ready, current=ready)))


class Pools(Shelf):
    """``fill_looks`` gets pass, one replica more each; ``stopped_reason`` stops the filling."""

    def create(self, *, spec: PoolSpec, token: str) -> ReplicaPool:
        with self.lock:
            self.called("create", spec.name)
            return self._step(self.make(spec, token, lambda new_id: _pool(new_id, spec)))

    def get(self, *, ref: Ref) -> ReplicaPool:
        with self.lock:
            self.called("get", str(ref))
            return self._step(self.find(ref))

    def update(self, *, pool_id: str, spec: PoolSpec) -> ReplicaPool:
        with self.lock:
            self.called("update", spec.name)
            return self._step(replace(self.find(Ref(id=pool_id)), spec=spec))

    def reset(self, *, ref: Ref) -> ReplicaPool:
        with self.lock:
            self.called("reset", str(ref))
            return self._step(self.find(ref))

    def delete(self, *, pool_id: str) -> None:
        with self.lock:
            self.called("delete", pool_id)
            self.items.pop(pool_id, None)

    def _step(self, pool: ReplicaPool) -> ReplicaPool:
        ready = pool.spec.min_ready
        if self.knobs.fill_looks > 0:
            self.knobs.fill_looks -= 1
            ready = min(ready, pool.counts.of(VolumeState.READY) + 1)
        if self.knobs.stopped_reason:
            ready = 0
        counts = PoolCounts(by_state={VolumeState.READY: ready})
        stepped = replace(pool, counts=counts, stopped_reason=self.knobs.stopped_reason)
        return cast("ReplicaPool", self.put(stepped))


class Servers(Shelf):
    """Servers, there at once."""

    def create(self, *, spec: ServerSpec, token: str) -> Server:
        with self.lock:
            self.called("create", spec.name)
            return cast("Server", self.make(spec, token, lambda new_id: _server(new_id, spec)))

    def get(self, *, ref: Ref) -> Server:
        self.called("get", str(ref))
        return cast("Server", self.find(ref))

    def update(self, *, server_id: str, spec: ServerSpec, force: bool) -> Server:
        self.called("update", spec.name)
        return cast("Server", self.put(replace(self.find(Ref(id=server_id)), spec=spec)))

    def delete(self, *, server_id: str) -> None:
        self.called("delete", server_id)
        self.items.pop(server_id, None)


class Attachments(Shelf):
    """Once ``stock`` attachments are there, more of them wait."""

    lease_s = 30.0

    def create(self, *, spec: AttachmentSpec, token: str, hold: str = "") -> Attachment:
        with self.lock:
            self.called("create", spec.name)
            self.knobs.tickets.append(hold)
            waiting = self.make(spec, token, lambda new_id: _attachment(new_id, spec))
            note = f"ticket {hold} has expired" if hold == "spent" else ""
            return replace(self._serve(waiting), hold_note=note)

    def get(self, *, ref: Ref) -> Attachment:
        self.called("get", str(ref))
        return cast("Attachment", self.find(ref))

    def update(self, *, attachment_id: str, spec: AttachmentSpec) -> Attachment:
        with self.lock:
            self.called("update", spec.name)
            return self._serve(self.put(replace(self.find(Ref(id=attachment_id)), spec=spec)))

    def delete(self, *, attachment_id: str, force: bool) -> None:
        with self.lock:
            self.called("delete", f"{attachment_id}{' by force' if force else ''}")
            if self.knobs.logged_in and not force and attachment_id in self.items:
                raise FailedPrecondition(
                    "server web1 is logged in; log it out first, or set force_detach"
                )
            self.items.pop(attachment_id, None)

    def _serve(self, attachment: Attachment) -> Attachment:
        attached = [item for item in self.items.values() if item.volume_id]
        full = self.knobs.stock is not None and len(attached) >= self.knobs.stock
        if attachment.volume_id:
            return attachment
        if full:
            return replace(attachment, wait_reason=self.knobs.wait_reason)
        return cast("Attachment", self.put(_served(attachment)))


class FaultyEngine:
    """Passed where the gRPC server wants an Engine."""

    def __init__(self) -> None:
        self.knobs = Knobs()
        self.calls: list[tuple[str, str]] = []
        self.images = Images("image", knobs=self.knobs, calls=self.calls)
        self.pools = Pools("pool", knobs=self.knobs, calls=self.calls)
        self.servers = Servers("server", knobs=self.knobs, calls=self.calls)
        self.attachments = Attachments("attachment", knobs=self.knobs, calls=self.calls)
        self.volumes = self.scrub = self.operations = self.events = SimpleNamespace()
        self.forecasts = self.holds = self.audit = self.orphans = self.nodes = SimpleNamespace()
        self.capacities = SimpleNamespace()

    def start(self) -> None:
        return None

    def close(self) -> None:
        return None

    def asked(self, what: str) -> int:
        """How often ``create pool`` and the like reached the engine."""
        return sum(call == what for call, _ in self.calls)

    @contextmanager
    def served(self, *, socket: Path) -> Iterator[str]:
        """Serve it on a Unix socket; gives the endpoint."""
        listen = f"unix://{socket}"
        settings = Settings(
            state_dir=socket.parent, listen=listen, node="node1", storages={}, fabrics={}
        )
        server = EngineServer(cast("Engine", self), settings)
        server.start()
        try:
            yield listen
        finally:
            server.drain(grace_s=0)


def _image(image_id: str, spec: ImageSpec) -> MasterImage:
    portions = {
        role: ImagePortion(object_name=f"{role}-1", size_bytes=MIB, digest="ab" * 32)
        for role in ("read_only", "writable")
        if getattr(spec, role)
    }
    version = ImageVersion(
        id=str(uuid.uuid4()),
        image_id=image_id,
        number=1,
        state=VersionState.IMPORTING,
        storage=spec.storage,
        read_only=portions.get("read_only"),
        writable=portions.get("writable"),
        error="",
        created_at=NOW,
    )
    return MasterImage(id=image_id, spec=spec, current=None, latest=version, created_at=NOW)


def _pool(pool_id: str, spec: PoolSpec) -> ReplicaPool:
    return ReplicaPool(
        id=pool_id,
        spec=spec,
        image_id="image-1",
        counts=PoolCounts(by_state={}),
        clone_kind="thin",
        failures=0,
        stopped_reason="",
        created_at=NOW,
    )


def _server(server_id: str, spec: ServerSpec) -> Server:
    return Server(
        id=server_id, spec=spec, system_user=None, attachments=0, inline=False, created_at=NOW
    )


def _attachment(attachment_id: str, spec: AttachmentSpec) -> Attachment:
    inline = spec.inline_server.name if spec.inline_server else ""
    return Attachment(
        id=attachment_id,
        spec=spec,
        state=AttachmentState.WAITING,
        place=2,
        pool_id="pool-1",
        server_id="server-1",
        server_name=spec.server or inline or "picked",
        system_user=spec.system_user or SystemUser(name="acme", kind=SystemUserKind.CUSTOMER),
        volume_id="",
        volume_generation=0,
        image_version=0,
        warm=True,
        connection=None,
        chap=None,
        created_at=NOW,
        allocated_at=None,
    )


def _served(attachment: Attachment) -> Attachment:
    given = attachment.spec.chap
    account = ChapAccount(username="cp-1", secret=SECRET)
    if given.mode is ChapMode.GIVEN:
        account = ChapAccount(username=given.username, secret=given.secret)
    volumes = (
        ConnectedVolume(role=PortionRole.WRITABLE, size_bytes=MIB, read_only=False, lun=2),
        ConnectedVolume(role=PortionRole.READ_ONLY, size_bytes=MIB, read_only=True, lun=1),
    )
    target = f"iqn.2026-01.io.clonepool:{attachment.id}"
    connection = Connection(
        fabric="iscsi", target=target, portals=("127.0.0.1:3260",), volumes=volumes
    )
    return replace(
        attachment,
        state=AttachmentState.ATTACHED,
        place=0,
        volume_id=f"volume-{attachment.id[:8]}",
        volume_generation=1,
        image_version=1,
        connection=connection,
        chap=account if given.mode is not ChapMode.NONE else None,
        allocated_at=NOW + 1,
        resumed_release=NOW - 839 if attachment.spec.resume_released else None,
    )


def _operation(number: int) -> Operation:
    return Operation(
        id=f"operation-{number}",
        kind="import_image",
        subject="image/web",
        key="version",
        state=OperationState.RUNNING,
        node="node1",
        attempt=1,
        run_after=NOW,
        fence=1,
        progress_bytes=120 * MIB,
        total_bytes=1024 * MIB,
        error="",
        cancel=False,
        created_at=NOW,
        finished_at=None,
    )

"""Checked messages made into the domain's values; defaults are filled in here, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.model import (
    AttachmentSpec,
    ChapSpec,
    ImageSpec,
    PageRequest,
    PoolSpec,
    PortionSpec,
    Preconfigure,
    Ref,
    ScrubPolicy,
    ServerSpec,
    SystemUser,
)
from clonepool.domain.states import (
    AfterScrub,
    Assurance,
    ChapMode,
    CloneMode,
    PortionRole,
    ScrubMethod,
    SystemUserKind,
    VerifyMode,
    WhenEmpty,
)

_PAGE_LIMIT: Final = 1000
_DEFAULT_MODE: Final = 0o644
_USER_KINDS: Final[Mapping[int, SystemUserKind]] = {
    pb.SYSTEM_USER_KIND_CUSTOMER: SystemUserKind.CUSTOMER,
    pb.SYSTEM_USER_KIND_APPLICATION: SystemUserKind.APPLICATION,
}


def ref(request: pb.GetRequest | pb.GetAttachmentRequest) -> Ref:
    """The id or the name that a request gives."""
    return Ref(id=request.id) if request.WhichOneof("ref") == "id" else Ref(name=request.name)


def page(*, size: int, token: str, name_prefix: str = "") -> PageRequest:
    """A page of at most 1000 rows, which is also the default."""
    return PageRequest(
        size=min(size or _PAGE_LIMIT, _PAGE_LIMIT), token=token, name_prefix=name_prefix
    )


def image(spec: pb.ImageSpec) -> ImageSpec:
    """An image's declaration."""
    return ImageSpec(
        name=spec.name,
        system_user=_user(spec.system_user) if spec.HasField("system_user") else None,
        read_only=_portion(spec.read_only) if spec.HasField("read_only") else None,
        writable=_portion(spec.writable) if spec.HasField("writable") else None,
        preconfigure=tuple(_preconfigure(item) for item in spec.preconfigure),
        storage=spec.storage or "default",
        labels=dict(spec.labels),
    )


def pool(spec: pb.PoolSpec) -> PoolSpec:
    """A pool's declaration."""
    min_ready = spec.min_ready if spec.HasField("min_ready") else 1
    waits = spec.wait_for_ready if spec.HasField("wait_for_ready") else min(1, min_ready)
    return PoolSpec(
        name=spec.name,
        master_image=spec.master_image,
        image_version=spec.image_version,
        fabric=spec.fabric or "iscsi",
        min_ready=min_ready,
        max_replicas=spec.max_replicas or 100,
        clone_mode=CloneMode(spec.clone_mode or CloneMode.AUTO),
        when_empty=WhenEmpty(spec.when_empty or WhenEmpty.WAIT),
        wait_for_ready=waits,
        max_unavailable=spec.max_unavailable or 1,
        scrub=_scrub(spec.scrub),
    )


def server(spec: pb.ServerSpec) -> ServerSpec:
    """A server's declaration; initiator names compare without case, so they are kept lower."""
    return ServerSpec(name=spec.name, initiator=spec.initiator.lower(), labels=dict(spec.labels))


def attachment(spec: pb.AttachmentSpec) -> AttachmentSpec:
    """An attachment's declaration."""
    given = spec.WhichOneof("server_ref")
    return AttachmentSpec(
        name=spec.name,
        pool=spec.pool,
        system_user=_user(spec.system_user) if spec.HasField("system_user") else None,
        server=spec.server,
        inline_server=server(spec.inline_server) if given == "inline_server" else None,
        server_selector=dict(spec.server_selector.labels) if given == "server_selector" else {},
        chap=ChapSpec(
            mode=ChapMode(spec.chap.mode or ChapMode.GENERATED),
            username=spec.chap.username,
            secret=spec.chap.secret,
        ),
        force_detach=spec.force_detach,
        resume_released=spec.resume_released,
    )


def _user(user: pb.SystemUser) -> SystemUser:
    return SystemUser(name=user.name, kind=_USER_KINDS[user.kind])


def _portion(portion: pb.PortionSpec) -> PortionSpec:
    return PortionSpec(
        source=portion.source,
        format=portion.format or "auto",
        size_bytes=portion.size_bytes,
        sha256=portion.sha256.lower(),
    )


def _preconfigure(item: pb.Preconfigure) -> Preconfigure:
    given = item.WhichOneof("data")
    return Preconfigure(
        portion=PortionRole(item.portion),
        path=item.path,
        content=item.content if given == "content" else None,
        source=item.source if given == "source" else None,
        mode=item.mode or _DEFAULT_MODE,
    )


def _scrub(policy: pb.ScrubPolicy) -> ScrubPolicy:
    return ScrubPolicy(
        threshold=policy.threshold or 10,
        method=ScrubMethod(policy.method or ScrubMethod.REFORMAT),
        then=AfterScrub(policy.then or AfterScrub.RECYCLE),
        on_low_space=policy.on_low_space if policy.HasField("on_low_space") else True,
        max_age_s=policy.max_age_s,
        max_bytes=policy.max_bytes,
        verify=VerifyMode(policy.verify or VerifyMode.NONE),
        undo_window_s=policy.undo_window_s,
        windows=tuple(policy.windows),
        assurance=Assurance(policy.assurance or Assurance.CLEAR),
        on_low_stock=policy.on_low_stock,
    )

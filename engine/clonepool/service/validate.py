"""Every request is checked here, whole, before anything is touched.

Field paths are those of the declaration (``scrub.threshold``), so that a program can put a
refusal beside the property that caused it.
"""

from __future__ import annotations

from typing import Final

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.states import (
    AfterScrub,
    Assurance,
    ChapMode,
    CloneMode,
    PortionRole,
    ScrubMethod,
    VerifyMode,
    VolumeState,
    WhenEmpty,
)
from clonepool.service import image_rules, pool_rules, server_rules
from clonepool.service.findings import Findings
from clonepool.units import MAX_DURATION_S

_TOKEN_LIMIT_CHARS: Final = 1024
_ID_LIMIT_CHARS: Final = 128
_OWNER_LIMIT_CHARS: Final = 256


def create_image(request: pb.CreateImageRequest) -> None:
    """Raises InvalidArgument with a violation for each field that is refused."""
    findings = Findings()
    image_rules.image(request.spec, findings)
    _token(request.request_token, findings)
    findings.refuse()


def update_image(request: pb.UpdateImageRequest) -> None:
    """As ``create_image``, by id."""
    findings = Findings()
    _id(request.id, findings)
    image_rules.image(request.spec, findings)
    findings.refuse()


def create_pool(request: pb.CreatePoolRequest) -> None:
    """Raises InvalidArgument with a violation for each field that is refused."""
    findings = Findings()
    pool_rules.pool(request.spec, findings)
    _token(request.request_token, findings)
    findings.refuse()


def update_pool(request: pb.UpdatePoolRequest) -> None:
    """As ``create_pool``, by id."""
    findings = Findings()
    _id(request.id, findings)
    pool_rules.pool(request.spec, findings)
    findings.refuse()


def create_server(request: pb.CreateServerRequest) -> None:
    """Raises InvalidArgument with a violation for each field that is refused."""
    findings = Findings()
    server_rules.server(request.spec, findings)
    _token(request.request_token, findings)
    findings.refuse()


def update_server(request: pb.UpdateServerRequest) -> None:
    """As ``create_server``, by id."""
    findings = Findings()
    _id(request.id, findings)
    server_rules.server(request.spec, findings)
    findings.refuse()


def create_attachment(request: pb.CreateAttachmentRequest) -> None:
    """Raises InvalidArgument with a violation for each field that is refused."""
    findings = Findings()
    server_rules.attachment(request.spec, findings)
    _token(request.request_token, findings)
    ticket(request.hold, findings)
    findings.refuse()


def ticket(value: str, findings: Findings) -> None:
    """A ticket, or "" for none; whether it is any use is found out when it is used."""
    if value:
        findings.text(value, "hold", limit=_ID_LIMIT_CHARS)


def create_hold(request: pb.CreateHoldRequest) -> None:
    """Raises InvalidArgument with a violation for each field that is refused."""
    findings = Findings()
    pool_rules.held_pools(request.pools, findings)
    # not "below 1": what is no number at all is refused by this, too
    good = request.duration_s >= 1 and request.duration_s <= MAX_DURATION_S
    findings.require(good, "duration_s", f"{request.duration_s:g} must be at least 1 second")
    if request.owner:
        findings.text(request.owner, "owner", limit=_OWNER_LIMIT_CHARS)
    _token(request.request_token, findings)
    findings.refuse()


def update_attachment(request: pb.UpdateAttachmentRequest) -> None:
    """As ``create_attachment``, by id."""
    findings = Findings()
    _id(request.id, findings)
    server_rules.attachment(request.spec, findings)
    findings.refuse()


def object_id(value: str, *, field: str = "id") -> None:
    """An id is needed."""
    findings = Findings()
    _id(value, findings, field=field)
    findings.refuse()


def reference(request: pb.GetRequest | pb.GetAttachmentRequest) -> None:
    """An id or a name is needed."""
    findings = Findings()
    given = request.WhichOneof("ref")
    if given is None:
        findings.add("name", "give a name or an id")
    else:
        _id(getattr(request, given), findings, field=given)
    findings.refuse()


def undo_release(request: pb.UndoReleaseRequest) -> None:
    """An attachment or a volume is needed."""
    findings = Findings()
    given = request.WhichOneof("ref")
    if given is None:
        findings.add("attachment", "give an attachment or a volume")
    else:
        _id(getattr(request, given), findings, field=given)
    findings.refuse()


def page(*, size: int) -> None:
    """A page size below zero means nothing."""
    findings = Findings()
    findings.not_negative(size, "page_size")
    findings.refuse()


def volume_list(request: pb.ListVolumesRequest) -> None:
    """A page size and a state that exist."""
    findings = Findings()
    findings.not_negative(request.page_size, "page_size")
    findings.choice(request.state, VolumeState, "state")
    findings.refuse()


def pool_name(name: str) -> None:
    """A pool's name is needed."""
    findings = Findings()
    findings.name(name, "pool")
    findings.refuse()


def orphan(request: pb.DeleteOrphanRequest) -> None:
    """A storage's name and an object's are needed."""
    findings = Findings()
    findings.name(request.storage, "storage")
    _id(request.name, findings, field="name")
    findings.refuse()


def event_list(request: pb.ListEventsRequest) -> None:
    """A page size and a place to start that exist."""
    findings = Findings()
    findings.not_negative(request.page_size, "page_size")
    findings.not_negative(request.after_id, "after_id")
    findings.refuse()


def planned_words(message: pb.PlannedChange, findings: Findings, *, field: str) -> None:
    """Of a planned change only what could not be read: the rest of it may be unknown yet."""
    if message.WhichOneof("change") == "attach":
        attach = message.attach
        findings.choice(attach.chap.mode, ChapMode, f"{field}.attach.chap.mode")
        if attach.HasField("system_user"):
            image_rules.system_user(attach.system_user, findings)
    pool, image = message.put_pool, message.put_image.spec
    findings.choice(pool.clone_mode, CloneMode, f"{field}.put_pool.clone_mode")
    findings.choice(pool.when_empty, WhenEmpty, f"{field}.put_pool.when_empty")
    findings.choice(pool.scrub.method, ScrubMethod, f"{field}.put_pool.scrub.method")
    findings.choice(pool.scrub.then, AfterScrub, f"{field}.put_pool.scrub.then")
    findings.choice(pool.scrub.verify, VerifyMode, f"{field}.put_pool.scrub.verify")
    findings.choice(pool.scrub.assurance, Assurance, f"{field}.put_pool.scrub.assurance")
    pool_rules.windows(pool.scrub.windows, findings, prefix=f"{field}.put_pool.")
    if image.HasField("system_user"):
        image_rules.system_user(image.system_user, findings)
    for item in image.preconfigure:
        findings.choice(item.portion, PortionRole, f"{field}.put_image.preconfigure.portion")
        findings.require(item.portion, f"{field}.put_image.preconfigure.portion", "is needed")


def _id(value: str, findings: Findings, *, field: str = "id") -> None:
    findings.text(value, field, limit=_ID_LIMIT_CHARS)


def _token(token: str, findings: Findings) -> None:
    # without one, two callers that happen to ask alike would share one object
    findings.text(token, "request_token", limit=_TOKEN_LIMIT_CHARS)

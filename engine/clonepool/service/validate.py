"""Every request is checked here, whole, before anything is touched.

Field paths are those of the declaration (``scrub.threshold``), so that a program can put a
refusal beside the property that caused it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
from clonepool.errors import InvalidArgument
from clonepool.service.findings import Findings
from clonepool.units import MAX_DURATION_S
from clonepool.windows import parse_window

_FORMAT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_SECTOR_BYTES: Final = 512
_LARGEST_MODE: Final = 0o7777
_PATH_LIMIT_BYTES: Final = 4095
_PATH_PART_LIMIT_BYTES: Final = 255
# what the program that writes into file systems can't be told
_NOT_IN_PATHS: Final = frozenset("\"'\\")
_PRECONFIGURE_LIMIT: Final = 1000
_USER_NAME_LIMIT_CHARS: Final = 128
_TOKEN_LIMIT_CHARS: Final = 1024
_SECRET_CHARS: Final = range(12, 256)
_ID_LIMIT_CHARS: Final = 128
_OWNER_LIMIT_CHARS: Final = 256
_HELD_POOLS_LIMIT: Final = 100
_WINDOWS_LIMIT: Final = 100


def create_image(request: pb.CreateImageRequest) -> None:
    """Raises InvalidArgument with a violation for each field that is refused."""
    findings = Findings()
    _image(request.spec, findings)
    _token(request.request_token, findings)
    findings.refuse()


def update_image(request: pb.UpdateImageRequest) -> None:
    """As ``create_image``, by id."""
    findings = Findings()
    _id(request.id, findings)
    _image(request.spec, findings)
    findings.refuse()


def create_pool(request: pb.CreatePoolRequest) -> None:
    """Raises InvalidArgument with a violation for each field that is refused."""
    findings = Findings()
    _pool(request.spec, findings)
    _token(request.request_token, findings)
    findings.refuse()


def update_pool(request: pb.UpdatePoolRequest) -> None:
    """As ``create_pool``, by id."""
    findings = Findings()
    _id(request.id, findings)
    _pool(request.spec, findings)
    findings.refuse()


def create_server(request: pb.CreateServerRequest) -> None:
    """Raises InvalidArgument with a violation for each field that is refused."""
    findings = Findings()
    _server(request.spec, findings, prefix="")
    _token(request.request_token, findings)
    findings.refuse()


def update_server(request: pb.UpdateServerRequest) -> None:
    """As ``create_server``, by id."""
    findings = Findings()
    _id(request.id, findings)
    _server(request.spec, findings, prefix="")
    findings.refuse()


def create_attachment(request: pb.CreateAttachmentRequest) -> None:
    """Raises InvalidArgument with a violation for each field that is refused."""
    findings = Findings()
    _attachment(request.spec, findings)
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
    _held_pools(request.pools, findings)
    # not "below 1": what is no number at all is refused by this, too
    good = request.duration_s >= 1 and request.duration_s <= MAX_DURATION_S
    findings.require(good, "duration_s", f"{request.duration_s:g} must be at least 1 second")
    if request.owner:
        findings.text(request.owner, "owner", limit=_OWNER_LIMIT_CHARS)
    _token(request.request_token, findings)
    findings.refuse()


def _held_pools(pools: Sequence[pb.HeldStock], findings: Findings) -> None:
    in_range = 1 <= len(pools) <= _HELD_POOLS_LIMIT
    findings.require(in_range, "pools", f"must be 1 to {_HELD_POOLS_LIMIT} pools")
    seen: set[str] = set()
    for index, wanted in enumerate(pools[:_HELD_POOLS_LIMIT]):
        field = f"pools[{index}]"
        findings.name(wanted.pool, f"{field}.pool")
        findings.require(wanted.pool not in seen, f"{field}.pool", "is named more than once")
        findings.require(wanted.count >= 1, f"{field}.count", f"{wanted.count} must be at least 1")
        seen.add(wanted.pool)


def update_attachment(request: pb.UpdateAttachmentRequest) -> None:
    """As ``create_attachment``, by id."""
    findings = Findings()
    _id(request.id, findings)
    _attachment(request.spec, findings)
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
            _system_user(attach.system_user, findings)
    pool, image = message.put_pool, message.put_image.spec
    findings.choice(pool.clone_mode, CloneMode, f"{field}.put_pool.clone_mode")
    findings.choice(pool.when_empty, WhenEmpty, f"{field}.put_pool.when_empty")
    findings.choice(pool.scrub.method, ScrubMethod, f"{field}.put_pool.scrub.method")
    findings.choice(pool.scrub.then, AfterScrub, f"{field}.put_pool.scrub.then")
    findings.choice(pool.scrub.verify, VerifyMode, f"{field}.put_pool.scrub.verify")
    findings.choice(pool.scrub.assurance, Assurance, f"{field}.put_pool.scrub.assurance")
    _windows(pool.scrub.windows, findings, prefix=f"{field}.put_pool.")
    if image.HasField("system_user"):
        _system_user(image.system_user, findings)
    for item in image.preconfigure:
        findings.choice(item.portion, PortionRole, f"{field}.put_image.preconfigure.portion")
        findings.require(item.portion, f"{field}.put_image.preconfigure.portion", "is needed")


def _id(value: str, findings: Findings, *, field: str = "id") -> None:
    findings.text(value, field, limit=_ID_LIMIT_CHARS)


def _token(token: str, findings: Findings) -> None:
    # without one, two callers that happen to ask alike would share one object
    findings.text(token, "request_token", limit=_TOKEN_LIMIT_CHARS)


def _image(spec: pb.ImageSpec, findings: Findings) -> None:
    findings.name(spec.name, "name")
    if spec.HasField("system_user"):
        _system_user(spec.system_user, findings)
    portions = [role for role in PortionRole if spec.HasField(role.value)]
    findings.require(
        portions, "writable", "an image needs a read_only portion, a writable portion, or both"
    )
    for role in portions:
        _portion(getattr(spec, role.value), findings, field=role.value)
    _preconfigure(spec.preconfigure, findings, portions=portions)
    findings.optional_name(spec.storage, "storage")
    findings.labels(spec.labels, "labels")


def _system_user(user: pb.SystemUser, findings: Findings) -> None:
    findings.text(user.name, "system_user.name", limit=_USER_NAME_LIMIT_CHARS)
    known = (pb.SYSTEM_USER_KIND_CUSTOMER, pb.SYSTEM_USER_KIND_APPLICATION)
    findings.require(
        user.kind in known, "system_user.kind", "must be one of: customer, application"
    )


def _portion(portion: pb.PortionSpec, findings: Findings, *, field: str) -> None:
    _source(portion.source, findings, field=f"{field}.source")
    if portion.format and not _FORMAT.fullmatch(portion.format):
        findings.add(f"{field}.format", "must be auto, raw or a format that qemu-img reads")
    findings.not_negative(portion.size_bytes, f"{field}.size")
    findings.require(
        portion.size_bytes % _SECTOR_BYTES == 0,
        f"{field}.size",
        f"{portion.size_bytes} is not a multiple of {_SECTOR_BYTES} bytes",
    )
    if portion.sha256:
        findings.require(
            _SHA256.fullmatch(portion.sha256), f"{field}.sha256", "must be 64 hexadecimal digits"
        )


def _source(source: str, findings: Findings, *, field: str) -> None:
    good = source.startswith("/") or is_url(source)
    if findings.require(
        good, field, "must be an absolute path on the engine's machine, or an http(s) URL"
    ):
        findings.text(source, field, limit=_PATH_LIMIT_BYTES)


def is_url(source: str) -> bool:
    """Whether a source is fetched from the network, not read from a path."""
    return source.lower().startswith(("http://", "https://"))


def _preconfigure(
    items: Sequence[pb.Preconfigure], findings: Findings, *, portions: Sequence[PortionRole]
) -> None:
    findings.require(
        len(items) <= _PRECONFIGURE_LIMIT, "preconfigure", f"at most {_PRECONFIGURE_LIMIT} files"
    )
    seen: set[tuple[str, str]] = set()
    for index, item in enumerate(items[:_PRECONFIGURE_LIMIT]):
        field = f"preconfigure[{index}]"
        _preconfigured_file(item, findings, field=field, portions=portions)
        findings.require(
            (item.portion, item.path) not in seen, f"{field}.path", "is given more than once"
        )
        seen.add((item.portion, item.path))


def _preconfigured_file(
    item: pb.Preconfigure, findings: Findings, *, field: str, portions: Sequence[PortionRole]
) -> None:
    findings.require(
        item.portion in [role.value for role in portions],
        f"{field}.portion",
        f"{item.portion!r} must be a portion of this image: {', '.join(portions) or 'none given'}",
    )
    findings.require(
        _is_file_path(item.path),
        f"{field}.path",
        "must be the absolute path of a file, without .., quotes and backslashes",
    )
    given = item.WhichOneof("data")
    findings.require(given, f"{field}.content", "give exactly one of content and source")
    if given == "source":
        _source(item.source, findings, field=f"{field}.source")
    findings.require(
        item.mode <= _LARGEST_MODE, f"{field}.mode", f"{item.mode:o} is not a file mode (0 to 7777)"
    )


def _is_file_path(path: str) -> bool:
    parts = path.split("/")[1:]
    return (
        path.startswith("/")
        and path.isprintable()
        and not set(path) & _NOT_IN_PATHS
        and len(path.encode()) <= _PATH_LIMIT_BYTES
        and all(part not in ("", ".", "..") for part in parts)
        and all(len(part.encode()) <= _PATH_PART_LIMIT_BYTES for part in parts)
    )


def _pool(spec: pb.PoolSpec, findings: Findings) -> None:
    findings.name(spec.name, "name")
    findings.name(spec.master_image, "master_image")
    findings.optional_name(spec.fabric, "fabric")
    findings.choice(spec.clone_mode, CloneMode, "clone_mode")
    findings.choice(spec.when_empty, WhenEmpty, "when_empty")
    findings.not_negative(spec.image_version, "image_version")
    findings.not_negative(spec.max_unavailable, "rollout.max_unavailable")
    _pool_sizes(spec, findings)
    _scrub(spec.scrub, findings)


def _pool_sizes(spec: pb.PoolSpec, findings: Findings) -> None:
    for field in ("max_replicas", "min_ready", "wait_for_ready"):
        findings.not_negative(getattr(spec, field), field)
    largest = max(spec.max_replicas, 0) or 100
    stock = max(spec.min_ready, 0) if spec.HasField("min_ready") else 1
    findings.require(stock <= largest, "min_ready", f"{stock} is more than max_replicas, {largest}")
    findings.require(
        spec.wait_for_ready <= stock,
        "wait_for_ready",
        f"{spec.wait_for_ready} is never reached: min_ready is {stock}",
    )


def _scrub(policy: pb.ScrubPolicy, findings: Findings) -> None:
    findings.require(
        policy.threshold >= 0, "scrub.threshold", f"{policy.threshold} must be at least 1"
    )
    findings.choice(policy.method, ScrubMethod, "scrub.method")
    findings.choice(policy.then, AfterScrub, "scrub.then")
    findings.choice(policy.verify, VerifyMode, "scrub.verify")
    findings.choice(policy.assurance, Assurance, "scrub.assurance")
    findings.not_negative(policy.max_bytes, "scrub.max_bytes")
    for field in ("max_age", "undo_window"):
        seconds = getattr(policy, f"{field}_s")
        findings.require(
            0 <= seconds <= MAX_DURATION_S, f"scrub.{field}", f"{seconds:g} s is no such duration"
        )
    _windows(policy.windows, findings)


def _windows(texts: Sequence[str], findings: Findings, *, prefix: str = "") -> None:
    findings.require(
        len(texts) <= _WINDOWS_LIMIT, f"{prefix}scrub.windows", f"at most {_WINDOWS_LIMIT} windows"
    )
    for index, text in enumerate(texts[:_WINDOWS_LIMIT]):
        field = f"{prefix}scrub.windows[{index}]"
        try:
            parse_window(text, field=field)
        except InvalidArgument as refused:
            findings.add(field, refused.violations[0].description)


def _server(spec: pb.ServerSpec, findings: Findings, *, prefix: str) -> None:
    findings.name(spec.name, f"{prefix}name")
    if spec.initiator:
        findings.initiator(spec.initiator, f"{prefix}initiator")
    findings.labels(spec.labels, f"{prefix}labels")


def _attachment(spec: pb.AttachmentSpec, findings: Findings) -> None:
    findings.name(spec.name, "name")
    findings.name(spec.pool, "pool")
    if spec.HasField("system_user"):
        _system_user(spec.system_user, findings)
    _server_reference(spec, findings)
    _chap(spec.chap, findings)


def _server_reference(spec: pb.AttachmentSpec, findings: Findings) -> None:
    given = spec.WhichOneof("server_ref")
    if given == "server":
        findings.name(spec.server, "server")
    elif given == "inline_server":
        _server(spec.inline_server, findings, prefix="inline_server.")
    elif given == "server_selector":
        labels = spec.server_selector.labels
        findings.require(labels, "server_selector", "needs at least one label")
        findings.labels(labels, "server_selector")
    else:
        findings.add("server", "give exactly one of server, inline_server and server_selector")


def _chap(chap: pb.ChapSpec, findings: Findings) -> None:
    findings.choice(chap.mode, ChapMode, "chap.mode")
    if chap.mode == ChapMode.GIVEN:
        _chap_word(chap.username, findings, field="chap.username", lengths=range(1, 256))
        _chap_word(chap.secret, findings, field="chap.secret", lengths=_SECRET_CHARS)
        return
    unused = "is only for the mode given"
    findings.require(not chap.username, "chap.username", unused)
    findings.require(not chap.secret, "chap.secret", unused)


def _chap_word(word: str, findings: Findings, *, field: str, lengths: range) -> None:
    # tgtd's socket splits on commas; the message never repeats the word, which may be the secret
    good = word.isascii() and word.isprintable() and "," not in word and word == word.strip()
    findings.require(
        good and len(word) in lengths,
        field,
        f"must be {lengths.start} to {lengths.stop - 1} printable ASCII characters without commas",
    )

"""The hot path, in SQL by hand: claim a ready replica for a server, and give it back.

Everything here runs inside one change of the writer, so "look, then take" cannot be interleaved.
Statements are few on purpose: after each the writer has to get Python's global lock back from as
many callers as there are, which at 64 of them took three times as long as the statements.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from clonepool.domain.model import AttachmentSpec, SystemUser
from clonepool.domain.states import ChapMode, SystemUserKind
from clonepool.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from clonepool.store import (
    allocation_holds,
    allocation_servers,
    chap_names,
    holds,
    pool_version,
    resuming,
)
from clonepool.store.allocation_holds import Turn
from clonepool.store.writer import Transaction

_POOL = f"""
    SELECT p.id, p.when_empty, p.stopped_reason, p.fabric, i.user_name, i.user_kind,
        {pool_version.ID}, i.name, p.short_of_space
    FROM pool p JOIN image i ON i.id = p.image_id
    WHERE p.name = ? AND p.deleted_at IS NULL
"""  # noqa: S608 - texts of ours, values bound
# who waits ahead keeps the replica that is meant for it, and who holds a ticket what is held for
# it: skip as many as there are before us
_TAKE = f"""
    UPDATE volume SET state = 'attaching', attachment_id = :attachment, changed_at = :now,
        last_attachment_id = :attachment, last_user_name = :user_name, last_user_kind = :user_kind,
        last_server = :server, last_allocated_at = :now
    WHERE n = (
        SELECT n FROM volume
        WHERE pool_id = :pool AND state = 'ready' AND image_version_id = :version
        ORDER BY changed_at, n LIMIT 1 OFFSET {allocation_holds.AHEAD})
    RETURNING id, generation, (SELECT number FROM image_version WHERE id = :version)
"""  # noqa: S608 - texts of ours, values bound
_INSERT = """
    INSERT INTO attachment(id, name, pool_id, server_id, user_name, user_kind, state, lease_until,
        warm, volume_id, volume_generation, image_version, spec, chap_mode, chap_username,
        chap_secret, force_detach, token, token_digest, created_at, allocated_at, changed_at,
        resumed_release)
    VALUES (:id, :name, :pool, :server_id, :user_name, :user_kind, :state, :lease, :warm, :volume,
        :generation, :number, :spec, :chap_mode, :chap_username, :chap_secret, :force_detach,
        :token, :digest, :now, :allocated_at, :now, :resumed)
"""
_SERVE_WAITER = """
    UPDATE attachment SET state = 'attached', lease_until = 0, volume_id = :volume,
        volume_generation = :generation, image_version = :number, chap_username = :chap_username,
        allocated_at = :now, changed_at = :now, resumed_release = :resumed
    WHERE id = :id AND state = 'waiting'
"""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What a fabric asks of the servers that it reaches, and whether it knows CHAP."""

    needs_initiator: bool
    chap: bool


@dataclass(frozen=True, kw_only=True)
class ClaimRequest:
    """A claim with all that is decided before the transaction begins."""

    spec: AttachmentSpec
    token: str
    digest: str
    document: str  # the declaration as it is kept
    attachment_id: str  # used when the attachment is new
    chap_secret: str  # sealed, for the same case
    now: float
    lease_s: float
    reach: Callable[[str], Reach]  # of a fabric's name
    hold: str = ""  # a ticket; not part of what makes two requests the same


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """The attachment's id; ``left`` of a ticket that served it, and why one that came did not.

    Both tell of this call only: one that finds what is there already has neither.
    """

    attachment_id: str
    left: int | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class _Pool:
    id: str
    when_empty: str
    stopped_reason: str
    fabric: str
    image_user: SystemUser | None
    version_id: str | None
    image: str
    short_of_space: str


def claim(transaction: Transaction, request: ClaimRequest) -> Claimed:
    """Claim, queue or find. Errors: see CreateAttachment."""
    existing = transaction.sql(
        "SELECT id, token, token_digest, state, n, pool_id FROM attachment WHERE name = ?",
        (request.spec.name,),
    ).fetchone()
    if existing is None:
        return _claim_new(transaction, request)
    _check_same(request, existing)
    if existing[3] != "waiting":
        return Claimed(attachment_id=existing[0])
    return _serve_waiter(transaction, request, attachment_id=existing[0], n=existing[4])


def _check_same(request: ClaimRequest, existing: tuple[Any, ...]) -> None:
    attachment_id, token, digest, state = existing[:4]
    name = request.spec.name
    if token != request.token or digest != request.digest:
        raise already_exists("attachment", name, attachment_id, same_token=token == request.token)
    if state == "detaching":
        text = f"attachment {name} is being released; wait until it is gone, then run again"
        raise FailedPrecondition(text, reason="DETACHING", retry_after_s=1)


def already_exists(kind: str, name: str, object_id: str, *, same_token: bool) -> AlreadyExists:
    """The name is taken; says by what, and whether by an earlier try of the same caller."""
    why = "with other properties" if same_token else "and was made by someone else"
    text = (
        f"{kind} {name} exists (id {object_id}) {why}; take another name, or remove it with "
        f"`clonepool {kind} delete {name}`"
    )
    if kind == "attachment":
        text = text.replace(f"clonepool attachment delete {name}", f"clonepool release {name}")
    metadata = {"id": object_id, "same_token": "true" if same_token else "false"}
    return AlreadyExists(text, reason="NAME_TAKEN", metadata=metadata)


def _claim_new(transaction: Transaction, request: ClaimRequest) -> Claimed:
    pool = _get_pool(transaction, request.spec.pool)
    user = _system_user(pool, request.spec)
    reach = request.reach(pool.fabric)
    server = allocation_servers.resolve(
        transaction,
        spec=request.spec,
        user=user,
        needs_initiator=reach.needs_initiator,
        now=request.now,
    )
    values = _new_values(request, pool=pool, user=user, server=server)
    values |= _chap_values(transaction, request, fabric=pool.fabric, has_chap=reach.chap)
    turn = allocation_holds.turn(transaction, ticket=request.hold, pool_id=pool.id, now=request.now)
    taken = _take(transaction, request.spec, values, version_id=pool.version_id, turn=turn)
    if taken is None:
        _check_may_wait(transaction, pool=pool, name=request.spec.pool, now=request.now)
        values |= {"lease": request.now + request.lease_s}
    else:
        values |= _taken_values(request.spec, taken) | {"state": "attached", "warm": True}
        values["allocated_at"] = request.now
    transaction.sql(_INSERT, values)
    if server.system_user is None:
        allocation_servers.occupy(transaction, server_id=server.id, user=user)
    from_stock = taken is not None and values["resumed"] is None
    return _claimed(transaction, request.attachment_id, turn=turn, from_stock=from_stock)


def _claimed(
    transaction: Transaction, attachment_id: str, *, turn: Turn, from_stock: bool
) -> Claimed:
    # who gets its own volume back takes nothing of what is held
    left = allocation_holds.use(transaction, turn) if turn.by_ticket and from_stock else None
    return Claimed(attachment_id=attachment_id, left=left, note=turn.note)


def _get_pool(transaction: Transaction, name: str) -> _Pool:
    row = transaction.sql(_POOL, (name,)).fetchone()
    if row is None:
        raise NotFound(f"there is no pool {name}; `clonepool pool list` shows what there is")
    user = SystemUser(name=row[4], kind=SystemUserKind(row[5])) if row[4] is not None else None
    return _Pool(
        id=row[0],
        when_empty=row[1],
        stopped_reason=row[2],
        fabric=row[3],
        image_user=user,
        version_id=row[6],
        image=row[7],
        short_of_space=row[8],
    )


def _system_user(pool: _Pool, spec: AttachmentSpec) -> SystemUser:
    if pool.image_user is None and spec.system_user is None:
        text = f"needed, since master image {pool.image} is shared"
        raise InvalidArgument.field("system_user", text)
    if pool.image_user and spec.system_user and pool.image_user != spec.system_user:
        text = (
            f"pool {spec.pool} clones master image {pool.image} of {pool.image_user}; it can't "
            f"serve {spec.system_user}: use a pool of theirs or of a shared image"
        )
        raise FailedPrecondition(text, reason="SYSTEM_USER")
    user = spec.system_user or pool.image_user
    assert user is not None  # noqa: S101 - one of both is, by the first check
    return user


def _new_values(
    request: ClaimRequest,
    *,
    pool: _Pool,
    user: SystemUser,
    server: allocation_servers.ResolvedServer,
) -> dict[str, Any]:
    spec = request.spec
    return {
        "id": request.attachment_id,
        "attachment": request.attachment_id,
        "name": spec.name,
        "pool": pool.id,
        "server_id": server.id,
        "server": server.name,
        "user_name": user.name,
        "user_kind": user.kind.value,
        "state": "waiting",
        "lease": 0.0,
        "warm": False,
        "volume": None,
        "generation": 0,
        "number": 0,
        "spec": request.document,
        "force_detach": spec.force_detach,
        "token": request.token,
        "digest": request.digest,
        "now": request.now,
        "allocated_at": None,
        "resumed": None,
    }


def _chap_values(
    transaction: Transaction, request: ClaimRequest, *, fabric: str, has_chap: bool
) -> dict[str, Any]:
    mode = effective_chap(request.spec, fabric=fabric, has_chap=has_chap)
    chap_names.check_free(
        transaction,
        fabric=fabric,
        mode=mode,
        username=request.spec.chap.username,
        attachment_id=request.attachment_id,
    )
    return {
        "chap_mode": mode.value,
        "chap_username": request.spec.chap.username,
        "chap_secret": request.chap_secret if mode is not ChapMode.NONE else "",
    }


def effective_chap(spec: AttachmentSpec, *, fabric: str, has_chap: bool) -> ChapMode:
    """The mode that holds: generated means none on a fabric without CHAP.

    Raises InvalidArgument where an account was given that would protect nothing.
    """
    if has_chap:
        return spec.chap.mode
    if spec.chap.mode is ChapMode.GIVEN:
        text = f"fabric {fabric} has no CHAP; leave the account out"
        raise InvalidArgument.field("chap.mode", text)
    return ChapMode.NONE


def _take(
    transaction: Transaction,
    spec: AttachmentSpec,
    values: dict[str, Any],
    *,
    version_id: str | None,
    turn: Turn,
) -> tuple[Any, ...] | None:
    """The volume that it had, where it is to be resumed and is still there; else a replica."""
    if spec.resume_released:
        back = resuming.resume(transaction, values, turn=turn)
        if back is not None:
            values["resumed"] = back.released_at
            return back.volume_id, back.generation, back.image_version
    parameters = {**values, "version": version_id, "place": turn.place, "hold": turn.hold}
    row: tuple[Any, ...] | None = transaction.sql(_TAKE, parameters).fetchone()
    return row


def _taken_values(spec: AttachmentSpec, taken: tuple[Any, ...]) -> dict[str, Any]:
    volume_id, generation, number = taken
    values = {"volume": volume_id, "generation": generation, "number": number}
    return values | {"chap_username": chap_username(spec, volume_id, generation)}


def chap_username(spec: AttachmentSpec, volume_id: str, generation: int) -> str:
    """An account of its own for each export: accounts are global to the iSCSI daemon.

    Never used where the effective mode is none.
    """
    if spec.chap.mode is ChapMode.GENERATED:
        return f"cp-{volume_id.replace('-', '')[:24]}-g{generation}"
    return spec.chap.username


def _check_may_wait(transaction: Transaction, *, pool: _Pool, name: str, now: float) -> None:
    if pool.stopped_reason:
        text = (
            f"pool {name} has no ready replica and stopped filling: {pool.stopped_reason}; mend "
            f"that, then run `clonepool pool reset {name}`"
        )
        raise FailedPrecondition(text, reason="POOL_STOPPED")
    if pool.when_empty != "fail":
        return
    counts = dict(
        transaction.sql(
            "SELECT state, count(*) FROM volume WHERE pool_id = ? GROUP BY state", (pool.id,)
        ).fetchall()
    )
    making = counts.get("planned", 0) + counts.get("cloning", 0)
    released = counts.get("released", 0)
    held = holds.held_of(transaction.session, pool_id=pool.id, now=now)
    tickets = f", {held} held for tickets" if held else ""
    space = f"; it can't be filled: {pool.short_of_space}" if pool.short_of_space else ""
    wayout = f", or run `clonepool scrub run {name}`" if released else ""
    text = (
        f"pool {name} has no ready replica of the current image version "
        f"({counts.get('allocated', 0)} allocated, {making} being made, {released} released and "
        f"not scrubbed yet{tickets}){space}; retry, raise min_ready or max_replicas{wayout}"
    )
    counts |= {"held": held} if held else {}
    metadata = {state: str(count) for state, count in counts.items()}
    raise ResourceExhausted(text, reason="POOL_EMPTY", metadata=metadata, retry_after_s=2)


def _serve_waiter(
    transaction: Transaction, request: ClaimRequest, *, attachment_id: str, n: int
) -> Claimed:
    transaction.sql(
        "UPDATE attachment SET lease_until = ? WHERE id = ?",
        (request.now + request.lease_s, attachment_id),
    )
    row = transaction.sql(
        "SELECT a.pool_id, a.user_name, a.user_kind, s.name FROM attachment a "
        "JOIN server s ON s.id = a.server_id WHERE a.id = ?",
        (attachment_id,),
    ).fetchone()
    pool = _get_pool(transaction, request.spec.pool)
    values = {
        "id": attachment_id,
        "attachment": attachment_id,
        "pool": row[0],
        "user_name": row[1],
        "user_kind": row[2],
        "server": row[3],
        "now": request.now,
        "name": request.spec.name,
        "resumed": None,
    }
    turn = allocation_holds.turn(
        transaction, ticket=request.hold, pool_id=pool.id, now=request.now, place=n
    )
    taken = _take(transaction, request.spec, values, version_id=pool.version_id, turn=turn)
    if taken is not None:
        transaction.sql(_SERVE_WAITER, values | _taken_values(request.spec, taken))
    elif pool.stopped_reason:
        _check_may_wait(transaction, pool=pool, name=request.spec.pool, now=request.now)
    # that its ticket is no use, the call that made it has said
    from_stock = taken is not None and values["resumed"] is None
    claimed = _claimed(transaction, attachment_id, turn=turn, from_stock=from_stock)
    return replace(claimed, note="")


def new_id() -> str:
    """An id for an attachment that may become real."""
    return str(uuid.uuid4())

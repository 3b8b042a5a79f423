"""The inventory of servers."""

from __future__ import annotations

import uuid

from sqlalchemy import func
from sqlmodel import Session, col, select

from clonepool.domain.content import canonical, server_digest
from clonepool.domain.drift import list_names
from clonepool.domain.model import PageRequest, Ref, Server, ServerSpec
from clonepool.errors import FailedPrecondition, InvalidArgument, NotFound
from clonepool.store import attachments, rows, tables
from clonepool.store.allocation import already_exists
from clonepool.store.allocation_servers import check_initiator_free
from clonepool.store.writer import Transaction

_HELD = (
    select(func.count())
    .select_from(tables.Attachment)
    .where(tables.Attachment.server_id == tables.Server.id)
    .correlate(tables.Server)
    .scalar_subquery()
)


def create(
    transaction: Transaction, *, spec: ServerSpec, token: str, digest: str, now: float
) -> str:
    """Insert, or find what the same caller made; returns the id."""
    session = transaction.session
    row = session.exec(select(tables.Server).where(tables.Server.name == spec.name)).first()
    if row is not None:
        if row.token == token and row.token_digest == digest and not row.inline:
            return row.id
        raise already_exists("server", spec.name, row.id, same_token=row.token == token)
    check_initiator_free(transaction, spec.initiator, server_id="")
    row = tables.Server(
        id=str(uuid.uuid4()),
        name=spec.name,
        initiator=spec.initiator or None,
        labels=canonical(dict(spec.labels)),
        token=token,
        token_digest=digest,
        created_at=now,
    )
    session.add(row)
    return row.id


def update(transaction: Transaction, *, server_id: str, spec: ServerSpec) -> None:
    """Change initiator and labels. Raises NotFound, InvalidArgument, AlreadyExists."""
    row = transaction.session.get(tables.Server, server_id)
    if row is None:
        text = (
            f"there is no server with id {server_id} any more, or there never was; "
            "`clonepool server list` shows what there is"
        )
        raise NotFound(text)
    if row.name != spec.name:
        text = f"a server keeps its name ({row.name}); make a new one"
        raise InvalidArgument.field("name", text)
    held = attachments.names_of_server(transaction, server_id=server_id)
    if row.initiator and not spec.initiator and held:
        text = (
            f"server {row.name} has attachments ({list_names(held)}), which need its initiator; "
            "release them first"
        )
        raise FailedPrecondition(text, reason="SERVER_IN_USE")
    check_initiator_free(transaction, spec.initiator, server_id=server_id)
    row = transaction.session.get_one(tables.Server, server_id)
    row.initiator = spec.initiator or None
    row.labels = canonical(dict(spec.labels))
    # a repeated create asks for what is declared now
    row.token_digest = server_digest(spec)
    transaction.session.add(row)


def delete(transaction: Transaction, *, server_id: str) -> None:
    """Forget a server without attachments; absent is fine."""
    held = attachments.names_of_server(transaction, server_id=server_id)
    if held:
        row = transaction.session.get_one(tables.Server, server_id)
        text = f"server {row.name} has attachments ({list_names(held)}); release them first"
        raise FailedPrecondition(text, reason="SERVER_IN_USE")
    transaction.sql("DELETE FROM server WHERE id = ?", (server_id,))


def get(session: Session, *, ref: Ref) -> Server:
    """One server. Raises NotFound."""
    by = tables.Server.id == ref.id if ref.id else tables.Server.name == ref.name
    found = session.exec(select(tables.Server, _HELD).where(by)).first()
    if found is None:
        raise NotFound(f"there is no server {ref}; `clonepool server list` shows what there is")
    return rows.server(found[0], attachments=found[1])


def list_page(session: Session, *, page: PageRequest) -> tuple[list[Server], str]:
    """By name."""
    query = select(tables.Server, _HELD).order_by(col(tables.Server.name)).limit(page.size)
    query = query.where(
        col(tables.Server.name) > page.token,
        col(tables.Server.name).startswith(page.name_prefix, autoescape=True),
    )
    found = session.exec(query).all()
    token = found[-1][0].name if len(found) == page.size else ""
    return [rows.server(row, attachments=held) for row, held in found], token

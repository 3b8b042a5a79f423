"""Master images and their versions."""

from __future__ import annotations

import uuid

from sqlalchemy import func, update
from sqlmodel import Session, col, select

from clonepool.domain.content import canonical, digest, image_content
from clonepool.domain.drift import list_names
from clonepool.domain.model import (
    ImagePortion,
    ImageSpec,
    ImageVersion,
    MasterImage,
    PageRequest,
    Ref,
)
from clonepool.domain.nodes import work_place
from clonepool.domain.states import VersionState
from clonepool.errors import FailedPrecondition, InvalidArgument, NotFound
from clonepool.store import operations, rows, tables
from clonepool.store.allocation import already_exists
from clonepool.store.writer import Transaction


def create(
    transaction: Transaction,
    *,
    spec: ImageSpec,
    token: str,
    token_digest: str,
    node: str,
    now: float,
) -> str:
    """Insert with version 1 to be imported, or find what the same caller made; returns the id.

    ``node`` is where it is to lie, "" on a storage that every node reaches. A failed import of the
    same image is begun again.
    """
    session = transaction.session
    row = find_live(session, ref=Ref(name=spec.name))
    if row is not None:
        if row.token != token or row.token_digest != token_digest:
            raise already_exists("image", spec.name, row.id, same_token=row.token == token)
        _retry_failed(transaction, image=row, now=now)
        return row.id
    row = tables.Image(
        id=str(uuid.uuid4()),
        name=spec.name,
        user_name=spec.system_user.name if spec.system_user else None,
        user_kind=spec.system_user.kind.value if spec.system_user else None,
        storage=spec.storage,
        labels=canonical(dict(spec.labels)),
        token=token,
        token_digest=token_digest,
        created_at=now,
    )
    session.add(row)
    session.flush()
    _add_version(transaction, image=row, spec=spec, number=1, node=node, now=now)
    return row.id


def _add_version(
    transaction: Transaction,
    *,
    image: tables.Image,
    spec: ImageSpec,
    number: int,
    node: str,
    now: float,
) -> None:
    content = image_content(spec)
    row = tables.ImageVersion(
        id=str(uuid.uuid4()),
        image_id=image.id,
        number=number,
        state=VersionState.IMPORTING.value,
        storage=image.storage,
        content=canonical(content),
        content_digest=digest(content),
        created_at=now,
        node=node,
    )
    transaction.session.add(row)
    _ask_to_import(transaction, image=image, version_id=row.id, node=node, now=now)


def _ask_to_import(
    transaction: Transaction, *, image: tables.Image, version_id: str, node: str, now: float
) -> None:
    place = work_place(node=node, storage=image.storage)
    subject = f"image/{image.name}"
    operations.add(
        transaction, kind="import_image", subject=subject, key=version_id, node=place, now=now
    )


def _retry_failed(transaction: Transaction, *, image: tables.Image, now: float) -> None:
    latest = _latest(transaction.session, image.id)
    if latest.state != VersionState.FAILED:
        return
    latest.state = VersionState.IMPORTING.value
    latest.error = ""
    transaction.session.add(latest)
    _ask_to_import(transaction, image=image, version_id=latest.id, node=latest.node, now=now)


def change(
    transaction: Transaction,
    *,
    image_id: str,
    spec: ImageSpec,
    token_digest: str,
    now: float,
) -> None:
    """Labels in place; changed content is imported as a new version, where the others lie."""
    row = transaction.session.get(tables.Image, image_id)
    if row is None or row.deleted_at is not None:
        raise NotFound(f"there is no master image with id {image_id}")
    _check_fixed(row, spec)
    row.labels = canonical(dict(spec.labels))
    # a repeated create asks for what is declared now
    row.token_digest = token_digest
    transaction.session.add(row)
    latest = _latest(transaction.session, image_id)
    if latest.content_digest == digest(image_content(spec)):
        _retry_failed(transaction, image=row, now=now)
        return
    number = latest.number + 1
    _add_version(transaction, image=row, spec=spec, number=number, node=latest.node, now=now)


def _check_fixed(row: tables.Image, spec: ImageSpec) -> None:
    for field, before, after in (
        ("name", row.name, spec.name),
        ("storage", row.storage, spec.storage),
        ("system_user", rows.user(row.user_name, row.user_kind), spec.system_user),
    ):
        if before != after:
            text = f"can't change in place ({before or 'shared'} now); replace the image"
            raise InvalidArgument.field(field, text)


def delete(transaction: Transaction, *, image_id: str, now: float) -> str | None:
    """Make a tombstone; returns its name, None when it is gone. FailedPrecondition in use."""
    row = transaction.session.get(tables.Image, image_id)
    if row is None or row.deleted_at is not None:
        return None
    query = select(tables.Pool.name).where(
        tables.Pool.image_id == image_id, col(tables.Pool.deleted_at).is_(None)
    )
    pools = transaction.session.exec(query).all()
    if pools:
        text = f"master image {row.name} is used by pools {list_names(pools)}; delete them first"
        raise FailedPrecondition(text, reason="IMAGE_IN_USE")
    row.deleted_at = now
    transaction.session.add(row)
    transaction.sql(
        "UPDATE operation SET cancel = TRUE WHERE kind = 'import_image' "
        "AND state IN ('queued', 'running') "
        "AND key IN (SELECT id FROM image_version WHERE image_id = ?)",
        (image_id,),
    )
    return row.name


def find_live(session: Session, *, ref: Ref) -> tables.Image | None:
    """The live row of an id or a name."""
    by = tables.Image.id == ref.id if ref.id else tables.Image.name == ref.name
    return session.exec(
        select(tables.Image).where(by, col(tables.Image.deleted_at).is_(None))
    ).first()


def _latest(session: Session, image_id: str) -> tables.ImageVersion:
    query = (
        select(tables.ImageVersion)
        .where(tables.ImageVersion.image_id == image_id)
        .order_by(col(tables.ImageVersion.number).desc())
    )
    return session.exec(query.limit(1)).one()


def _assembled(session: Session, row: tables.Image) -> MasterImage:
    current = (
        session.get(tables.ImageVersion, row.current_version_id) if row.current_version_id else None
    )
    return rows.image(row, latest=_latest(session, row.id), current=current)


def get(session: Session, *, ref: Ref) -> MasterImage:
    """One image. Raises NotFound."""
    row = find_live(session, ref=ref)
    if row is None:
        raise NotFound(
            f"there is no master image {ref}; `clonepool image list` shows what there is"
        )
    return _assembled(session, row)


def list_page(session: Session, *, page: PageRequest) -> tuple[list[MasterImage], str]:
    """By name."""
    query = (
        select(tables.Image)
        .where(
            col(tables.Image.deleted_at).is_(None),
            col(tables.Image.name) > page.token,
            col(tables.Image.name).startswith(page.name_prefix, autoescape=True),
        )
        .order_by(col(tables.Image.name))
        .limit(page.size)
    )
    found = session.exec(query).all()
    token = found[-1].name if len(found) == page.size else ""
    return [_assembled(session, row) for row in found], token


def versions(session: Session, *, image_id: str) -> list[ImageVersion]:
    """Every version of an image, oldest first."""
    query = select(tables.ImageVersion).where(tables.ImageVersion.image_id == image_id)
    found = session.exec(query.order_by(col(tables.ImageVersion.number)))
    return [rows.version(row) for row in found]


def get_version(session: Session, *, version_id: str) -> ImageVersion:
    """One version. Raises NotFound."""
    row = session.get(tables.ImageVersion, version_id)
    if row is None:
        raise NotFound(f"there is no image version {version_id}")
    return rows.version(row)


def spec_of_version(session: Session, *, version_id: str) -> ImageSpec:
    """What a version was declared from."""
    row = session.get(tables.ImageVersion, version_id)
    if row is None:
        raise NotFound(f"there is no image version {version_id}")
    image = session.get_one(tables.Image, row.image_id)
    return rows.image(image, latest=row, current=None).spec


def volumes_of(session: Session, *, version_id: str) -> int:
    """How many volumes refer to a version."""
    query = select(func.count()).where(tables.Volume.image_version_id == version_id)
    return session.exec(query).one()


def finish_import(
    transaction: Transaction,
    *,
    version_id: str,
    read_only: ImagePortion | None,
    writable: ImagePortion | None,
) -> None:
    """The version serves; it becomes the current one unless a newer one came first."""
    row = transaction.session.get_one(tables.ImageVersion, version_id)
    if row.state != VersionState.IMPORTING:
        return
    row.state = VersionState.READY.value
    row.error = ""
    if read_only is not None:
        row.ro_object, row.ro_digest = read_only.object_name, read_only.digest
        row.ro_size_bytes = read_only.size_bytes
    if writable is not None:
        row.rw_object, row.rw_digest = writable.object_name, writable.digest
        row.rw_size_bytes = writable.size_bytes
    transaction.session.add(row)
    transaction.session.flush()
    transaction.sql(
        "UPDATE image SET current_version_id = :version WHERE id = :image AND "
        "coalesce((SELECT number FROM image_version WHERE id = current_version_id), 0) < :number",
        {"version": version_id, "image": row.image_id, "number": row.number},
    )


def fail_import(transaction: Transaction, *, version_id: str, error: str) -> None:
    """The version can't be imported as it is declared."""
    transaction.session.execute(
        update(tables.ImageVersion)
        .where(
            col(tables.ImageVersion.id) == version_id,
            col(tables.ImageVersion.state) == VersionState.IMPORTING.value,
        )
        .values(state=VersionState.FAILED.value, error=error)
    )


def retire_unused(transaction: Transaction, *, now: float) -> int:
    """Begin to delete versions that nothing refers to; returns how many.

    Kept: the current version of a live image, one being imported, one with volumes, one that a
    live pool pins, and the newest failed one (its error is what the user has to read).
    """
    found = transaction.sql(_UNUSED).fetchall()
    for version_id, image_name, node, storage in found:
        transaction.sql("UPDATE image_version SET state = 'deleting' WHERE id = ?", (version_id,))
        operations.add(
            transaction,
            kind="delete_version",
            subject=f"image/{image_name}",
            key=version_id,
            node=work_place(node=node, storage=storage),
            now=now,
        )
    return len(found)


def has_unused(session: Session) -> bool:
    """Whether ``retire_unused`` has anything to do; spares an idle engine its commits."""
    return session.connection().exec_driver_sql(_UNUSED).first() is not None


_UNUSED = """
    SELECT v.id, i.name, v.node, v.storage FROM image_version v JOIN image i ON i.id = v.image_id
    WHERE v.state IN ('ready', 'failed')
        AND NOT EXISTS (SELECT 1 FROM volume WHERE image_version_id = v.id)
        AND (i.deleted_at IS NOT NULL OR (
            v.id IS NOT i.current_version_id
            AND NOT (v.state = 'failed' AND v.number = (
                SELECT max(number) FROM image_version WHERE image_id = i.id))
            AND NOT EXISTS (SELECT 1 FROM pool WHERE image_id = i.id
                AND deleted_at IS NULL AND image_version = v.number)))
"""


def forget_version(transaction: Transaction, *, version_id: str) -> None:
    """The version's objects are gone, and so is the row."""
    row = transaction.session.get(tables.ImageVersion, version_id)
    if row is None or row.state != VersionState.DELETING:
        return
    transaction.session.delete(row)
    transaction.session.flush()
    forget_empty_tombstones(transaction)


def forget_empty_tombstones(transaction: Transaction) -> None:
    """Tombstones go with their last version, or with their last pool's tombstone."""
    transaction.sql(
        "DELETE FROM image WHERE deleted_at IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM image_version WHERE image_id = image.id) "
        "AND NOT EXISTS (SELECT 1 FROM pool WHERE image_id = image.id)"
    )

"""Data sources and the ephemeral secret: what is there now, by id or by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from clonepool.errors import FieldViolation
from terraform_clonepool.attributes import CHAP_SECRET, DATA_SOURCES, Lookup
from terraform_clonepool.session import Session
from terraform_clonepool.values import Values, typed_fields
from terraform_clonepool.wire import UNKNOWN

if TYPE_CHECKING:
    from clonepool.api.v1 import engine_pb2

LOOKUPS: Final = {item.type_name: item for item in (*DATA_SOURCES, CHAP_SECRET)}


def find_violations(config: Values) -> list[FieldViolation]:
    """Exactly one of id and name; what is unknown may yet be null."""
    given = [key for key in ("id", "name") if config[key] not in (None, UNKNOWN)]
    unknown = [key for key in ("id", "name") if config[key] is UNKNOWN]
    if len(given) > 1 or not (given or unknown):
        return [FieldViolation(field="id", description="give exactly one of id and name")]
    return []


def read(lookup: Lookup, config: Values, session: Session) -> Values:
    """What there is. Raises the engine's error kinds, NotFound among them."""
    found = _READERS[lookup.type_name](session, {key: config[key] for key in ("id", "name")})
    return typed_fields(found, lookup.fields)


def _read_pool(session: Session, ref: Values) -> Values:
    from clonepool.api.v1 import engine_pb2 as pb  # noqa: PLC0415 - only where it is used
    from clonepool_resources.reads import pool_value  # noqa: PLC0415

    return pool_value(session.client.call("GetPool", pb.GetRequest(**ref)))


def _read_image(session: Session, ref: Values) -> Values:
    from clonepool.api.v1 import engine_pb2 as pb  # noqa: PLC0415 - only where it is used
    from clonepool_resources.reads import image_value  # noqa: PLC0415

    return image_value(session.client.call("GetImage", pb.GetRequest(**ref)))


def _read_attachment(session: Session, ref: Values) -> Values:
    from clonepool_resources.reads import attachment_value  # noqa: PLC0415 - where it is used

    return attachment_value(_attachment(session, ref, include_secret=False))


def _read_secret(session: Session, ref: Values) -> Values:
    found = _attachment(session, ref, include_secret=True)
    return {
        "id": found.id,
        "name": found.spec.name,
        "username": found.chap_username,
        "secret": found.chap_secret,
    }


def _attachment(session: Session, ref: Values, *, include_secret: bool) -> engine_pb2.Attachment:
    from clonepool.api.v1 import engine_pb2 as pb  # noqa: PLC0415 - only where it is used

    request = pb.GetAttachmentRequest(**ref, include_secret=include_secret)
    answer: engine_pb2.Attachment = session.client.call("GetAttachment", request)
    return answer


_READERS: Final[dict[str, Callable[[Session, Values], dict[str, Any]]]] = {
    "clonepool_pool": _read_pool,
    "clonepool_image": _read_image,
    "clonepool_attachment": _read_attachment,
    CHAP_SECRET.type_name: _read_secret,
}

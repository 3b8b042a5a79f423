"""How much the database holds."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session

_TOTALS = """
    SELECT (SELECT count(*) FROM image WHERE deleted_at IS NULL),
        (SELECT count(*) FROM pool WHERE deleted_at IS NULL),
        (SELECT count(*) FROM server), (SELECT count(*) FROM attachment),
        (SELECT count(*) FROM volume)
"""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Numbers of live things."""

    images: int
    pools: int
    servers: int
    attachments: int
    volumes: int


def totals(session: Session) -> Totals:
    """Count everything once."""
    row = session.connection().exec_driver_sql(_TOTALS).one()
    return Totals(images=row[0], pools=row[1], servers=row[2], attachments=row[3], volumes=row[4])

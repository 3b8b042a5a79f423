"""CHAP user names: global to an iSCSI daemon, so one belongs to one attachment of a fabric."""

from __future__ import annotations

from clonepool.domain.states import ChapMode
from clonepool.errors import AlreadyExists
from clonepool.store.writer import Transaction

_HOLDER = """
    SELECT a.name FROM attachment a JOIN pool p ON p.id = a.pool_id
    WHERE p.fabric = ? AND a.chap_username = ? AND a.chap_mode != 'none' AND a.id != ?
"""


def check_free(
    transaction: Transaction, *, fabric: str, mode: ChapMode, username: str, attachment_id: str
) -> None:
    """Refuse a given user name that another attachment of the fabric has, or waits with.

    The fabric would refuse it too, but only once a replica is taken. Raises AlreadyExists.
    """
    if mode is not ChapMode.GIVEN:
        return
    holder = transaction.sql(_HOLDER, (fabric, username, attachment_id)).fetchone()
    if holder is not None:
        text = (
            f"CHAP user name {username!r} belongs to attachment {holder[0]} on fabric {fabric}; "
            "choose another one, or let the engine generate it"
        )
        raise AlreadyExists(text, reason="CHAP_USERNAME_TAKEN")

"""The ticket that a program's attachments are served by: configured, else of the environment."""

from __future__ import annotations

from typing import Final

from clonepool.api.endpoint import client_environment
from clonepool.errors import InvalidArgument

_LIMIT_CHARS: Final = 128


def chosen_ticket(configured: str) -> str:
    """What was configured, else CLONEPOOL_HOLD; "" for none.

    Raises InvalidArgument for what can be no ticket. Whether it is any use is found out when it is
    used, and is no error.
    """
    if configured.strip():
        return _checked(configured.strip(), source="hold")
    return _checked(client_environment().hold, source="CLONEPOOL_HOLD")


def _checked(ticket: str, *, source: str) -> str:
    if len(ticket) > _LIMIT_CHARS or not ticket.isprintable():
        text = f"can be no ticket: at most {_LIMIT_CHARS} printable characters, as one line"
        raise InvalidArgument.field(source, text)
    return ticket

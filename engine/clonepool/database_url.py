"""Where the state is kept: what a PostgreSQL URL may be, and how it is shown without its secrets.

Knows no driver: the command line, the settings and the store all read it.
"""

from __future__ import annotations

import re
from typing import Final

from clonepool.errors import InvalidArgument

_KINDS: Final = ("postgresql://", "postgres://")
_HIDDEN: Final = "***"
# to the last @: a password with a slash or a question mark that nobody escaped is hidden as well
_LOGIN: Final = re.compile(r"^(\w+://[^:/?#@]*):.*@", re.DOTALL)
_SECRETS: Final = re.compile(r"([?&](?:password|sslpassword|oauth_client_secret)=)[^&]*", re.I)


def check_url(url: str, *, field: str) -> None:
    """Refuse what can't be a PostgreSQL URL. Raises InvalidArgument, which shows no secret."""
    if not url.startswith(_KINDS):
        text = "is not postgresql://user@host/db (left out: SQLite in the state folder)"
        raise InvalidArgument.field(field, text)


def has_secret(url: str) -> bool:
    """Whether it holds a password, which others can read on a command line."""
    return shown_url(url) != url


def shown_url(url: str) -> str:
    """The URL as it may be shown: what is secret in it is replaced."""
    return _SECRETS.sub(rf"\g<1>{_HIDDEN}", _LOGIN.sub(rf"\g<1>:{_HIDDEN}@", url))

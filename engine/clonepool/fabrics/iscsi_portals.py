"""Where servers connect to: the ``address:port`` of an iSCSI fabric's options."""

from __future__ import annotations

import re
from typing import Final

from clonepool.fabrics.options import Options

_PORTAL: Final = re.compile(r"(\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:]+\]|[A-Za-z0-9.-]+):(\d{1,5})")
_ANY_ADDRESS: Final = ("0.0.0.0", "[::]")  # noqa: S104 - compared with, not bound to


def check_portal(options: Options, name: str, text: str) -> str:
    """One ``address:port``. Raises InvalidArgument naming the option."""
    match = _PORTAL.fullmatch(text)
    if match is None or int(match[2]) > 65535:  # noqa: PLR2004 - the last port
        raise options.refuse(name, f"{text!r} is not address:port, such as 192.0.2.10:3260")
    return text


def read_portals(options: Options, name: str, *, default: str) -> tuple[str, ...]:
    """An option with any number of them, separated by commas."""
    words = (word.strip() for word in options.text(name, default=default).split(","))
    return tuple(check_portal(options, name, word) for word in words if word)


def means_any_address(portal: str) -> bool:
    """Whether it stands for every address, so that no server can be told it."""
    return portal.rpartition(":")[0] in _ANY_ADDRESS

"""Which http(s) URLs name a host: said once for who declares a source and who reads it."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_url(source: str) -> bool:
    """Whether a source is fetched from the network, not read from a path."""
    return source.lower().startswith(("http://", "https://"))


def names_a_host(url: str) -> bool:
    """Whether a URL has a host, and a port that there is, if it has one."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a bracket that isn't closed, a port of letters or beyond 65535
        return False

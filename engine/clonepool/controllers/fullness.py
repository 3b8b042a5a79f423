"""Why a storage takes nothing more, in its own words."""

from __future__ import annotations

from clonepool.backends.base import StorageBackend
from clonepool.errors import ResourceExhausted


def why_nothing_fits(backend: StorageBackend) -> str:
    """What the storage says of itself while it is too full to be written to, else "".

    To be put behind the figures: a thin pool may be out of metadata with all its data free.
    """
    try:
        backend.check()
    except ResourceExhausted as error:
        return f"; {error}"
    return ""

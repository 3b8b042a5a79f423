"""Names of objects, targets and devices: derived, so that a repeated step finds its own."""

from __future__ import annotations

import hashlib

from clonepool.domain.states import PortionRole

_SERIAL_ID_CHARS = 24


def volume_object(*, volume_id: str, generation: int) -> str:
    """A volume's object and its target; a new generation is a new name, never reused."""
    return f"vol-{volume_id}-g{generation}"


def portion_object(*, version_id: str, role: PortionRole) -> str:
    """An image version's portion on the storage."""
    return f"img-{version_id}-{'ro' if role is PortionRole.READ_ONLY else 'rw'}"


def serial(*, object_id: str, generation: int) -> str:
    """The SCSI serial; it holds the generation.

    A serial that came back with other content would corrupt multipath and caches on the server.
    """
    return f"{object_id.replace('-', '')[:_SERIAL_ID_CHARS]}g{generation}"


def wwn(*, serial_number: str) -> str:
    """The world-wide name of a serial: ``naa.6`` (IEEE registered extended) and 31 hex digits."""
    return "naa.6" + hashlib.sha256(serial_number.encode()).hexdigest()[:31]

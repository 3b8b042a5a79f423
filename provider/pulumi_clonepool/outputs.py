"""The shapes of nested outputs: attributes of the values that a resource's outputs resolve to."""

from __future__ import annotations

from typing import Any

import pulumi


@pulumi.output_type
class PortionDigests(dict[str, Any]):
    """The content digest of each portion; None for a portion that the image lacks."""

    read_only: str | None
    writable: str | None


@pulumi.output_type
class PortionSizes(dict[str, Any]):
    """The size in bytes of each portion; None for a portion that the image lacks."""

    read_only: int | None
    writable: int | None


@pulumi.output_type
class ConnectedVolume(dict[str, Any]):
    """One volume as the server sees it: a LUN on iSCSI, a path on the local fabric."""

    role: str
    lun: int | None
    path: str | None
    serial: str | None
    wwn: str | None
    size_bytes: int
    read_only: bool


@pulumi.output_type
class Connection(dict[str, Any]):
    """How the server reaches its volumes; ``portals`` are ``address:port``."""

    fabric: str
    portals: list[str]
    target: str | None
    volumes: list[ConnectedVolume]

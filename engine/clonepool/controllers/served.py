"""Targets that serve another file than the one that lies at their volume's place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from clonepool.controllers.context import Context
from clonepool.controllers.exports import Exports
from clonepool.domain.drift import VolumeRow
from clonepool.domain.location import HostPath
from clonepool.errors import NotFound
from clonepool.fabrics.base import Fabric


class Served:
    """What servers really reach, and the change to what they should."""

    def __init__(self, context: Context, exports: Exports) -> None:
        self._context = context
        self._exports = exports

    def where(self, row: VolumeRow) -> str:
        """Where the bytes of a volume whose file was removed can still be read; "" when unknown."""
        fabric = self._context.drivers.fabric(row.fabric)
        return fabric.astray({row.name: None}).get(row.name, "")

    def astray(self, fabric: Fabric, rows: Collection[VolumeRow]) -> Mapping[VolumeRow, str]:
        """The volumes in whose place another file lies, with where the served bytes can be read."""
        by_name = {row.name: row for row in rows}
        paths = {row.name: self._path(row) for row in rows}
        there = {name: path for name, path in paths.items() if path is not None}
        return {by_name[name]: where for name, where in fabric.astray(there).items()}

    def serve_again(self, row: VolumeRow) -> bool:
        """Have a volume's target serve the file that lies at its place now.

        False while its server is logged in to the one that it opened before.
        """
        fabric = self._context.drivers.fabric(row.fabric)
        if row not in self.astray(fabric, [row]):
            return True
        return self._exports.serve_anew(row.fabric, fabric, target=row.name)

    def _path(self, row: VolumeRow) -> Path | None:
        try:
            location = self._context.drivers.backend(row.storage).location(name=row.name)
        except NotFound:
            return None
        return location.path if isinstance(location, HostPath) else None

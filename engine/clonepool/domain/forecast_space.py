"""A storage's room in a forecast: what is left of it as clones are made and given up."""

from __future__ import annotations

from dataclasses import dataclass

from clonepool.domain.capacity import clones_that_fit


@dataclass(kw_only=True)
class RoomLeft:
    """Shared by all pools on the storage; see ``Capacity`` for the two figures."""

    left_bytes: int
    promisable_bytes: int | None = None

    def fits(self, *, clone_bytes: int, full: bool) -> int:
        """How many more clones fit."""
        return clones_that_fit(
            clone_bytes=clone_bytes,
            full=full,
            left_bytes=self.left_bytes,
            promisable_bytes=self.promisable_bytes,
        )

    def take(self, size_bytes: int, *, full: bool) -> None:
        """A clone is counted whole from the moment it is planned; negative gives back."""
        if full:
            self.left_bytes -= size_bytes
        if self.promisable_bytes is not None:
            self.promisable_bytes -= size_bytes

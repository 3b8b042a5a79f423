"""What fits a storage: its own figures against what its volumes may still be written by.

Used is what lies on the storage now, whoever wrote it. Owed is what the volumes that there are may
still grow by: a full clone its holes, a thin one all that it shares. Both together are promised,
and a storage promises ``overcommit`` times what it has beside its reserve.
"""

from __future__ import annotations

from dataclasses import dataclass

from clonepool.domain.states import CloneMode
from clonepool.units import format_size

# as many as anybody can ask for
UNLIMITED = 2**31


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an operator allows on a storage; sizes in bytes.

    ``overcommit`` None: thin clones may promise any number of bytes. Free space below
    ``warn_bytes`` is told of.
    """

    reserve_bytes: int = 0
    overcommit: float | None = None
    warn_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Owed:
    """What servers may still write into the volumes of a storage beyond what these hold."""

    full_bytes: int = 0
    thin_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """A storage's figures at a moment. ``incoming_bytes`` is what imports are about to write."""

    total_bytes: int
    free_bytes: int
    limits: Limits
    owed: Owed
    incoming_bytes: int = 0

    @property
    def used_bytes(self) -> int:
        """What lies on it, of ours and of others."""
        return self.total_bytes - self.free_bytes

    @property
    def promised_bytes(self) -> int:
        """What would lie on it if every server wrote all that it may."""
        return self.used_bytes + self.owed.full_bytes + self.owed.thin_bytes + self.incoming_bytes

    @property
    def limit_bytes(self) -> int | None:
        """The most that may be promised; None: there is no limit."""
        if self.limits.overcommit is None:
            return None
        return int(self.limits.overcommit * (self.total_bytes - self.limits.reserve_bytes))

    @property
    def left_bytes(self) -> int:
        """Free, and neither in reserve nor on its way to be written by who copies whole."""
        taken = self.limits.reserve_bytes + self.owed.full_bytes + self.incoming_bytes
        return self.free_bytes - taken

    @property
    def promisable_bytes(self) -> int | None:
        """What may be promised yet, negative where it is too much already; None: no limit."""
        return None if self.limit_bytes is None else self.limit_bytes - self.promised_bytes

    @property
    def overcommitted(self) -> bool:
        """Whether servers could write more than there is beside the reserve."""
        return self.promised_bytes > self.total_bytes - self.limits.reserve_bytes

    @property
    def writable_bytes(self) -> int:
        """What can be written here and now without breaking a promise: an import's, say."""
        left, promisable = self.left_bytes, self.promisable_bytes
        return left if promisable is None else min(left, promisable)

    def clones_that_fit(self, *, clone_bytes: int, full: bool) -> int:
        """How many more clones of this size fit; UNLIMITED where nothing limits them.

        A thin clone takes no space at once: of what is free, only the reserve counts for it.
        """
        return clones_that_fit(
            clone_bytes=clone_bytes,
            full=full,
            left_bytes=self.left_bytes,
            promisable_bytes=self.promisable_bytes,
        )

    def figures(self) -> str:
        """What a message says of it."""
        owed_bytes = self.owed.full_bytes + self.owed.thin_bytes
        parts = [
            f"{format_size(self.free_bytes)} free of {format_size(self.total_bytes)}",
            f"{format_size(self.limits.reserve_bytes)} of it in reserve",
            f"{format_size(owed_bytes)} may still be written by its volumes",
        ]
        if self.incoming_bytes:
            parts.append(f"{format_size(self.incoming_bytes)} are being imported")
        if self.limit_bytes is not None:
            parts.append(
                f"{format_size(self.promised_bytes)} are promised, used ones included, of the "
                f"{format_size(max(self.limit_bytes, 0))} that overcommit "
                f"{self.limits.overcommit:g} allows"
            )
        return ", ".join(parts)


def clones_that_fit(
    *, clone_bytes: int, full: bool, left_bytes: int, promisable_bytes: int | None
) -> int:
    """How many more clones fit into what is left, and into what may be promised (None: any)."""
    if left_bytes <= 0:
        return 0
    fit = UNLIMITED if not full or clone_bytes <= 0 else left_bytes // clone_bytes
    if promisable_bytes is None or clone_bytes <= 0:
        return fit
    return min(fit, max(0, promisable_bytes) // clone_bytes)


def clones_are_full(mode: CloneMode, *, thin_clones: bool) -> bool:
    """Whether clones of this mode are full copies, on a storage that makes thin ones or not."""
    return mode is CloneMode.FULL or not thin_clones


def way_out_of(capacity: Capacity, *, clone_bytes: int, full: bool, storage: str) -> str:
    """What makes room for more clones: it depends on which of the limits stands in the way."""
    fit = capacity.clones_that_fit(clone_bytes=clone_bytes, full=full)
    would_fit = clones_that_fit(
        clone_bytes=clone_bytes, full=full, left_bytes=capacity.left_bytes, promisable_bytes=None
    )
    if would_fit > fit:
        return f"add space, raise storages.{storage}.overcommit"
    return "free space"

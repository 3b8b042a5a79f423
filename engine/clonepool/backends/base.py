"""What a storage backend is: a small set of idempotent verbs on named objects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clonepool.domain.policy import Scrubbing
from clonepool.domain.states import CloneMode, ScrubMethod

# Called with the bytes done so far; may raise Cancelled to stop the work.
Progress = Callable[[int], None]


def no_progress(_done_bytes: int) -> None:
    """Ignore progress."""


@dataclass(frozen=True, kw_only=True)
class BackendCapabilities:
    """What this backend, on this storage, can do. Nothing undeclared is ever tried."""

    thin_clones: bool
    thin_reason: str  # how thin clones are made, or why they can't be
    scrub_methods: frozenset[ScrubMethod]
    # what a scrub can promise for the medium, in words for the docs
    erasure_note: str
    # the methods that purge the medium (NIST SP 800-88); the others clear it at the logical level
    purges: frozenset[ScrubMethod] = frozenset()
    # whether discarded blocks read as zeros for certain, so that reading back proves something
    discard_reads_zeros: bool = True

    @property
    def scrubbing(self) -> Scrubbing:
        """What of it a pool's scrub policy is held against."""
        return Scrubbing(
            methods=self.scrub_methods,
            purges=self.purges,
            discard_reads_zeros=self.discard_reads_zeros,
        )


@dataclass(frozen=True, kw_only=True)
class Space:
    """Free space for new data, and the total."""

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """One image portion or volume on the storage. ``used_bytes`` counts shared blocks too."""

    name: str
    size_bytes: int
    used_bytes: int
    read_only: bool


class StorageBackend(ABC):
    """Keeps objects (image portions, volumes) by name; every verb may be repeated.

    Names are ``[a-z0-9-]``, chosen by the caller and never reused for other content. An object
    appears whole or not at all: a verb cut off half-way leaves nothing that ``list`` shows, and
    its repetition finishes the work. Deleting the absent succeeds. Errors: NotFound,
    ResourceExhausted (no space, with figures), FailedPrecondition (a clone mode or scrub method
    that the capabilities exclude), Unavailable (the storage does not answer), PermissionDenied.
    """

    hostless: bool = False
    """Whether every node reaches the same objects; else they are on the node's own host."""

    @abstractmethod
    def capabilities(self) -> BackendCapabilities:
        """What this storage can do; probed once, then remembered."""

    @abstractmethod
    def space(self) -> Space:
        """Space now, in bytes."""

    def check(self) -> None:
        """Raise what keeps the storage from being written to now; cheap, writes nothing.

        Asked every second or so. Raises Unavailable (away, read-only), ResourceExhausted (full).
        """
        self.space()

    @abstractmethod
    def import_image(self, *, name: str, source: Path, progress: Progress = no_progress) -> None:
        """Keep the raw file ``source`` as the read-only object ``name``; ``source`` may be taken.

        Holes stay holes. Present already: nothing happens. Durable when it returns.
        """

    @abstractmethod
    def clone(
        self, *, image: str, name: str, mode: CloneMode, progress: Progress = no_progress
    ) -> CloneMode:
        """Make the writable object ``name`` from ``image``; returns THIN or FULL, as it really was.

        AUTO takes thin where there is thin; THIN raises FailedPrecondition, with the reason,
        rather than copy. Present already: its kind is returned. Durable when it returns.
        """

    @abstractmethod
    def erase(self, *, name: str, method: ScrubMethod, progress: Progress = no_progress) -> None:
        """Erase the bytes of ``name`` in place (ZERO, DISCARD); durable when it returns.

        REFORMAT needs no erase: the object is deleted and cloned anew.
        """

    @abstractmethod
    def read(self, *, name: str, offset: int, length: int) -> bytes:
        """Bytes of ``name``, fewer at its end: from the medium, as far as that can be had."""

    @abstractmethod
    def delete(self, *, name: str) -> None:
        """Remove ``name``; bytes are unreachable by name and by descriptors still open."""

    @abstractmethod
    def stat(self, *, name: str) -> ObjectInfo:
        """Describe ``name``. Raises NotFound."""

    @abstractmethod
    def list(self) -> Iterator[ObjectInfo]:
        """Every object of ours on this storage, in no order; unfinished ones excluded."""

    @abstractmethod
    def path(self, *, name: str) -> Path:
        """The file or block device that a fabric exports. Raises NotFound."""

"""Who uses an engine: callers, who know only what they were told, and servers, who never rest.

A server writes its mark over its volume whenever it can, and logs in again whenever it was cut
off. So whatever lets one in too long, or another in too early, shows as a mark in the wrong place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

from clonepool.backends.memory import CHUNK_BYTES, MemoryBackend, MemoryObject
from clonepool.domain.model import Attachment, AttachmentSpec, ServerSpec, SystemUser
from clonepool.domain.states import PortionRole, SystemUserKind
from clonepool.errors import ClonepoolError
from clonepool.fabrics.memory import MemoryFabric, MemorySession

IMAGE_BYTES = 2 * CHUNK_BYTES
_MARK = b"MARK-OF-"
_MARK_BYTES = 40
USERS = (
    SystemUser(name="acme", kind=SystemUserKind.CUSTOMER),
    SystemUser(name="billing", kind=SystemUserKind.APPLICATION),
)


@cache
def golden(number: int) -> bytes:
    """The bytes of a version of the master image."""
    text = f"golden bytes of version {number:04}, ".encode()
    return (text * (IMAGE_BYTES // len(text) + 1))[:IMAGE_BYTES]


def owner_of(name: str, user: str) -> str:
    """An attachment's name, and its system user's."""
    return f"{name}@{user}"


def mark_of(owner: str) -> bytes:
    """What the server of an attachment writes."""
    return (_MARK + owner.encode()).ljust(_MARK_BYTES, b".")


@cache
def used_by(owner: str, number: int) -> bytes:
    """A version's bytes with the marks that a server wrote over them."""
    mark = mark_of(owner)
    chunks = (golden(number)[at : at + CHUNK_BYTES] for at in range(0, IMAGE_BYTES, CHUNK_BYTES))
    return b"".join(mark + chunk[len(mark) :] for chunk in chunks)


def marks_in(kept: MemoryObject) -> Iterator[str]:
    """Whose marks an object holds."""
    for chunk in kept.chunks.values():
        if chunk.startswith(_MARK):
            yield chunk[len(_MARK) : _MARK_BYTES].rstrip(b".").decode()


class Known(StrEnum):
    """What the caller of an attachment knows of it."""

    ASKED = "asked"  # nobody answered
    WAITING = "told to wait"
    ATTACHED = "told attached"
    RELEASING = "asked to release"  # nobody answered
    RELEASED = "told released"
    UNDOING = "asked to undo its release"  # nobody answered


@dataclass(kw_only=True, eq=False, repr=False)
class Use:
    """One attachment, from its caller's and its server's side."""

    spec: AttachmentSpec
    token: str
    known: Known = Known.ASKED
    told: Attachment | None = None
    place: int = 0
    polled_at: float = 0.0
    # a server that its administrator shut down before the release
    is_quiet: bool = False
    # the token of the hold whose ticket it brings
    ticket: str = ""
    # how many are undoing its release and have no answer
    undos: int = 0
    # the generation that its server wrote its mark over, and whose mark that was
    wrote: tuple[str, int, str] | None = None
    session: MemorySession | None = None
    disk: MemoryObject | None = None

    def __repr__(self) -> str:
        return f"<{self.name}: {self.known}>"

    @property
    def name(self) -> str:
        """Of the attachment."""
        return self.spec.name

    @property
    def owner(self) -> str:
        """Whose bytes its server writes: another system user's of the same name are others."""
        assert self.spec.system_user is not None
        return owner_of(self.name, self.spec.system_user.name)

    @property
    def server(self) -> ServerSpec:
        """The server that comes with it."""
        assert self.spec.inline_server is not None
        return self.spec.inline_server

    def shut_down(self) -> None:
        """Log out, and stay out."""
        self.is_quiet = True
        if self.session is not None:
            self.session.close()

    def insist(self, fabric: MemoryFabric, storage: MemoryBackend) -> str | None:
        """Log in if possible, and write; what is wrong with being able to, if anything is."""
        if self.told is None or self.told.connection is None or self.is_quiet:
            return None
        if self.session is None or not self.session.is_alive():
            self._log_in(fabric, storage)
        if self.session is None or not self.session.is_alive():
            return None
        if self.known is Known.RELEASED:
            return f"the server of {self.name} still has access, and its release was told"
        if self.disk is None:
            return None
        for offset in range(0, self.disk.size_bytes, CHUNK_BYTES):
            self.disk.write_at(offset, mark_of(self.owner))
        self.wrote = (self.told.volume_id, self.told.volume_generation, self.owner)
        return None

    def _log_in(self, fabric: MemoryFabric, storage: MemoryBackend) -> None:
        assert self.told is not None
        assert self.told.connection is not None
        try:
            self.session = fabric.login(
                target=self.told.connection.target,
                initiator=self.server.initiator or "",
                chap=self.told.chap,
            )
        except ClonepoolError:
            self.session = None
            return
        lun = self.session._luns.get(PortionRole.WRITABLE)
        self.disk = storage._find(lun.path.name) if lun else None


@dataclass(kw_only=True)
class Ticket:
    """A hold from the side of who asked for it."""

    pool: str
    count: int
    id: str = ""  # "": nobody answered
    expires_at: float = 0.0
    # how many attachments were told to be served by it, and how many may have been
    used: int = 0
    in_doubt: int = 0
    is_asked_back: bool = False
    is_over: bool = False  # its end was told


@dataclass(kw_only=True)
class Told:
    """All that callers were told, and ask for."""

    uses: dict[str, Use] = field(default_factory=dict)
    # by name: what was told to exist, until its deletion is asked for
    images: set[str] = field(default_factory=set)
    pools: set[str] = field(default_factory=set)
    # by the token that they were asked for with
    tickets: dict[str, Ticket] = field(default_factory=dict)
    # what was told to be gone, by id
    gone: set[str] = field(default_factory=set)
    # of each volume that a caller was told of: who had this generation
    held: dict[tuple[str, int], str] = field(default_factory=dict)

    def of(self, *known: Known) -> list[Use]:
        """The uses whose callers know this."""
        return [use for use in self.uses.values() if use.known in known]

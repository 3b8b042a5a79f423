"""What every controller works with."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

from clonepool.config import Settings
from clonepool.controllers.drivers import Drivers
from clonepool.domain.states import Severity
from clonepool.store import events
from clonepool.store.state import State
from clonepool.store.writer import Transaction


@dataclass(frozen=True, kw_only=True)
class Signals:
    """Wake-ups. Nothing depends on one arriving: all background work also looks by itself."""

    plan: threading.Event = field(default_factory=threading.Event)
    work: threading.Event = field(default_factory=threading.Event)

    def changed(self) -> None:
        """Something is to be planned, and perhaps to be done."""
        self.plan.set()
        self.work.set()


class AttachmentLocks:
    """Grant and revoke of one attachment (or target) never interleave, whoever asks for them."""

    _COUNT = 256

    def __init__(self) -> None:
        self._locks = [threading.RLock() for _ in range(self._COUNT)]

    def of(self, attachment_id: str) -> threading.RLock:
        """The lock of one attachment, and of a few others."""
        return self._locks[hash(attachment_id) % self._COUNT]


class Incoming:
    """What imports are about to write, by storage: bytes that nobody else may be promised."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._needed: dict[str, tuple[str, int]] = {}

    def note(self, key: str, *, storage: str, needed_bytes: int) -> None:
        """From here on the import ``key`` will write so much."""
        with self._lock:
            self._needed[key] = (storage, needed_bytes)

    def forget(self, key: str) -> None:
        """The import is over."""
        with self._lock:
            self._needed.pop(key, None)

    def on(self, storage: str, *, apart_from: str = "") -> int:
        """Bytes about to be written on a storage, without those of one import."""
        with self._lock:
            return sum(
                needed_bytes
                for key, (where, needed_bytes) in self._needed.items()
                if where == storage and key != apart_from
            )


@dataclass(frozen=True, kw_only=True)
class Context:
    """State, drivers, settings and wake-ups, shared by the controllers of one engine."""

    state: State
    drivers: Drivers
    settings: Settings
    signals: Signals = field(default_factory=Signals)
    # when a storage's volumes were last measured, by its name
    measured_at: dict[str, float] = field(default_factory=dict)
    incoming: Incoming = field(default_factory=Incoming)
    # by storage: held from the look at its figures to the row, or the note, that takes of them
    spaces: AttachmentLocks = field(default_factory=AttachmentLocks)
    locks: AttachmentLocks = field(default_factory=AttachmentLocks)
    # by target: one that came back is not unexported by who saw it released; taken last, alone
    targets: AttachmentLocks = field(default_factory=AttachmentLocks)

    def tell(
        self, *, subject: str, reason: str, message: str, severity: Severity = Severity.INFO
    ) -> Future[None]:
        """Append an event of its own; the future is for who must know that it is durable."""
        return self.state.submit(
            lambda transaction: self.note(
                transaction, subject=subject, reason=reason, message=message, severity=severity
            )
        )

    def note(
        self,
        transaction: Transaction,
        *,
        subject: str,
        reason: str,
        message: str,
        severity: Severity = Severity.INFO,
    ) -> None:
        """Append an event to the change that it tells of."""
        events.add(
            transaction,
            now=self.now(),
            subject=subject,
            reason=reason,
            message=message,
            severity=severity,
        )

    def now(self) -> float:
        """The clock that everything is stamped by."""
        return self.state.clock()

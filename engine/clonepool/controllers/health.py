"""What the engine stands on: each storage, the database and the clock, watched and told of."""

from __future__ import annotations

from clonepool.controllers.context import Context
from clonepool.domain.states import Severity
from clonepool.errors import ClonepoolError
from clonepool.store import events
from clonepool.units import format_duration

# a clock that is slewed never jumps so far
_CLOCK_STEP_S = 5.0
_UNNAMED = "STORAGE_FAILED"


class Health:
    """Tells once when something fails and once when it works again; nothing depends on it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._failing: dict[str, str] = {}
        with context.state.read() as session:
            # the clock may have been set back while no engine ran
            self._latest = events.newest_at(session) or context.now()

    def look(self) -> bool:
        """Look at everything once; cheap enough for every second. Never raises Unavailable.

        Whether something works again that did not at the last look.
        """
        failing = len(self._failing)
        self._look_at_clock()
        self._look_at_database()
        self._context.state.high_water.spread()
        for name in self._context.settings.storages:
            try:
                # one that could not be opened is tried again here
                self._context.drivers.backend(name).check()
            except ClonepoolError as error:
                self._note_failing(name, error)
            else:
                self._note_working(name)
        return len(self._failing) < failing

    def _note_failing(self, name: str, error: ClonepoolError) -> None:
        reason = error.reason or _UNNAMED
        if self._failing.get(name) == reason:
            return
        self._failing[name] = reason
        self._tell(f"storage/{name}", reason, f"storage {name}: {error}", Severity.ERROR)

    def _note_working(self, name: str) -> None:
        if self._failing.pop(name, None) is None:
            return
        text = f"storage {name} can be written to again; what waited for it goes on by itself"
        self._tell(f"storage/{name}", "STORAGE_BACK", text, Severity.INFO)
        self._context.signals.changed()

    def _look_at_database(self) -> None:
        outage = self._context.state.take_outage()
        if outage is None:
            return
        text = (
            f"the database took no change for {format_duration(round(outage.lasted_s))} "
            f"({outage.text}) and takes them again; who asked meanwhile was told to try again"
        )
        self._tell("engine/database", "DATABASE_BACK", text, Severity.WARNING)

    def _look_at_clock(self) -> None:
        now = self._context.now()
        back_s = self._latest - now
        self._latest = now if back_s > _CLOCK_STEP_S else max(now, self._latest)
        if back_s <= _CLOCK_STEP_S:
            return
        text = (
            f"this machine's clock was set back by {format_duration(round(back_s))}; work that was "
            "put off is done at once, and what is quarantined stays so for as long as before"
        )
        self._tell("engine/clock", "CLOCK_SET_BACK", text, Severity.WARNING)

    def _tell(self, subject: str, reason: str, message: str, severity: Severity) -> None:
        self._context.tell(subject=subject, reason=reason, message=message, severity=severity)

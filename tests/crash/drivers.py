"""The in-memory drivers, which outlive an engine as storage and fabric do, and tell what is done.

Between two things that last (a commit, a verb of a driver) the engine must name a crash point.
``Boundaries`` is told of all three and finds the places where it does not.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from clonepool.backends.base import Progress, no_progress
from clonepool.backends.memory import MemoryBackend
from clonepool.crash_points import Point
from clonepool.domain.model import Connection, SystemUser
from clonepool.domain.states import CloneMode, ScrubMethod
from clonepool.fabrics.base import Access, DesiredExport, ExportSpec
from clonepool.fabrics.memory import MemoryFabric

_WRITERS_OWN = frozenset({Point.COMMITTING, Point.COMMITTED})


class Boundaries:
    """What each thread did last, and whether a crash point came since."""

    def __init__(self) -> None:
        self._last = threading.local()
        self.unguarded: set[str] = set()

    def begin(self) -> None:
        """A new task begins on this thread: what it did before is another matter."""
        self._last.what, self._last.guarded = "", True

    def point(self, point: Point) -> None:
        """A point was reached."""
        if point is Point.COMMITTING:
            self._came("a commit", lasts_alone=self._what() == "a commit")
        elif point not in _WRITERS_OWN:
            self._last.guarded = True

    def verb(self, name: str) -> None:
        """A verb of a driver begins."""
        self._came(name, lasts_alone=False)

    def _came(self, what: str, *, lasts_alone: bool) -> None:
        # two commits in a row need no name: the writer's own points lie between them
        if not (getattr(self._last, "guarded", True) or lasts_alone):
            self.unguarded.add(f"no crash point between {self._what()} and {what} in {_where()}")
        self._last.what, self._last.guarded = what, False

    def _what(self) -> str:
        return getattr(self._last, "what", "")


def _where() -> str:
    """The innermost function of the engine's controllers that is at work."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        path = frame.f_code.co_filename
        if "/clonepool/controllers/" in path:
            return f"{Path(path).stem}.{frame.f_code.co_qualname}"
        frame = frame.f_back
    return "?"


def _unheard(_verb: str) -> None:
    pass


class WatchedBackend(MemoryBackend):
    """Tells of each verb that changes anything."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: Callable[[str], None] = _unheard

    def import_image(
        self,
        *,
        name: str,
        source: Path,
        system_user: SystemUser | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self.heard("import_image")
        super().import_image(name=name, source=source, system_user=system_user, progress=progress)

    def clone(
        self, *, image: str, name: str, mode: CloneMode, progress: Progress = no_progress
    ) -> CloneMode:
        self.heard("clone")
        return super().clone(image=image, name=name, mode=mode, progress=progress)

    def erase(self, *, name: str, method: ScrubMethod, progress: Progress = no_progress) -> None:
        self.heard("erase")
        super().erase(name=name, method=method, progress=progress)

    def delete(self, *, name: str) -> None:
        self.heard("delete")
        super().delete(name=name)


class WatchedFabric(MemoryFabric):
    """Tells of each verb that changes anything."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: Callable[[str], None] = _unheard

    def export(self, spec: ExportSpec) -> None:
        self.heard("export")
        super().export(spec)

    def grant(self, spec: ExportSpec, access: Access) -> Connection:
        self.heard("grant")
        return super().grant(spec, access)

    def revoke(self, target: str) -> None:
        self.heard("revoke")
        super().revoke(target)

    def unexport(self, target: str) -> None:
        self.heard("unexport")
        super().unexport(target)

    def reconcile(self, desired: Iterable[DesiredExport], *, keep: Collection[str] = ()) -> None:
        super().reconcile(desired, keep=keep)

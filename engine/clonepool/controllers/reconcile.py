"""Drift: storages and fabrics are compared with the rows, at start and every few minutes."""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Callable
from functools import partial

from clonepool.backends.base import StorageBackend
from clonepool.controllers.context import Context
from clonepool.controllers.exports import Exports
from clonepool.controllers.health import Health
from clonepool.controllers.lost_objects import LostObjects
from clonepool.controllers.orphans import Orphans
from clonepool.crash_points import Point, reach
from clonepool.domain.drift import (
    StorageRows,
    VolumeRow,
    compare_fabric,
    compare_storage,
    list_names,
)
from clonepool.domain.states import Severity
from clonepool.errors import ClonepoolError
from clonepool.fabrics.base import Fabric
from clonepool.store import drift

log = logging.getLogger(__name__)
_LOOK_INTERVAL_S = 1.0
# several engines on one machine, and the parts of one, must not all look at the same moment
_JITTER = 0.1


class Reconcile:
    """A thread of its own: a listing of thousands of objects must not hold up the planner."""

    def __init__(self, context: Context, exports: Exports) -> None:
        self._context = context
        self._exports = exports
        self.orphans = Orphans(context)
        self._lost = LostObjects(context)
        self._health = Health(context)
        self._compared_at: dict[str, float] = {}
        self._looks = 0
        self._one_at_a_time = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconcile", daemon=True)

    def start(self) -> None:
        """Compare for the first time, and then every few minutes."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being compared and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def run_once(self) -> None:
        """Compare everything now; what fails is logged, the rest goes on."""
        self._step(is_due=lambda _subject: True)

    def _run(self) -> None:
        while True:
            self._step(is_due=self._is_due)
            if self._stopping.wait(_LOOK_INTERVAL_S):
                return

    def _step(self, *, is_due: Callable[[str], bool]) -> None:
        with self._one_at_a_time:
            self._guarded("health", self._health.look)
            for name in self._context.settings.storages:
                self._compare(f"storage/{name}", partial(self._storage, name), is_due)
            # one that holds exports was opened at start; to ask the rows each second would cost
            for name in self._context.drivers.open_fabrics():
                self._compare(f"fabric/{name}", partial(self._fabric, name), is_due)

    def _compare(
        self, subject: str, step: Callable[[], None], is_due: Callable[[str], bool]
    ) -> None:
        if self._stopping.is_set() or not is_due(subject):
            return
        self._compared_at[subject] = self._context.now()
        self._looks += 1
        self._guarded(subject, step)

    def _is_due(self, subject: str) -> bool:
        last_at = self._compared_at.get(subject)
        if last_at is None:
            return True
        spread = zlib.crc32(f"{self._context.state.node}/{subject}/{self._looks}".encode()) / 2**32
        interval_s = self._context.settings.compare_every_s * (1 + _JITTER * (2 * spread - 1))
        # a clock that was set back must not end the looks
        return abs(self._context.now() - last_at) >= interval_s

    @staticmethod
    def _guarded(subject: str, step: Callable[[], None]) -> None:
        try:
            step()
        except ClonepoolError as error:
            # a storage or fabric that is away is told of by who watches it; the others go on
            log.warning("%s can't be compared: %s", subject, error)
        except Exception:
            log.exception("comparing %s failed", subject)

    def _storage(self, name: str) -> None:
        backend: StorageBackend = self._context.drivers.backend(name)
        before = self._storage_rows(name)
        found = {info.name: info for info in backend.list()}
        after = self._storage_rows(name)
        sizes = {info.name: info.size_bytes for info in found.values()}
        drift_found = compare_storage(sizes, before=before, after=after)
        self._lost.look(storage=name, backend=backend, drift=drift_found)
        self.orphans.look(
            storage=name,
            backend=backend,
            strays={stray: found[stray] for stray in drift_found.strays},
            accounted=len(after.names() & sizes.keys()),
        )

    def _storage_rows(self, name: str) -> StorageRows:
        with self._context.state.read() as session:
            return drift.rows_of_storage(session, storage=name, node=self._context.place_of(name))

    def _fabric(self, name: str) -> None:
        fabric = self._context.drivers.fabric(name)
        if not self._exports.is_settled(name, fabric):
            # it was restarted, and all its exports are being made again: looked at next time
            del self._compared_at[f"fabric/{name}"]
            return
        before = self._fabric_rows(name)
        fabric.refresh()
        targets = fabric.list()
        after = self._fabric_rows(name)
        found = compare_fabric(targets, before=before, after=after)
        self._make_again(name, fabric, found.lost)
        self._remove_strays(name, fabric, found.strays, rows=after)

    def _fabric_rows(self, name: str) -> frozenset[VolumeRow]:
        with self._context.state.read() as session:
            return drift.rows_of_fabric(session, fabric=name, node=self._context.state.node)

    def _make_again(self, name: str, fabric: Fabric, lost: frozenset[str]) -> None:
        made = self._exports.remake(name, fabric, lost=lost)
        if made:
            text = (
                f"made again, granted where they were, since somebody removed them from fabric "
                f"{name}: {list_names(made)}"
            )
            self._tell(name, "EXPORTS_MADE_AGAIN", text)

    def _remove_strays(
        self,
        name: str,
        fabric: Fabric,
        strays: frozenset[str],
        *,
        rows: frozenset[VolumeRow],
    ) -> None:
        """An export holds no bytes, but lets a server at some that nobody accounts for: at once."""
        removed = set()
        for target in strays & fabric.list():
            seen = {row for row in rows if row.name == target}
            # a release that is undone has its target again, of the same name
            with self._context.targets.of(target):
                if seen == {row for row in self._fabric_rows(name) if row.name == target}:
                    reach(Point.RECONCILING)
                    fabric.unexport(target)
                    removed.add(target)
        if removed:
            text = f"removed exports that no volume accounts for: {list_names(removed)}"
            self._tell(name, "STRAY_EXPORTS_REMOVED", text)

    def _tell(self, fabric: str, reason: str, message: str) -> None:
        reach(Point.EXPORT_TELLING)
        self._context.tell(
            subject=f"fabric/{fabric}", reason=reason, message=message, severity=Severity.WARNING
        )

"""The composition root: settings in, a running engine out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from clonepool import __version__, machine
from clonepool.config import Settings
from clonepool.controllers.attachments import Attachments
from clonepool.controllers.audit import Audit
from clonepool.controllers.capacities import Capacities
from clonepool.controllers.clones import CloneVolume, DeleteVolume
from clonepool.controllers.context import Context
from clonepool.controllers.drivers import Drivers
from clonepool.controllers.errands import Errands
from clonepool.controllers.events import Events
from clonepool.controllers.exports import Exports
from clonepool.controllers.filling import Filling
from clonepool.controllers.forecasts import Forecasts
from clonepool.controllers.holds import Holds
from clonepool.controllers.images import Images
from clonepool.controllers.imports import DeleteVersion, ImportImage
from clonepool.controllers.nodes import Nodes
from clonepool.controllers.operations import Operations
from clonepool.controllers.orphans import Orphans
from clonepool.controllers.planner import Planner
from clonepool.controllers.pools import Pools
from clonepool.controllers.reconcile import Reconcile
from clonepool.controllers.restored import set_aside
from clonepool.controllers.scrub import Scrub
from clonepool.controllers.scrubbing import ScrubVolume
from clonepool.controllers.servers import Servers
from clonepool.controllers.takeover import Takeover
from clonepool.controllers.volumes import Volumes
from clonepool.controllers.worker import Work, Worker
from clonepool.domain.facts import EngineFacts
from clonepool.domain.nodes import NodeFacts, StorageAbilities
from clonepool.errors import ClonepoolError, PermissionDenied
from clonepool.host_lock import HostLock
from clonepool.store import drift
from clonepool.store.connections import Clock
from clonepool.store.state import State
from clonepool.store.totals import totals


class Engine:
    """Everything wired together; what the service layer serves."""

    def __init__(
        self, settings: Settings, *, lock: HostLock, clock: Clock | None, drivers: Drivers
    ) -> None:
        self._settings = settings
        self._lock = lock
        drivers.check()
        self._state = State(
            folder=settings.state_dir,
            node=settings.node,
            clock=clock,
            url=settings.database,
            key_path=settings.secret_key_file,
            storages=drivers.storage_folders(),
        )
        self._started_at = self._state.clock()
        self._drivers = drivers
        drivers.expect(self._on_record)
        context = Context(state=self._state, drivers=self._drivers, settings=settings)
        self._exports = Exports(context)
        self.images = Images(context)
        self.pools = Pools(context)
        self.attachments = Attachments(context, self._exports)
        self.servers = Servers(context, self.attachments)
        self.volumes = Volumes(context)
        self.scrub = Scrub(context)
        self.audit = Audit(context)
        self.operations = Operations(context)
        self.events = Events(context)
        self.forecasts = Forecasts(context)
        self.capacities = Capacities(context)
        self.holds = Holds(context)
        self.nodes = Nodes(context, _node_facts(settings, drivers))
        self._errands = Errands(context, self.attachments, self._exports)
        self.reconcile = Reconcile(context, self._exports)
        self._worker = Worker(context, self._kinds(context), beat=self.nodes.beat)
        self._planner = Planner(context, self._steps(context))

    def _kinds(self, context: Context) -> Mapping[str, Work]:
        """What a worker can do."""
        return {
            "import_image": ImportImage(context),
            "delete_version": DeleteVersion(context),
            "clone_volume": CloneVolume(context, self._exports),
            "delete_volume": DeleteVolume(context),
            "scrub_volume": ScrubVolume(context),
        }

    def _steps(self, context: Context) -> Sequence[Callable[[], None]]:
        """What the planner looks after, in this order."""
        return (
            self.nodes.look,
            Takeover(context, self._exports).look,
            self.attachments.tidy,
            self.holds.tidy,
            Filling(context, self.scrub).plan_all,
            self.images.retire_unused,
            self.events.prune,
        )

    @classmethod
    def open(
        cls, settings: Settings, *, clock: Clock | None = None, drivers: Drivers | None = None
    ) -> Engine:
        """Open (and migrate) the state, connect drivers; starts nothing yet.

        ``drivers`` takes the place of those that the settings name, ``clock`` that of the
        database's or the machine's. Raises FailedPrecondition when another engine has the state
        folder.
        """
        _make_folder(settings.state_dir)
        lock = HostLock(settings.state_dir / "engine.lock")
        lock.acquire()
        try:
            return cls(settings, lock=lock, clock=clock, drivers=drivers or Drivers(settings))
        except BaseException:
            lock.release()
            raise

    @property
    def orphans(self) -> Orphans:
        """The quarantine of what no row accounts for."""
        return self.reconcile.orphans

    def _on_record(self, storage: str) -> Collection[str]:
        """The objects that should be on a storage of this node's for certain."""
        place = "" if self._drivers.is_hostless(storage) else self._state.node
        with self._state.read() as session:
            return drift.rows_of_storage(session, storage=storage, node=place).resting_names()

    def start(self) -> None:
        """Start the background threads: first what a crash left, then the controllers.

        Raises FailedPrecondition when another machine has this node's name.
        """
        if self._state.is_behind:
            set_aside(self._state, why="the database is older than what this host noted of it")
        self.nodes.join()
        self._exports.start()
        self._errands.start()
        self._worker.start()
        self._planner.start()
        self.reconcile.start()

    def close(self) -> None:
        """Stop background work at the next safe point and close the state; exports stay."""
        self.reconcile.stop()
        self._planner.stop()
        self._errands.stop()
        self._worker.stop()
        self._exports.stop()
        self._drivers.close()
        self._state.close()
        self._lock.release()

    def info(self) -> EngineFacts:
        """What this engine is."""
        with self._state.read() as session:
            return EngineFacts(
                version=__version__,
                node=self._settings.node,
                engine_id=self._state.engine_id,
                started_at=self._started_at,
                storages=self._drivers.storage_facts(),
                fabrics=self._drivers.fabric_facts(),
                import_roots=tuple(str(root) for root in self._settings.import_roots),
                **asdict(totals(session)),
            )


def _node_facts(settings: Settings, drivers: Drivers) -> NodeFacts:
    return NodeFacts(
        name=settings.node,
        machine=machine.identity(settings.state_dir),
        version=__version__,
        listen=settings.listen,
        storages=tuple(sorted(settings.storages)),
        hostless=drivers.hostless_storages(),
        fabrics=tuple(sorted(settings.fabrics)),
        abilities=_abilities(settings, drivers),
    )


def _abilities(settings: Settings, drivers: Drivers) -> Mapping[str, StorageAbilities]:
    found = {}
    for name in settings.storages:
        # one that is away describes itself when the node starts again
        with contextlib.suppress(ClonepoolError):
            found[name] = drivers.abilities(name)
    return found


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except PermissionError:
        text = (
            f"the state folder {folder} can't be made by this user; give one that can "
            "(--state-dir or CLONEPOOL_STATE_DIR)"
        )
        raise PermissionDenied(text, reason="STATE_DIR") from None

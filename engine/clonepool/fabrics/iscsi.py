"""The iSCSI fabric, served by tgt: a target for each export, made before anybody may see it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from clonepool.config import DriverSettings
from clonepool.domain.model import ConnectedVolume, Connection
from clonepool.errors import (
    ClonepoolError,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from clonepool.fabrics.access_log import AccessLog
from clonepool.fabrics.base import (
    Access,
    DesiredExport,
    ExportSpec,
    Fabric,
    FabricCapabilities,
    FabricSession,
    Lun,
)
from clonepool.fabrics.iscsi_names import (
    check_chap,
    check_initiator,
    check_iqn_prefix,
    target_iqn,
    wwn_of,
)
from clonepool.fabrics.iscsi_repair import MOST_LISTED, TargetRepair, listed
from clonepool.fabrics.iscsi_target import TargetWork
from clonepool.fabrics.locks import NamedLocks
from clonepool.fabrics.options import Options
from clonepool.fabrics.target_table import LUN_NUMBERS, TargetState, TargetTable, wanted_luns
from clonepool.fabrics.tgt import Tgt, TgtAway, TgtCode, TgtError
from clonepool.fabrics.tgt_show import ShownTarget
from clonepool.fabrics.tgtd import ForeignTgtd, OwnTgtd, RunningTgtd, TgtdSource
from clonepool.fabrics.tids import TargetIds

_PORTAL: Final = re.compile(r"(\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:]+\]|[A-Za-z0-9.-]+):(\d{1,5})")
_ANY_ADDRESS: Final = ("0.0.0.0", "[::]")  # noqa: S104 - compared with, not bound to
_OUT_OF_MEMORY: Final = frozenset({TgtCode.NO_MEMORY, TgtCode.TOO_MANY_USER})
# what this driver was tried with on one tgtd; beyond it a listing takes more than some seconds
_DEFAULT_MAX_TARGETS: Final = 4000

ISCSI_OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "portal": "address:port that our tgtd listens on (default 127.0.0.1:0, a free port kept)",
        "advertise": "address:port[,...] that servers are told, where it differs from portal",
        "socket": "management socket of a tgtd that runs already (needs advertise)",
        "iqn_prefix": "beginning of target names (default iqn.2026-01.io.clonepool)",
        "max_targets": f"exports on this tgtd at most (default {_DEFAULT_MAX_TARGETS})",
        "revoke_timeout": "how long sessions may take to end (default 10s)",
    }
)


@dataclass(frozen=True, kw_only=True)
class IscsiSettings:
    """The options of this fabric, read."""

    prefix: str
    advertise: tuple[str, ...]
    max_targets: int
    revoke_timeout_s: float


@dataclass(frozen=True, kw_only=True)
class _Live:
    """What is known of one run of tgtd; another run begins with nothing."""

    running: RunningTgtd
    tgt: Tgt
    table: TargetTable
    work: TargetWork
    log: AccessLog


def _client(running: RunningTgtd) -> Tgt:
    return Tgt(address=running.address, pid=running.pid)


class IscsiFabric(Fabric):
    """Exports over iSCSI: LUN 1 is the shared read-only volume, LUN 2 the server's own.

    A verb raises Unavailable when tgtd is away or was restarted; then ``incarnation`` starts or
    finds it again and ``reconcile`` makes the exports anew. One server's session is never touched
    by work on another target.
    """

    def __init__(
        self,
        *,
        settings: IscsiSettings,
        source: TgtdSource,
        state_dir: Path,
        client: Callable[[RunningTgtd], Tgt] = _client,
    ) -> None:
        self._settings = settings
        self._source = source
        self._state_dir = state_dir
        self._client = client
        self._locks = NamedLocks()
        self._loading = threading.Lock()
        self._current: _Live | None = None

    @classmethod
    def open(
        cls,
        settings: DriverSettings,
        *,
        state_dir: Path,
        client: Callable[[RunningTgtd], Tgt] = _client,
    ) -> IscsiFabric:
        """Read the options; tgtd is started or asked at the first verb.

        ``client`` speaks to it; tests put one that fails on demand in its place.
        """
        options = Options(settings, known=ISCSI_OPTIONS)
        read = read_settings(options)
        source = _source(options, read, state_dir)
        return cls(settings=read, source=source, state_dir=state_dir, client=client)

    def capabilities(self) -> FabricCapabilities:
        """CHAP, sessions, and a read-only LUN; starts nothing."""
        return FabricCapabilities(
            chap=True,
            needs_initiator=True,
            read_only_enforced_by="lun",
            sees_sessions=True,
            notes=f"tgt, at most {self._settings.max_targets} exports; a CHAP user name can be "
            "in use by one export at a time",
        )

    def incarnation(self) -> str:
        """Boot, process id and start time of tgtd; starts our own one when it died."""
        running = self._source.ensure()
        with self._loading:
            current = self._current
            if current is not None and current.running.incarnation != running.incarnation:
                current.log.close()
                self._current = None
        return running.incarnation

    def export(self, spec: ExportSpec) -> None:
        """Make the target, five requests. Present with other LUNs: made anew, ending access.

        Raises ResourceExhausted at the limit ``max_targets``, FailedPrecondition for a path that
        tgtd can't open.
        """
        with self._work(spec.target) as (work, table):
            state = work.settle(spec.target)
            if state is not None and state.luns == wanted_luns(spec):
                return
            if state is not None:
                work.delete(state)
            elif len(table) >= self._settings.max_targets:
                raise ResourceExhausted(
                    f"tgtd holds {len(table)} exports of at most {self._settings.max_targets}; "
                    "scrub or delete replicas, lower max_replicas, or raise max_targets",
                    reason="TOO_MANY_TARGETS",
                )
            work.create(spec)

    def grant(self, spec: ExportSpec, access: Access) -> Connection:
        """Admit one initiator: three requests with CHAP, none when it is admitted already.

        Another access makes the target anew. FailedPrecondition when it has other LUNs.
        """
        check_initiator(access.initiator)
        if access.chap is not None:
            check_chap(access.chap)
        with self._work(spec.target) as (work, _):
            state = _exported(work.settle(spec.target), spec)
            if not work.is_granted(state, access):
                if state.tainted or state.initiators:
                    work.delete(state)
                    state = work.create(spec)
                work.admit(state, access)
        return self.connection(spec)

    def connection(self, spec: ExportSpec) -> Connection:
        """Portals, IQN and LUNs, from the settings alone."""
        return Connection(
            fabric="iscsi",
            target=target_iqn(prefix=self._settings.prefix, target=spec.target),
            portals=self._settings.advertise or self._source.portals(),
            volumes=tuple(_connected(lun) for lun in spec.luns),
        )

    def sessions(self, target: str) -> tuple[FabricSession, ...]:
        """The servers logged in, by one cheap request."""
        live = self._live()
        state = live.table.find(target)
        if state is None:
            return ()
        with _kinds(target):
            connections = live.work.connections(state)
        return tuple(
            FabricSession(initiator=each.initiator, detail=f"from {each.address or 'unknown'}")
            for each in connections
        )

    def revoke(self, target: str) -> None:
        """Unbind the initiator and cut its sessions; the target stays, admitting nobody."""
        with self._work(target) as (work, _):
            state = work.settle(target)
            if state is not None:
                work.cut(state)

    def unexport(self, target: str) -> None:
        """Revoke, then remove the target, and its account last."""
        with self._work(target) as (work, _):
            state = work.settle(target)
            if state is not None:
                work.delete(state)

    def list(self) -> frozenset[str]:
        """Our targets as known in memory: a listing by tgtd would stop all I/O for its time."""
        return self._live().table.names()

    def refresh(self) -> frozenset[str]:
        """Compare each target with what it was made as, by one listing; put right what differs.

        Of more targets than ``MOST_LISTED`` a listing would stop all I/O for too long: then each
        is asked for by its number, which tells only whether it is there and who is logged in.
        """
        live = self._live()
        before = live.table.settled()
        shown: Mapping[str, ShownTarget] = {}
        if len(before) <= MOST_LISTED:
            with _kinds("all"):
                shown = listed(live.tgt, prefix=self._settings.prefix)
        put_right: set[str] = set()
        failures: list[ClonepoolError] = []
        for target in sorted(before.keys() | shown.keys()):
            try:
                if self._put_right(target, before.get(target), shown.get(target)):
                    put_right.add(target)
            except ClonepoolError as error:
                # one whose sessions do not end must not keep the others open to strangers
                failures.append(error)
        if failures:
            raise failures[0]
        return frozenset(put_right)

    def _put_right(
        self, target: str, before: TargetState | None, shown: ShownTarget | None
    ) -> bool:
        with self._work(target) as (work, table):
            state = table.find(target)
            if state != before:
                return False  # it was worked on meanwhile
            repair = TargetRepair(
                tgt=self._live().tgt, work=work, timeout_s=self._settings.revoke_timeout_s
            )
            if state is not None:
                return repair.put_right(state, shown)
            if shown is not None:
                repair.remove_stranger(table, target, shown)
            return shown is not None

    def reconcile(self, desired: Iterable[DesiredExport]) -> None:
        """As Fabric; one listing at most, live sessions of what is right already stay."""
        self.incarnation()
        super().reconcile(desired)

    def close(self) -> None:
        """Let go of files; exports and sessions stay, and so does a tgtd that has any."""
        with self._loading:
            idle = self._current is not None and not len(self._current.table)
            if self._current is not None:
                self._current.log.close()
            self._current = None
        if idle:
            # nothing would be cut off, and nothing would ever end it
            self._source.stop()
        self._source.close()

    def stop(self) -> None:
        """Remove all our targets, sessions and all, and end our own tgtd."""
        for target in self.list():
            self.unexport(target)
        with self._loading:
            self._current = None
        self._source.stop()

    @contextmanager
    def _work(self, target: str) -> Iterator[tuple[TargetWork, TargetTable]]:
        """Hold the target's name; after a failure tgtd is asked what the target is like."""
        with self._locks.hold(target), _kinds(target):
            live = self._live()
            try:
                yield live.work, live.table
            except TgtError:
                if (state := live.table.find(target)) is not None:
                    state.unsure = True
                raise

    def _live(self) -> _Live:
        live = self._current
        if live is None:
            with self._loading, _kinds("all"):
                live = self._current = self._current or self._load()
        return live

    def _load(self) -> _Live:
        running = self._source.ensure()
        self._state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        tgt = self._client(running)
        log = AccessLog(path=self._state_dir / "access.log", incarnation=running.incarnation)
        prefix = self._settings.prefix
        table = TargetTable.load(tgt=tgt, prefix=prefix, log=log)
        ids = TargetIds(path=self._state_dir / "next_tid")
        ids.skip_to(table.most_tid + 1)
        work = TargetWork(
            tgt=tgt,
            table=table,
            log=log,
            ids=ids,
            prefix=prefix,
            revoke_timeout_s=self._settings.revoke_timeout_s,
        )
        work.sweep()
        return _Live(running=running, tgt=tgt, table=table, work=work, log=log)


def read_settings(options: Options) -> IscsiSettings:
    """Read and check the options that don't concern tgtd itself."""
    advertised = [word.strip() for word in options.text("advertise", default="").split(",")]
    return IscsiSettings(
        prefix=check_iqn_prefix(
            options.text("iqn_prefix", default="iqn.2026-01.io.clonepool"), field="iqn_prefix"
        ),
        advertise=tuple(_check_portal(options, "advertise", word) for word in advertised if word),
        max_targets=options.whole_number(
            "max_targets", default=_DEFAULT_MAX_TARGETS, least=1, most=100_000
        ),
        revoke_timeout_s=options.duration_s("revoke_timeout", default="10s"),
    )


def _source(options: Options, settings: IscsiSettings, state_dir: Path) -> TgtdSource:
    portal = _check_portal(options, "portal", options.text("portal", default="127.0.0.1:0"))
    socket_path = options.text("socket", default="")
    if not settings.advertise and (socket_path or portal.rpartition(":")[0] in _ANY_ADDRESS):
        raise options.refuse("advertise", "say which address:port servers shall connect to")
    if socket_path:
        return ForeignTgtd(socket_path=Path(socket_path), portals=settings.advertise)
    return OwnTgtd(folder=state_dir / "tgtd", portal=portal)


def _check_portal(options: Options, name: str, text: str) -> str:
    match = _PORTAL.fullmatch(text)
    if match is None or int(match[2]) > 65535:  # noqa: PLR2004 - the last port
        raise options.refuse(name, f"{text!r} is not address:port, such as 192.0.2.10:3260")
    return text


def _exported(state: TargetState | None, spec: ExportSpec) -> TargetState:
    if state is None:
        raise NotFound(f"target {spec.target} is not exported; export it first")
    if state.luns != wanted_luns(spec):
        raise FailedPrecondition(
            f"target {spec.target} is exported with other volumes or not wholly; export it again"
        )
    return state


def _connected(lun: Lun) -> ConnectedVolume:
    return ConnectedVolume(
        role=lun.role,
        size_bytes=lun.size_bytes,
        read_only=lun.read_only,
        lun=LUN_NUMBERS[lun.role],
        serial=lun.serial,
        wwn=wwn_of(lun),
    )


@contextmanager
def _kinds(target: str) -> Iterator[None]:
    """Turn what tgtd refuses into error kinds."""
    try:
        yield
    except TgtAway as error:
        raise Unavailable(f"{error}; exports follow once it is back", retry_after_s=1.0) from None
    except TgtError as error:
        raise _kind(target, error) from None


def _kind(target: str, error: TgtError) -> ClonepoolError:
    if error.code in _OUT_OF_MEMORY:
        return ResourceExhausted(f"target {target}: {error}; tgtd is out of memory or threads")
    return Unavailable(f"target {target}: {error}; try again", retry_after_s=1.0)

"""The iSCSI fabric of the Linux kernel (LIO): no daemon, and it serves block devices."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from clonepool.config import DriverSettings
from clonepool.domain.model import ChapAccount, ConnectedVolume, Connection
from clonepool.errors import (
    ClonepoolError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from clonepool.fabrics.base import (
    Access,
    DesiredExport,
    ExportSpec,
    Fabric,
    FabricCapabilities,
    FabricSession,
    Lun,
)
from clonepool.fabrics.configfs import ConfigTree
from clonepool.fabrics.iscsi_names import (
    DEFAULT_IQN_PREFIX,
    LUN_NUMBERS,
    check_chap,
    check_initiator,
    check_iqn_prefix,
    target_iqn,
)
from clonepool.fabrics.iscsi_portals import means_any_address, read_portals
from clonepool.fabrics.lio_backstores import Backstores, naa_name, unit_serial
from clonepool.fabrics.lio_group import PortalGroup
from clonepool.fabrics.lio_kernel import LioKernel, target_tree
from clonepool.fabrics.lio_target import TargetTree
from clonepool.fabrics.locks import NamedLocks
from clonepool.fabrics.options import Options

LIO_OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "portal": "address:port[,...] that the kernel listens on (default 127.0.0.1:3260)",
        "advertise": "address:port[,...] that servers are told, where it differs from portal",
        "iqn_prefix": f"beginning of target names (default {DEFAULT_IQN_PREFIX})",
        "revoke_timeout": "how long sessions may take to end (default 10s)",
    }
)
_NO_SPACE: Final = frozenset({errno.ENOMEM, errno.ENOSPC})
_NO_RIGHT: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
# LIO takes a word that begins so as the wish to have none
_UNSETS: Final = "NULL"


@dataclass(frozen=True, kw_only=True)
class LioSettings:
    """The options of this fabric, read."""

    prefix: str
    portals: tuple[str, ...]
    advertise: tuple[str, ...]
    revoke_timeout_s: float


class LioFabric(Fabric):
    """Exports by the kernel: LUN 1 is the shared read-only volume, LUN 2 the server's own.

    Nothing is kept here: what exists is read from the kernel's own tree, which forgets all at a
    reboot; then ``incarnation`` differs and ``reconcile`` makes the exports anew. What does not
    bear our prefix is never looked into.
    """

    def __init__(self, *, settings: LioSettings, state_dir: Path, tree: ConfigTree) -> None:
        self._settings = settings
        self._kernel = LioKernel(tree=tree, prefix=settings.prefix, folder=state_dir)
        self._backstores = Backstores(tree=tree, prefix=settings.prefix)
        self._targets = TargetTree(
            tree=tree,
            backstores=self._backstores,
            prefix=settings.prefix,
            portals=settings.portals,
            revoke_timeout_s=settings.revoke_timeout_s,
        )
        self._locks = NamedLocks()

    @classmethod
    def open(
        cls, settings: DriverSettings, *, state_dir: Path, tree: ConfigTree | None = None
    ) -> LioFabric:
        """Read the options; the kernel is asked at the first verb.

        ``tree`` changes its configuration; tests put one that fails on demand in its place.
        """
        read = read_settings(Options(settings, known=LIO_OPTIONS))
        return cls(settings=read, state_dir=state_dir, tree=tree or target_tree())

    def capabilities(self) -> FabricCapabilities:
        """CHAP, sessions, and a write-protected LUN; asks nothing."""
        return FabricCapabilities(
            chap=True,
            needs_initiator=True,
            read_only_enforced_by="lun",
            sees_sessions=True,
            notes="the kernel's iSCSI target (LIO), needs root; servers that share a read-only "
            "block device feel each other's LUN resets",
        )

    def incarnation(self) -> str:
        """Boot and marker; loads LIO where it is not. Raises FailedPrecondition without it."""
        with _kinds("all"):
            return self._kernel.incarnation()

    def export(self, spec: ExportSpec) -> None:
        """Make the target, closed. Present with other LUNs: made anew, ending access.

        Raises FailedPrecondition for a path that can't be opened, and leaves nothing of it then.
        """
        with self._work(spec.target) as targets:
            targets.export(spec)

    def grant(self, spec: ExportSpec, access: Access) -> Connection:
        """Admit one initiator. Another access before: its sessions end first.

        Raises NotFound for an absent target, FailedPrecondition when it has other LUNs.
        """
        check_initiator(access.initiator)
        if access.chap is not None:
            _check_chap(access.chap)
        with self._work(spec.target) as targets:
            targets.grant(_exported(targets, spec), spec, access)
        return self.connection(spec)

    def connection(self, spec: ExportSpec) -> Connection:
        """Portals, IQN and LUNs, from the settings alone."""
        return Connection(
            fabric="iscsi",
            target=target_iqn(prefix=self._settings.prefix, target=spec.target),
            portals=self._settings.advertise or self._settings.portals,
            volumes=tuple(_connected(lun) for lun in spec.luns),
        )

    def sessions(self, target: str) -> tuple[FabricSession, ...]:
        """The servers logged in."""
        with self._work(target) as targets:
            return targets.sessions(target)

    def revoke(self, target: str) -> None:
        """Close the target for its initiator, for good; the target stays."""
        with self._work(target) as targets:
            targets.revoke(target)

    def unexport(self, target: str) -> None:
        """Revoke, then remove the target and its backstores."""
        with self._work(target) as targets:
            targets.remove(target)

    def list(self) -> frozenset[str]:
        """Our targets, as the kernel has them now."""
        self.incarnation()
        with _kinds("all"):
            return self._targets.names()

    def refresh(self) -> None:
        """Remove what a crash left beside the targets, which are always listed as they are."""
        self.incarnation()
        with _kinds("all"):
            folders = self._targets.folders()
        for target in folders:
            with self._work(target) as targets:
                targets.sweep(target)
        with _kinds("all"):
            self._backstores.sweep()

    def reconcile(self, desired: Iterable[DesiredExport]) -> None:
        """As Fabric; live sessions of what is right already stay."""
        self.refresh()
        super().reconcile(desired)

    def close(self) -> None:
        """Exports and sessions stay; without any, nothing of ours is left in the kernel."""
        with suppress(ClonepoolError), _kinds("all"):
            if self._kernel.is_begun and not self._targets.names():
                self._backstores.sweep()
                self._backstores.end()
                self._kernel.end()

    def stop(self) -> None:
        """Remove all our targets, sessions and all."""
        for target in self.list():
            self.unexport(target)
        self.close()

    @contextmanager
    def _work(self, target: str) -> Iterator[TargetTree]:
        """Hold the target's name, with the kernel ready for it."""
        self.incarnation()
        with self._locks.hold(target), _kinds(target):
            yield self._targets


def read_settings(options: Options) -> LioSettings:
    """Read and check the options. Raises InvalidArgument."""
    portals = read_portals(options, "portal", default="127.0.0.1:3260")
    advertise = read_portals(options, "advertise", default="")
    if not portals:
        raise options.refuse("portal", "needs at least one address:port")
    for portal in portals:
        if not portal[0].isdigit() and not portal.startswith("["):
            raise options.refuse(
                "portal", f"{portal!r} must be an IP address: a kernel asks no DNS"
            )
        if portal.endswith(":0"):
            raise options.refuse("portal", "the kernel chooses no port by itself; give one")
    if not advertise and any(means_any_address(portal) for portal in portals):
        raise options.refuse("advertise", "say which address:port servers shall connect to")
    prefix = options.text("iqn_prefix", default=DEFAULT_IQN_PREFIX)
    return LioSettings(
        prefix=check_iqn_prefix(prefix, field="iqn_prefix"),
        portals=portals,
        advertise=advertise,
        revoke_timeout_s=options.duration_s("revoke_timeout", default="10s"),
    )


def _check_chap(account: ChapAccount) -> None:
    check_chap(account)
    for field, word in (("chap.username", account.username), ("chap.secret", account.secret)):
        if word.startswith(_UNSETS):
            raise InvalidArgument.field(field, f"must not begin with {_UNSETS} on LIO")


def _exported(targets: TargetTree, spec: ExportSpec) -> PortalGroup:
    group = targets.find(spec.target)
    if group is None:
        raise NotFound(f"target {spec.target} is not exported; export it first")
    if group.luns and not targets.has_luns(group, spec):
        raise FailedPrecondition(
            f"target {spec.target} is exported with other volumes or not wholly; export it again"
        )
    return group


def _connected(lun: Lun) -> ConnectedVolume:
    return ConnectedVolume(
        role=lun.role,
        size_bytes=lun.size_bytes,
        read_only=lun.read_only,
        lun=LUN_NUMBERS[lun.role],
        serial=unit_serial(lun.serial),
        wwn=naa_name(lun.serial),
    )


@contextmanager
def _kinds(target: str) -> Iterator[None]:
    """Turn what the kernel refuses into error kinds."""
    try:
        yield
    except OSError as error:
        raise _kind(target, error) from None


def _kind(target: str, error: OSError) -> ClonepoolError:
    text = f"target {target}: LIO refused {error.filename}: {error.strerror}"
    if error.errno in _NO_SPACE:
        return ResourceExhausted(f"{text}; the kernel is out of memory")
    if error.errno in _NO_RIGHT:
        return FailedPrecondition(f"{text}; run the engine as root")
    return Unavailable(f"{text}; the kernel's log says more, try again", retry_after_s=1.0)

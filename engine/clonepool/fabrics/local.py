"""The local fabric: the volumes as paths on the engine's own host."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Final

from clonepool.config import DriverSettings
from clonepool.domain.model import ConnectedVolume, Connection
from clonepool.domain.states import PortionRole
from clonepool.errors import FailedPrecondition, NotFound, Unavailable
from clonepool.fabrics.base import (
    Access,
    ExportSpec,
    Fabric,
    FabricCapabilities,
    FabricSession,
    Lun,
)
from clonepool.fabrics.bind_mount import bind_read_only, is_mount, is_read_only_mount, unmount
from clonepool.fabrics.holders import find_holders, identity, is_held
from clonepool.fabrics.iscsi_names import check_target
from clonepool.fabrics.locks import NamedLocks
from clonepool.fabrics.options import Options
from clonepool.fabrics.processes import boot_id
from clonepool.fabrics.served_files import inode_of

LOCAL_OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "read_only": "auto, bind (a read-only bind mount, needs root) or mode (the image's own "
        "mode 0400, which does not stop root); auto takes bind where it can",
    }
)
_WRITABLE: Final = str(PortionRole.WRITABLE)
_READ_ONLY: Final = str(PortionRole.READ_ONLY)
_UNSEEN: Final = "a mount, or a process that this user can't see"


class LocalFabric(Fabric):
    """An export is a folder 0700; granting puts ``writable`` and ``read_only`` into it.

    Whoever runs as the engine's user or root on this host can open them: there are no initiators
    and no CHAP. Revoking takes the paths away, but a descriptor that a process still has can't be
    cut. Then ``revoke`` raises Unavailable, naming the processes, until they close it; so the
    volume is not released, let alone scrubbed, while anybody can write to it.
    """

    def __init__(self, *, state_dir: Path, read_only: str = "auto") -> None:
        self._exports = state_dir / "exports"
        # a revoked volume's name is kept here until its holders are gone, so that a restarted
        # engine still knows which file to ask the kernel about
        self._revoking = state_dir / "revoking"
        self._read_only = read_only
        self._locks = NamedLocks()

    @classmethod
    def open(cls, settings: DriverSettings, *, state_dir: Path) -> LocalFabric:
        """Read the options; touches nothing yet."""
        options = Options(settings, known=LOCAL_OPTIONS)
        choices = ("auto", "bind", "mode")
        chosen = options.choice("read_only", default="auto", choices=choices)
        return cls(state_dir=state_dir, read_only=chosen)

    def capabilities(self) -> FabricCapabilities:
        """How far read-only goes depends on whether this process may mount; tried once."""
        bind = self._binds
        return FabricCapabilities(
            chap=False,
            needs_initiator=False,
            read_only_enforced_by="bind" if bind else "mode",
            sees_sessions=True,
            notes="paths on this host, for the engine's user and root; an open file can't be cut "
            "off, its volume stays in detaching until it is closed"
            + ("" if bind else "; mode 0400 does not stop root from writing the shared copy"),
        )

    def incarnation(self) -> str:
        """Bind mounts end with the boot, and are seen in this mount namespace only."""
        return f"{boot_id()}/{os.readlink('/proc/self/ns/mnt')}"

    def export(self, spec: ExportSpec) -> None:
        """Make the folder, with nothing in it. Refuses what has no path, before it is asked for."""
        for lun in spec.luns:
            lun.path  # noqa: B018 - raises
        with self._locks.hold(spec.target):
            _make_folder(self._folder(spec.target))

    def grant(self, spec: ExportSpec, access: Access) -> Connection:
        """Put the volumes into the folder. Other volumes than before: revokes first."""
        if access.chap is not None:
            raise FailedPrecondition("the local fabric has no CHAP; set chap mode none")
        with self._locks.hold(spec.target):
            folder = self._folder(spec.target)
            if not folder.is_dir():
                raise NotFound(f"target {spec.target} is not exported; export it first")
            wanted = {str(lun.role): lun for lun in spec.luns}
            if any(not _is_placed(folder, name, wanted) for name in os.listdir(folder)):
                self._revoke(spec.target)
            for name, lun in wanted.items():
                self._place(folder / name, lun)
        return self.connection(spec)

    def connection(self, spec: ExportSpec) -> Connection:
        """The paths, whether granted or not."""
        folder = self._folder(spec.target)
        return Connection(
            fabric="local",
            target=spec.target,
            portals=(),
            volumes=tuple(
                ConnectedVolume(
                    role=lun.role,
                    size_bytes=lun.size_bytes,
                    read_only=lun.read_only,
                    path=str(folder / str(lun.role)),
                    serial=lun.serial,
                    wwn=lun.wwn,
                )
                for lun in spec.luns
            ),
        )

    def sessions(self, target: str) -> tuple[FabricSession, ...]:
        """The processes that hold the writable volume, or the read-only one through its bind."""
        with self._locks.hold(target):
            return self._holders(target)

    def revoke(self, target: str) -> None:
        """Take the paths away. Raises Unavailable while a process holds one of the files."""
        with self._locks.hold(target):
            self._revoke(target)

    def unexport(self, target: str) -> None:
        """Revoke, then remove the folder."""
        with self._locks.hold(target):
            self._revoke(target)
            with suppress(FileNotFoundError):
                self._folder(target).rmdir()

    def list(self) -> frozenset[str]:
        """The folders, and what is being revoked."""
        names: set[str] = set()
        for parent in (self._exports, self._revoking):
            with suppress(FileNotFoundError):
                names.update(os.listdir(parent))
        return frozenset(names)

    def astray(self, volumes: Mapping[str, Path | None]) -> Mapping[str, str]:
        """As Fabric; a hard link keeps the file that it was made of."""
        placed = {target: self._folder(target) / _WRITABLE for target in volumes}
        return {
            target: str(at)
            for target, at in placed.items()
            if not at.is_symlink() and inode_of(at) not in (None, inode_of(volumes[target]))
        }

    def _folder(self, target: str) -> Path:
        return self._exports / check_target(target)

    @cached_property
    def _binds(self) -> bool:
        if self._read_only == "mode":
            return False
        works = os.geteuid() == 0 and _can_bind(self._exports)
        if self._read_only == "bind" and not works:
            raise FailedPrecondition(
                "option read_only=bind needs root and the right to mount; run the engine so, "
                "or set read_only=mode"
            )
        return works

    def _place(self, at: Path, lun: Lun) -> None:
        if not lun.path.exists():
            raise FailedPrecondition(f"{lun.path} is not there; it can't be attached")
        if at.is_symlink() or (at.exists() and not lun.read_only) or is_read_only_mount(at):
            return
        if not lun.read_only:
            _link(lun.path, at)
        elif self._binds:
            unmount(at)  # a crash may have left a mount that is not read-only yet
            at.touch(mode=0o400)
            bind_read_only(source=lun.path, at=at)
        else:
            at.symlink_to(lun.path)

    def _revoke(self, target: str) -> None:
        folder, aside = self._folder(target), self._revoking / target
        writable = folder / _WRITABLE
        if os.path.lexists(writable):
            _make_folder(aside)
            os.replace(writable, aside / _WRITABLE)
            # two names of one inode: then the kernel's rename does nothing
            writable.unlink(missing_ok=True)
        self._remove_read_only(folder / _READ_ONLY, target)
        if holders := self._holders(target):
            raise _still_open(target, holders)
        with suppress(FileNotFoundError):
            (aside / _WRITABLE).unlink(missing_ok=True)
            aside.rmdir()

    def _remove_read_only(self, at: Path, target: str) -> None:
        if not os.path.lexists(at):
            return
        try:
            while _is_bound(at):
                unmount(at)
        except OSError as error:
            raise _still_open(target, self._holders(target), error) from None
        at.unlink()

    def _holders(self, target: str) -> tuple[FabricSession, ...]:
        folder, aside = self._folder(target), self._revoking / target
        held, unknown = _held_inodes((folder / _WRITABLE, aside / _WRITABLE))
        read_only = folder / _READ_ONLY
        bound = frozenset({os.path.realpath(read_only)}) if _is_bound(read_only) else frozenset()
        if not held and not bound:
            return ()
        found = tuple(
            FabricSession(initiator="", detail=f"process {holder.pid} ({holder.program})")
            for holder in find_holders(inodes=held, paths=bound)
        )
        if not found and held - unknown:
            return (FabricSession(initiator="", detail=_UNSEEN),)
        return found


def _held_inodes(
    paths: tuple[Path, ...],
) -> tuple[frozenset[tuple[int, int]], frozenset[tuple[int, int]]]:
    """The inodes that are or may be held, and those of them that only may be."""
    held, unknown = set(), set()
    for path in paths:
        with suppress(FileNotFoundError):
            answer, found = is_held(path), identity(os.stat(path))
            if answer is not False:
                held.add(found)
            if answer is None:
                unknown.add(found)
    return frozenset(held), frozenset(unknown)


def _is_placed(folder: Path, name: str, wanted: Mapping[str, Lun]) -> bool:
    """Whether what stands in the folder under this name is the wanted volume."""
    if name not in wanted:
        return False
    try:
        same = os.path.samestat(os.stat(folder / name), os.stat(wanted[name].path))
    except FileNotFoundError:
        return False
    # an empty file that waits for its mount is not another volume
    return same or (name == _READ_ONLY and not is_mount(folder / name))


def _is_bound(path: Path) -> bool:
    return os.path.lexists(path) and not path.is_symlink() and is_mount(path)


def _link(volume: Path, at: Path) -> None:
    """A hard link leaves nothing to follow; across file systems, and for devices, a symlink."""
    if stat.S_ISREG(volume.stat().st_mode):
        try:
            os.link(volume, at)
        except OSError:
            pass
        else:
            return
    at.symlink_to(volume)


def _make_folder(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)


def _can_bind(parent: Path) -> bool:
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with TemporaryDirectory(dir=parent.parent, prefix="bind-probe-") as name:
        source, at = Path(name) / "source", Path(name) / "at"
        source.touch()
        at.touch()
        try:
            bind_read_only(source=source, at=at)
        except OSError:
            return False
        unmount(at)
    return True


def _still_open(
    target: str, holders: tuple[FabricSession, ...], error: OSError | None = None
) -> Unavailable:
    names = ", ".join(holder.detail for holder in holders) or f"{error}"
    return Unavailable(
        f"the volumes of {target} are still held by {names}; its paths are gone, close or end "
        "that and the release goes on",
        reason="VOLUME_HELD",
        retry_after_s=1.0,
    )

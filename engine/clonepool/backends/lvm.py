"""Volumes as logical volumes of one LVM thin pool: clones are thin snapshots of their image."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final, Self

from clonepool.backends.base import (
    BackendCapabilities,
    ObjectInfo,
    Progress,
    Space,
    StorageBackend,
    no_progress,
)
from clonepool.backends.device_mapper import SECTOR_BYTES
from clonepool.backends.lvm_device import (
    copy_device,
    discard,
    fill_from_file,
    opened_device,
    overwrite_with_zeros,
    read_device,
)
from clonepool.backends.lvm_errors import lvm_errors
from clonepool.backends.lvm_group import Kind, LogicalVolume
from clonepool.backends.lvm_objects import LvmObjects
from clonepool.backends.lvm_pool import ThinPool
from clonepool.backends.lvm_settings import LVM_OPTIONS, LvmSettings, read_lvm_settings
from clonepool.backends.names import NameLocks, check_object_name
from clonepool.domain.location import HostPath, LocationKind
from clonepool.domain.model import SystemUser
from clonepool.domain.states import CloneMode, ScrubMethod
from clonepool.errors import (
    AlreadyExists,
    ClonepoolError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)
from clonepool.sparse import data_bytes

_CLONES: Final[Mapping[Kind, CloneMode]] = {
    Kind.THIN: CloneMode.THIN,
    Kind.FULL: CloneMode.FULL,
}
_IGNORES_DISCARDS: Final = "ignore"
_ERASURE_NOTE: Final = (
    "NIST SP 800-88 'clear', and at the logical level only: nothing written before reads back "
    "through Clonepool, since the thin pool zeroes a block before it gives it to another volume. "
    "reformat and discard give the blocks back to the pool, and they keep their bytes on the "
    "medium until the pool uses them again. zero overwrites in place the blocks the volume holds "
    "at that time; blocks it gave up before (discards of the server's own), and a disk's spare "
    "blocks, are out of reach. Blocks shared with the image hold only the image's bytes. Where the "
    "medium itself must be clear, encrypt it below the volume group."
)


class LvmBackend(StorageBackend):
    """Objects are thin volumes with our prefix and our tags; nothing else is touched. Thread-safe.

    A volume's device is its size in whole extents. Opening removes what a killed process left
    unfinished and activates what a reboot left inactive, so only the process that holds the
    engine's host lock may open; ``probe`` looks without touching. Needs root.
    """

    OPTIONS: ClassVar[Mapping[str, str]] = LVM_OPTIONS

    def __init__(self, settings: LvmSettings) -> None:
        _expect_root(settings)
        self._settings = settings
        self._names = NameLocks()
        self._objects = LvmObjects(settings)
        with self._errors(f"opening thin pool {settings.pool}"):
            facts = self._objects.open()
        self._chunk_bytes = facts.chunk_bytes
        self._discards = facts.discards != _IGNORES_DISCARDS
        self._pool = ThinPool(settings, chunk_bytes=facts.chunk_bytes)

    @classmethod
    def from_options(cls, options: Mapping[str, str], *, default_directory: Path) -> Self:
        """Open what the options name; nothing lies in ``default_directory``."""
        del default_directory
        return cls(read_lvm_settings(options))

    @staticmethod
    def probe(options: Mapping[str, str]) -> Space:
        """Look whether these options could be opened now; changes nothing, raises as opening."""
        settings = read_lvm_settings(options)
        _expect_root(settings)
        with lvm_errors(doing=f"looking at thin pool {settings.pool}", settings=settings):
            facts, _found = LvmObjects(settings).group.look()
            pool = ThinPool(settings, chunk_bytes=facts.chunk_bytes)
            pool.check()
            return pool.space()

    def capabilities(self) -> BackendCapabilities:
        """Thin; discarding where the pool lets discards through."""
        methods = {ScrubMethod.REFORMAT, ScrubMethod.ZERO}
        if self._discards:
            methods.add(ScrubMethod.DISCARD)
        return BackendCapabilities(
            thin_clones=True,
            thin_reason=f"thin snapshots in {self._settings.pool}",
            scrub_methods=frozenset(methods),
            erasure_note=_ERASURE_NOTE,
            deletes_open=False,
            location_kind=LocationKind.BLOCK,
        )

    def space(self) -> Space:
        """The pool's data, and what of it may be filled below the watermarks."""
        with self._errors("reading the free space"):
            return self._pool.space()

    def check(self) -> None:
        """As StorageBackend; one question to the kernel."""
        with self._errors("looking at the storage"):
            self._pool.check()

    def import_image(
        self,
        *,
        name: str,
        source: Path,
        system_user: SystemUser | None = None,  # noqa: ARG002 - one pool holds everybody's
        progress: Progress = no_progress,
    ) -> None:
        """Copy ``source`` into a thin volume that is read-only from then on; the file stays."""
        check_object_name(name)
        doing = f"importing image {name}"
        with self._names.hold(name), self._errors(doing):
            found = self._objects.remembered(name)
            if found is not None:
                _expect_image(found)
                return
            with _opened_source(source) as descriptor:
                self._pool.check(doing=doing, needed_bytes=data_bytes(descriptor))
                found = self._make_filled(
                    _new(name, Kind.IMAGE, size_bytes=os.fstat(descriptor).st_size),
                    lambda target: fill_from_file(
                        source=descriptor,
                        target=target,
                        chunk_bytes=self._chunk_bytes,
                        progress=progress,
                    ),
                )
            _expect_image(found)

    def clone(
        self, *, image: str, name: str, mode: CloneMode, progress: Progress = no_progress
    ) -> CloneMode:
        """Snapshot ``image``, or copy it into a thin volume that shares no block with it."""
        check_object_name(image)
        check_object_name(name)
        doing = f"cloning image {image} to {name}"
        with self._names.hold(name), self._errors(doing):
            found = self._objects.remembered(name)
            if found is not None:
                return _existing_clone(found)
            source = self._get_image(image)
            if mode is CloneMode.FULL:
                self._pool.check(doing=doing, needed_bytes=self._describe(source).used_bytes)
                return self._copy(source, name=name, progress=progress)
            self._pool.check(doing=doing)
            progress(source.size_bytes)
            volume = replace(
                source,
                name=name,
                kind=Kind.THIN,
                read_only=False,
                origin=self._objects.group.volume(image),
            )
            found = self._objects.make(
                volume, lambda: self._objects.group.snapshot(name, image=source)
            )
            return _existing_clone(found or volume)

    def erase(self, *, name: str, method: ScrubMethod, progress: Progress = no_progress) -> None:
        """Overwrite, or give back, the whole device; a repetition starts over."""
        check_object_name(name)
        self._check_erase_method(method)
        with self._names.hold(name), self._errors(f"erasing {name} by {method}"):
            found = self._objects.get(name)
            if found.kind is Kind.IMAGE:
                raise FailedPrecondition(f"{name} is an image, which is deleted, not erased")
            path = self._objects.active_path(name)
            with opened_device(path, writable=True) as descriptor:
                self._erase(descriptor, name=name, method=method, progress=progress)
            progress(found.device_bytes)

    def read(self, *, name: str, offset: int, length: int) -> bytes:
        """Past the page cache, from the pool's blocks."""
        check_object_name(name)
        with self._errors(f"reading {name}"):
            path = self._objects.active_path(name)
            size_bytes = self._objects.get(name).size_bytes
            with opened_device(path, writable=False) as descriptor:
                length = max(0, min(length, size_bytes - offset))
                return read_device(descriptor, offset=offset, length=length)

    def delete(self, *, name: str) -> None:
        """Remove the logical volume. Raises Unavailable, naming the holders, while it is open."""
        check_object_name(name)
        with self._names.hold(name), self._errors(f"deleting {name}"):
            self._objects.remove(name)

    def stat(self, *, name: str) -> ObjectInfo:
        """Describe one object, by the kernel's figures of its device."""
        check_object_name(name)
        with self._errors(f"looking at {name}"):
            return self._describe(self._objects.get(name))

    def own_bytes(self, *, name: str) -> int:
        """What it holds beyond what its image holds, which it may share; all, of a full clone.

        A thin one whose image is gone may share with others of it: 0, since the pool can't tell.
        """
        check_object_name(name)
        with self._errors(f"looking at {name}"):
            found = self._objects.get(name)
            held = self._describe(found)
            shared_bytes = 0
            if found.kind is Kind.THIN:
                image = self._objects.remembered(found.origin.removeprefix(self._settings.prefix))
                shared_bytes = self._describe(image).used_bytes if image else held.used_bytes
            return max(0, min(held.used_bytes - shared_bytes, held.size_bytes))

    def list(self) -> Iterator[ObjectInfo]:
        """Every finished one that LVM has now; what is not active counts as using nothing."""
        with self._errors(f"listing {self._settings.pool}"):
            return iter([self._describe(found) for found in self._objects.all()])

    def location(self, *, name: str) -> HostPath:
        """The device node; nothing is spawned while the device is there."""
        check_object_name(name)
        with self._errors(f"looking for {name}"):
            return HostPath(path=self._objects.active_path(name), kind=LocationKind.BLOCK)

    def _copy(self, source: LogicalVolume, *, name: str, progress: Progress) -> CloneMode:
        path = self._objects.active_path(source.name)
        volume = replace(source, name=name, kind=Kind.FULL, read_only=False)

        def fill(target: int) -> None:
            with opened_device(path, writable=False) as descriptor:
                copy_device(
                    source=descriptor,
                    target=target,
                    end_bytes=self._mapped_end(source.name),
                    chunk_bytes=self._chunk_bytes,
                    progress=lambda done_bytes: progress(min(done_bytes, source.size_bytes)),
                )
            progress(source.size_bytes)

        return _existing_clone(self._make_filled(volume, fill))

    def _make_filled(self, volume: LogicalVolume, fill: Callable[[int], None]) -> LogicalVolume:
        """Make a thin volume with what ``fill`` writes: whole, or gone again."""
        unfinished = replace(volume, kind=Kind.UNFINISHED)
        name = volume.name
        found = self._objects.make(
            unfinished,
            lambda: self._objects.group.create(name, size_bytes=volume.size_bytes),
        )
        if found is not None:
            return found
        try:
            with opened_device(self._objects.group.path(name), writable=True) as target:
                fill(target)
            self._objects.finish(volume)
        except BaseException:
            # what can't be removed now is removed when the storage is opened, or the name is used
            with suppress(ClonepoolError):
                self._objects.remove(name)
            raise
        return volume

    def _erase(
        self, descriptor: int, *, name: str, method: ScrubMethod, progress: Progress
    ) -> None:
        if method is ScrubMethod.DISCARD:
            discard(descriptor, chunk_bytes=self._chunk_bytes, progress=progress)
            return
        os.fsync(descriptor)  # so that every byte has its block before the last is asked for
        overwrite_with_zeros(
            descriptor,
            end_bytes=self._mapped_end(name),
            chunk_bytes=self._chunk_bytes,
            progress=progress,
        )

    def _mapped_end(self, name: str) -> int:
        """The offset behind the last block that the volume has in the pool."""
        device = self._objects.device(name)
        if device is None:
            raise NotFound(f"{name} has no device", reason="NO_OBJECT")
        # "34048 1048575": the sectors that are mapped, and the highest of them, or "-"
        highest = device.status.partition(" ")[2]
        if not highest.isdigit():
            return 0 if highest == "-" else device.size_bytes
        return min((int(highest) + 1) * SECTOR_BYTES, device.size_bytes)

    def _describe(self, volume: LogicalVolume) -> ObjectInfo:
        device = self._objects.device(volume.name)
        mapped = device.status.partition(" ")[0] if device is not None else ""
        return ObjectInfo(
            name=volume.name,
            size_bytes=min(volume.size_bytes, device.size_bytes if device else volume.size_bytes),
            used_bytes=int(mapped) * SECTOR_BYTES if mapped.isdigit() else 0,
            read_only=device.read_only if device is not None else volume.read_only,
        )

    def _check_erase_method(self, method: ScrubMethod) -> None:
        if method is ScrubMethod.REFORMAT:
            raise InvalidArgument.field(
                "method", "reformat needs no erase: the volume is deleted and cloned anew"
            )
        if method is ScrubMethod.DISCARD and not self._discards:
            raise FailedPrecondition(
                f"scrub method discard does not work in {self._settings.pool}, which ignores "
                f"discards; use reformat or zero, or run `lvchange --discards passdown "
                f"{self._settings.pool}` and restart the engine",
                reason="NO_SCRUB_METHOD",
            )

    def _get_image(self, image: str) -> LogicalVolume:
        found = self._objects.get(image)
        if found.kind is not Kind.IMAGE:
            raise NotFound(f"{image} is a volume, not an image, in {self._settings.pool}")
        return found

    def _errors(self, doing: str) -> AbstractContextManager[None]:
        return lvm_errors(doing=doing, settings=self._settings)


def _expect_root(settings: LvmSettings) -> None:
    if os.geteuid() != 0:
        raise PermissionDenied(
            f"the engine's user (uid {os.geteuid()}) can't use thin pool {settings.pool}: LVM "
            "needs root; run the engine as root, or use driver file",
            reason="STORAGE_FORBIDDEN",
        )


def _new(name: str, kind: Kind, *, size_bytes: int) -> LogicalVolume:
    return LogicalVolume(
        name=name,
        kind=kind,
        size_bytes=size_bytes,
        device_bytes=size_bytes,
        read_only=kind is Kind.IMAGE,
    )


def _expect_image(found: LogicalVolume) -> None:
    if found.kind is not Kind.IMAGE:
        raise AlreadyExists(f"{found.name} is a volume on this storage; import under another name")


def _existing_clone(found: LogicalVolume) -> CloneMode:
    if found.kind is Kind.IMAGE:
        raise AlreadyExists(f"{found.name} is an image on this storage; clone to another name")
    return _CLONES[found.kind]


@contextmanager
def _opened_source(source: Path) -> Iterator[int]:
    try:
        facts = os.lstat(source)
    except FileNotFoundError:
        raise NotFound(f"the file to import, {source}, is not there") from None
    if not stat.S_ISREG(facts.st_mode) or facts.st_size == 0:
        raise InvalidArgument(f"the file to import, {source}, is not a regular file with content")
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)

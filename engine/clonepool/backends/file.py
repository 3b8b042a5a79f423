"""Volumes as files in one directory: reflinks where the file system has them, else copies."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar, Final, Self

from clonepool.backends.base import (
    LOSS_FILE,
    BackendCapabilities,
    ObjectInfo,
    Progress,
    Space,
    StorageBackend,
    no_progress,
)
from clonepool.backends.directory import Place, StorageDirectory, destroy_file
from clonepool.backends.file_erase import discard, overwrite_with_zeros, unshared_bytes
from clonepool.backends.file_probe import FileSystemFacts, probe_file_system
from clonepool.backends.names import NameLocks, check_object_name
from clonepool.backends.storage_errors import no_space, storage_errors
from clonepool.domain.location import HostPath
from clonepool.domain.model import SystemUser
from clonepool.domain.states import CloneMode, ScrubMethod
from clonepool.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from clonepool.sparse import copy_sparse, data_bytes, reflink

# a file system keeps some blocks to itself, so one that is full rarely says 0
_FULL_BELOW_BYTES: Final = 2**20
_IMAGE_MODE: Final = 0o400
# what was made is dated so, in nanoseconds: whoever writes to it, by whatever clock, changes that
_MADE_AT_NS: Final = 10**9
# st_blocks counts in these, whatever the file system's own block is
_STAT_BLOCK_BYTES: Final = 512
_KINDS: Final[Mapping[Place, CloneMode]] = {
    Place.THIN: CloneMode.THIN,
    Place.FULL: CloneMode.FULL,
}
_ERASURE_NOTE: Final = (
    "NIST SP 800-88 'clear', and at the logical level only: nothing written before reads back "
    "through Clonepool. reformat and discard free the blocks, which keep their bytes until the "
    "file system uses them again. zero overwrites in place the blocks the volume holds at that "
    "time; blocks it gave up before, blocks that a copy-on-write file system or a disk wrote "
    "elsewhere, and spare blocks are out of reach. Blocks shared with the image hold only the "
    "image's bytes and are let go of. Where the medium itself must be clear, encrypt it below "
    "the file system."
)


class FileBackend(StorageBackend):
    """Objects are files under ``directory``, made there 0700 if absent. Thread-safe.

    Opening removes what a killed process left unfinished, so only the process that holds the
    engine's host lock may open; ``probe`` looks without touching.
    """

    OPTIONS: ClassVar[Mapping[str, str]] = {"path": "directory that holds images and volumes"}

    def __init__(self, *, directory: Path) -> None:
        self._files = StorageDirectory(directory)
        self._names = NameLocks()
        with storage_errors(doing="opening the storage", directory=directory):
            self._files.open()
            self._facts = probe_file_system(directory)
        self._capabilities = _capabilities(self._facts)

    @classmethod
    def from_options(cls, options: Mapping[str, str], *, default_directory: Path) -> Self:
        """Open at option ``path``, or at ``default_directory``."""
        path = Path(options.get("path", str(default_directory))).expanduser()
        if not path.is_absolute():
            raise InvalidArgument.field("path", f"{str(path)!r} is not an absolute path")
        return cls(directory=path)

    @staticmethod
    def probe(directory: Path) -> BackendCapabilities:
        """What a storage in this existing directory could do; changes nothing."""
        with storage_errors(doing="probing the storage", directory=directory):
            return _capabilities(probe_file_system(directory))

    def capabilities(self) -> BackendCapabilities:
        """As probed at open, in this very directory."""
        return self._capabilities

    def space(self) -> Space:
        """What an unprivileged writer may still use, and the file system's size."""
        self._files.verify()
        with storage_errors(doing="reading the free space", directory=self._files.root):
            figures = os.statvfs(self._files.root)
        return Space(
            total_bytes=figures.f_blocks * figures.f_frsize,
            free_bytes=figures.f_bavail * figures.f_frsize,
        )

    def check(self) -> None:
        """As StorageBackend; by the file system's flags and figures alone."""
        self._files.verify()
        with storage_errors(doing="looking at the storage", directory=self._files.root):
            figures = os.statvfs(self._files.root)
            if figures.f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            if figures.f_bavail * figures.f_frsize < _FULL_BELOW_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def import_image(
        self,
        *,
        name: str,
        source: Path,
        system_user: SystemUser | None = None,  # noqa: ARG002 - all lie together
        progress: Progress = no_progress,
    ) -> None:
        """Take ``source`` by renaming it when it is on this file system, else copy it."""
        check_object_name(name)
        with self._names.hold(name), self._errors(f"importing image {name}"):
            found = self._files.find(name)
            if found is not None:
                self._expect_image(name, found[0])
                self._files.sync(Place.IMAGES)
                return
            facts = _regular_source(source)
            # another hard link could still write to what would become the image
            same_device = facts.st_dev == os.stat(self._files.root).st_dev
            if not (same_device and facts.st_nlink == 1 and self._take(name, source, progress)):
                self._copy_image(name=name, source=source, progress=progress)

    def clone(
        self, *, image: str, name: str, mode: CloneMode, progress: Progress = no_progress
    ) -> CloneMode:
        """Reflink or copy ``image`` into a new inode; see the contract."""
        check_object_name(image)
        check_object_name(name)
        with self._names.hold(name), self._errors(f"cloning image {image} to {name}"):
            found = self._files.find(name)
            if found is not None:
                return self._existing_clone(name, found[0])
            place = self._choose_place(mode)
            with _opened(self._image_path(image), os.O_RDONLY) as source:
                self._make_clone(source=source, name=name, place=place, progress=progress)
            return _KINDS[place]

    def erase(self, *, name: str, method: ScrubMethod, progress: Progress = no_progress) -> None:
        """Overwrite or punch out the volume's blocks; a repetition starts over."""
        check_object_name(name)
        self._check_erase_method(method)
        with self._names.hold(name), self._errors(f"erasing {name} by {method}"):
            place, _facts = self._get(name)
            if place is Place.IMAGES:
                raise FailedPrecondition(f"{name} is an image, which is deleted, not erased")
            with _opened(self._files.path(place, name), os.O_RDWR) as descriptor:
                step = discard if method is ScrubMethod.DISCARD else overwrite_with_zeros
                step(descriptor, progress=progress)

    def read(self, *, name: str, offset: int, length: int) -> bytes:
        """Past the page cache, where the kernel lets go of the range: erased blocks are clean."""
        check_object_name(name)
        with self._errors(f"reading {name}"):
            place, _facts = self._get(name)
            with _opened(self._files.path(place, name), os.O_RDONLY) as descriptor:
                os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)
                return os.pread(descriptor, length, offset)

    def takes_loss(self) -> bool:
        """As StorageBackend; the file is removed, so that it holds for this time only."""
        with self._errors("looking at the storage"):
            try:
                (self._files.root / LOSS_FILE).unlink()
            except FileNotFoundError:
                return False
        return True

    def seal(self, *, name: str) -> None:
        """Date it as what was just made."""
        check_object_name(name)
        with self._names.hold(name), self._errors(f"dating {name}"):
            place, _facts = self._get(name)
            with _opened(self._files.path(place, name), os.O_RDONLY) as descriptor:
                _date(descriptor)
                os.fsync(descriptor)

    def delete(self, *, name: str) -> None:
        """Take the name away first, then empty and unlink: never a half-deleted object."""
        check_object_name(name)
        with self._names.hold(name), self._errors(f"deleting {name}"):
            found = self._files.find(name)
            if found is None:
                self._files.sync(*Place)  # the deletion may be a killed process's, not yet durable
                return
            destroy_file(self._files.retire(place=found[0], name=name))

    def stat(self, *, name: str) -> ObjectInfo:
        """Describe one object from its inode."""
        check_object_name(name)
        with self._errors(f"looking at {name}"):
            place, facts = self._get(name)
        return _describe(name, place, facts)

    def own_bytes(self, *, name: str) -> int:
        """A full clone has all its blocks to itself; of a thin one, the file system tells."""
        check_object_name(name)
        with self._errors(f"looking at {name}"):
            place, facts = self._get(name)
            if place is not Place.THIN:
                return min(facts.st_blocks * _STAT_BLOCK_BYTES, facts.st_size)
            with _opened(self._files.path(place, name), os.O_RDONLY) as descriptor:
                return unshared_bytes(descriptor)

    def list(self) -> Iterator[ObjectInfo]:
        """Every file under images/ and volumes/; one that vanishes meanwhile is left out."""
        with self._errors("listing the storage"):
            for place, entry in self._files.scan():
                try:
                    facts = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield _describe(entry.name, place, facts)

    def location(self, *, name: str) -> HostPath:
        """The object's file."""
        check_object_name(name)
        with self._errors(f"looking for {name}"):
            place, _facts = self._get(name)
        return HostPath(path=self._files.path(place, name))

    def _make_clone(self, *, source: int, name: str, place: Place, progress: Progress) -> None:
        size_bytes = os.fstat(source).st_size
        with self._files.unfinished(name) as (target, aside):
            if place is Place.THIN:
                reflink(source=source, target=target)
            else:
                self._check_space(source, doing=f"copying to {name}")
                copy_sparse(source=source, target=target, progress=progress)
            _date(target)
            # a reflink has no data of its own to write: on XFS the one sync that publishes it
            # will do, which halves a clone's time
            if place is Place.FULL or not self._facts.keeps_order:
                os.fsync(target)
            progress(size_bytes)
            self._files.publish(aside, place=place, name=name)

    def _take(self, name: str, source: Path, progress: Progress) -> bool:
        """Rename ``source`` into place; False where that can't be (two mounts of one device)."""
        with _opened(source, os.O_RDONLY | os.O_NOFOLLOW) as descriptor:
            os.fchmod(descriptor, _IMAGE_MODE)
            _date(descriptor)
            os.fsync(descriptor)
            progress(os.fstat(descriptor).st_size)
        try:
            self._files.publish(source, place=Place.IMAGES, name=name)
        except OSError as error:
            if error.errno == errno.EXDEV:
                return False
            raise
        return True

    def _copy_image(self, *, name: str, source: Path, progress: Progress) -> None:
        with (
            _opened(source, os.O_RDONLY | os.O_NOFOLLOW) as descriptor,
            self._files.unfinished(name) as (target, aside),
        ):
            self._check_space(descriptor, doing=f"importing image {name}")
            copy_sparse(source=descriptor, target=target, progress=progress)
            os.fchmod(target, _IMAGE_MODE)
            _date(target)
            os.fsync(target)
            self._files.publish(aside, place=Place.IMAGES, name=name)

    def _existing_clone(self, name: str, place: Place) -> CloneMode:
        if place is Place.IMAGES:
            raise AlreadyExists(f"{name} is an image on this storage; clone to another name")
        self._files.sync(place)
        return _KINDS[place]

    @staticmethod
    def _expect_image(name: str, place: Place) -> None:
        if place is not Place.IMAGES:
            raise AlreadyExists(f"{name} is a volume on this storage; import under another name")

    def _choose_place(self, mode: CloneMode) -> Place:
        if mode is CloneMode.THIN and not self._capabilities.thin_clones:
            raise FailedPrecondition(
                f"thin clones are asked for, but {self._capabilities.thin_reason}; "
                "use such a file system for the storage, or clone_mode full or auto",
                reason="NO_THIN_CLONES",
            )
        thin = self._capabilities.thin_clones and mode is not CloneMode.FULL
        return Place.THIN if thin else Place.FULL

    def _check_erase_method(self, method: ScrubMethod) -> None:
        if method is ScrubMethod.REFORMAT:
            raise InvalidArgument.field(
                "method", "reformat needs no erase: the volume is deleted and cloned anew"
            )
        if method not in self._capabilities.scrub_methods:
            raise FailedPrecondition(
                f"scrub method {method} does not work in {self._files.root}: its file system "
                "can't punch holes; use reformat or zero",
                reason="NO_SCRUB_METHOD",
            )

    def _check_space(self, source: int, *, doing: str) -> None:
        """Refuse a copy that can't fit before it fills the disk for everybody."""
        needed_bytes = data_bytes(source)
        if needed_bytes > self.space().free_bytes:
            raise no_space(doing=doing, directory=self._files.root, needed_bytes=needed_bytes)

    def _image_path(self, image: str) -> Path:
        place, _facts = self._get(image)
        if place is not Place.IMAGES:
            raise NotFound(f"{image} is a volume, not an image, in {self._files.root}")
        return self._files.path(place, image)

    def _get(self, name: str) -> tuple[Place, os.stat_result]:
        found = self._files.find(name)
        if found is None:
            raise NotFound(f"{name} is not in {self._files.root}", reason="NO_OBJECT")
        return found

    def _errors(self, doing: str) -> AbstractContextManager[None]:
        return storage_errors(doing=doing, directory=self._files.root)


def _capabilities(facts: FileSystemFacts) -> BackendCapabilities:
    methods = {ScrubMethod.REFORMAT, ScrubMethod.ZERO}
    if not facts.no_punch_hole_reason:
        methods.add(ScrubMethod.DISCARD)
    return BackendCapabilities(
        thin_clones=not facts.no_reflink_reason,
        thin_reason=_thin_reason(facts),
        scrub_methods=frozenset(methods),
        erasure_note=_ERASURE_NOTE,
    )


def _thin_reason(facts: FileSystemFacts) -> str:
    if not facts.no_reflink_reason:
        return f"reflinks on {facts.kind}"
    return (
        f"{facts.kind} here has no reflinks (FICLONE: {facts.no_reflink_reason}); "
        "XFS made with reflink=1 and Btrfs have them"
    )


def _describe(name: str, place: Place, facts: os.stat_result) -> ObjectInfo:
    return ObjectInfo(
        name=name,
        size_bytes=facts.st_size,
        used_bytes=facts.st_blocks * _STAT_BLOCK_BYTES,
        read_only=place is Place.IMAGES,
        written_at=None if facts.st_mtime_ns == _MADE_AT_NS else facts.st_mtime,
    )


def _date(descriptor: int) -> None:
    os.utime(descriptor, ns=(_MADE_AT_NS, _MADE_AT_NS))


def _regular_source(source: Path) -> os.stat_result:
    try:
        facts = os.lstat(source)
    except FileNotFoundError:
        raise NotFound(f"the file to import, {source}, is not there") from None
    if not stat.S_ISREG(facts.st_mode) or facts.st_size == 0:
        raise InvalidArgument(f"the file to import, {source}, is not a regular file with content")
    return facts


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)

"""Volumes as images of a Ceph cluster, cloned from the snapshots of their master images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from clonepool.backends.base import (
    BackendCapabilities,
    ObjectInfo,
    Progress,
    Space,
    StorageBackend,
    no_progress,
)
from clonepool.backends.names import NameLocks, check_object_name
from clonepool.backends.rbd_cluster import Cluster
from clonepool.backends.rbd_content import (
    copy_content,
    erase_content,
    source_size,
    write_file,
)
from clonepool.backends.rbd_errors import is_unanswered
from clonepool.backends.rbd_index import Index, Kind, Mark
from clonepool.backends.rbd_masters import Masters
from clonepool.backends.rbd_namespaces import Namespaces
from clonepool.backends.rbd_options import RBD_OPTIONS, RbdOptions
from clonepool.backends.rbd_removal import MASTER_SNAPSHOT, Removal
from clonepool.domain.location import LocationKind, RbdImage
from clonepool.domain.model import SystemUser
from clonepool.domain.states import CloneMode, ScrubMethod
from clonepool.errors import (
    STORAGE_FULL,
    AlreadyExists,
    ClonepoolError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

_FULL_BELOW_BYTES: Final = 2**20
_KINDS: Final = {Kind.THIN: CloneMode.THIN, Kind.FULL: CloneMode.FULL}
_ERASURE_NOTE: Final = (
    "NIST SP 800-88 'clear', and at the logical level only: nothing written before reads back "
    "through Clonepool or through RBD. Whatever the method, reformat, zero or discard, all the old "
    "bytes stay on the OSDs' media until Ceph uses their space again, since BlueStore writes "
    "elsewhere; zero and discard promise no more than reformat, and take longer. Where the medium "
    "itself must be clear, encrypt the OSDs below Ceph (dm-crypt)."
)
_CAPABILITIES: Final = BackendCapabilities(
    thin_clones=True,
    thin_reason="RBD clones of a snapshot",
    scrub_methods=frozenset(ScrubMethod),
    erasure_note=_ERASURE_NOTE,
    location_kind=LocationKind.RBD,
)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """An object that is there, and where."""

    name: str
    namespace: str
    mark: Mark


class RbdBackend(StorageBackend):
    """Objects are RBD images; those of one system user lie in a RADOS namespace. Thread-safe.

    An image counts once it has its ready mark. What a killed process left without one is removed
    and made anew when the verb is repeated. Connects at the first verb; every verb ends within the
    time limits of the options, whatever is down. ``used_bytes`` of an object is what it held when
    it was made: what a server wrote since is seen in ``space`` only.
    """

    OPTIONS: ClassVar[Mapping[str, str]] = RBD_OPTIONS
    # every node reaches the cluster
    hostless = True

    def __init__(self, options: RbdOptions) -> None:
        self._cluster = Cluster(options.cluster)
        self._rbd = self._cluster.bindings.rbd
        self._calls = self._cluster.calls
        self._namespaces = Namespaces(self._cluster, prefix=options.namespace_prefix)
        self._masters = Masters(self._cluster, most_clones=options.clones_per_snapshot)
        self._names = NameLocks()

    @classmethod
    def from_options(
        cls,
        options: Mapping[str, str],
        *,
        default_directory: Path,  # noqa: ARG003 - it keeps nothing on this host
    ) -> Self:
        """Read the options; asks the cluster nothing. FailedPrecondition without the bindings."""
        return cls(RbdOptions.read(options))

    def capabilities(self) -> BackendCapabilities:
        """The same on every cluster."""
        return _CAPABILITIES

    def space(self) -> Space:
        """Of the pool, copies counted once; without a figure, Unavailable."""
        return self._cluster.space()

    def check(self) -> None:
        """As StorageBackend; one request to the monitors."""
        space = self.space()
        if space.free_bytes < _FULL_BELOW_BYTES:
            raise ResourceExhausted(
                f"{self._cluster.settings} has no space left; add OSDs or raise its quota",
                reason=STORAGE_FULL,
            )

    def import_image(
        self,
        *,
        name: str,
        source: Path,
        system_user: SystemUser | None = None,
        progress: Progress = no_progress,
    ) -> None:
        """Write the file's data into a new image of the system user's namespace; it is kept."""
        check_object_name(name)
        with self._names.hold(name):
            found = self._find(name)
            if found is not None:
                _expect_image(found)
                return
            size_bytes = source_size(source)
            namespace = self._namespaces.ensure(system_user)
            doing = f"importing image {name}"
            with self._making(name, namespace=namespace, doing=doing) as ioctx:
                self._calls.create(ioctx, name, size_bytes)
                with self._cluster.image(ioctx, name) as image:
                    used_bytes = write_file(image, source, progress=progress)
                    image.create_snap(MASTER_SNAPSHOT)
                self._mark(
                    ioctx,
                    _Found(
                        name=name,
                        namespace=namespace,
                        mark=Mark(
                            id=self._index(ioctx).image_id(name),
                            kind=Kind.IMAGE,
                            size_bytes=size_bytes,
                            used_bytes=used_bytes,
                        ),
                    ),
                )

    def clone(
        self, *, image: str, name: str, mode: CloneMode, progress: Progress = no_progress
    ) -> CloneMode:
        """Clone the image's newest snapshot, or copy its data; see the contract."""
        check_object_name(image)
        check_object_name(name)
        with self._names.hold(name):
            master = self._find(image)
            # a clone lies where its image does, so that no other namespace need be searched
            found = self._find_in(master.namespace, name) if master else self._find(name)
            if found is not None:
                return self._existing_clone(found)
            master = _expect_master(image, master, where=str(self._cluster.settings))
            kind = Kind.FULL if mode is CloneMode.FULL else Kind.THIN
            doing = f"cloning image {image} to {name}"
            with self._making(name, namespace=master.namespace, doing=doing) as ioctx:
                if kind is Kind.THIN:
                    self._clone_thin(ioctx, master, name)
                    used_bytes = master.mark.used_bytes
                    progress(master.mark.size_bytes)
                else:
                    used_bytes = self._copy(ioctx, master, name, progress=progress)
                mark = Mark(
                    id=self._index(ioctx).image_id(name),
                    kind=kind,
                    size_bytes=master.mark.size_bytes,
                    used_bytes=used_bytes,
                    parent_id=master.mark.id if kind is Kind.THIN else "",
                )
                if kind is Kind.THIN and not self._has_parent(ioctx, name, mark):
                    raise Unavailable(
                        f"{name} came out of its cloning without a parent, so it is blank; the "
                        "engine makes it anew",
                        reason="NO_PARENT",
                    )
                self._mark(ioctx, _Found(name=name, namespace=master.namespace, mark=mark))
            return _KINDS[kind]

    def erase(self, *, name: str, method: ScrubMethod, progress: Progress = no_progress) -> None:
        """Fence whoever has it open, then make every byte read as zero; a repetition starts over.

        The old bytes stay on the media, as the capabilities say.
        """
        check_object_name(name)
        if method is ScrubMethod.REFORMAT:
            raise InvalidArgument.field("method", "reformat needs no erase: delete and clone anew")
        with self._names.hold(name):
            found = self._get(name)
            if found.mark.kind is Kind.IMAGE:
                raise FailedPrecondition(f"{name} is an image, which is deleted, not erased")
            with self._at(found, doing=f"erasing {name} by {method}") as ioctx:
                Removal(self._cluster, ioctx).fence(name)
                with self._cluster.image(ioctx, name) as image:
                    erase_content(image, method=method, progress=progress)

    def read(self, *, name: str, offset: int, length: int) -> bytes:
        """From the OSDs, by librbd."""
        check_object_name(name)
        found = self._get(name)
        within = max(0, min(length, found.mark.size_bytes - offset))
        with (
            self._at(found, doing=f"reading {name}") as ioctx,
            self._cluster.image(ioctx, name, read_only=True) as image,
        ):
            return bytes(image.read(offset, within)) if within else b""

    def delete(self, *, name: str) -> None:
        """Take the mark away, fence whoever has the image open, remove it, half-made or whole.

        An image goes under its clones: it lies in the cluster's trash until the last one is gone.
        """
        check_object_name(name)
        with self._names.hold(name):
            likely = self._namespaces.likely(name)
            for namespace in [likely] if likely else self._namespaces.list():
                doing = f"deleting {name}"
                with self._cluster.work(doing=doing, namespace=namespace) as ioctx:
                    self._delete_in(ioctx, name)
            self._namespaces.forget(name)

    def stat(self, *, name: str) -> ObjectInfo:
        """Describe one object by its mark."""
        check_object_name(name)
        found = self._get(name)
        return _describe(name, found.mark)

    def list(self) -> Iterator[ObjectInfo]:
        """Every marked image of every namespace of ours; sweeps the trash on the way."""
        for namespace in self._namespaces.list():
            with self._cluster.work(doing="listing the storage", namespace=namespace) as ioctx:
                Removal(self._cluster, ioctx).sweep()
                there = {each["id"]: each["name"] for each in self._calls.list2(ioctx)}
                marks = list(self._index(ioctx).marks())
            for name, mark in marks:
                if there.get(mark.id) == name:
                    self._namespaces.saw(name, namespace)
                    yield _describe(name, mark)

    def location(self, *, name: str) -> RbdImage:
        """The image; of a master image the snapshot, which nobody can write to."""
        check_object_name(name)
        found = self._get(name)
        settings = self._cluster.settings
        return RbdImage(
            pool=settings.pool,
            namespace=found.namespace,
            image=name,
            snapshot=MASTER_SNAPSHOT if found.mark.kind is Kind.IMAGE else "",
            image_id=found.mark.id,
            parent_id=found.mark.parent_id,
            conf=settings.conf,
            client=settings.client,
        )

    @contextmanager
    def _making(self, name: str, *, namespace: str, doing: str) -> Iterator[Any]:
        """Room for a new image: half-made ones go first, and again when it fails."""
        with self._cluster.work(doing=doing, namespace=namespace) as ioctx:
            removal = Removal(self._cluster, ioctx)
            if self._index(ioctx).has_image(name):
                removal.remove_whole(name)
            try:
                yield ioctx
            except BaseException as error:
                # what can't be removed now, the repetition finds without its mark
                if not is_unanswered(error):
                    self._clean_up(ioctx, name)
                raise

    def _clean_up(self, ioctx: Any, name: str) -> None:
        with suppress(ClonepoolError, self._rbd.Error, self._cluster.bindings.rados.Error):
            if self._index(ioctx).find(name) is None:
                Removal(self._cluster, ioctx).remove_whole(name)

    def _clone_thin(self, ioctx: Any, master: _Found, name: str) -> None:
        try:
            self._clone_newest(ioctx, master, name)
        except self._rbd.ImageNotFound:
            # another engine has made a fresh snapshot and taken the old one away
            self._masters.forget(master.mark.id)
            self._clone_newest(ioctx, master, name)

    def _clone_newest(self, ioctx: Any, master: _Found, name: str) -> None:
        image_id = master.mark.id
        with self._masters.snapshot(ioctx, image=master.name, image_id=image_id) as snapshot:
            self._calls.clone(ioctx, master.name, snapshot, ioctx, name)

    def _copy(self, ioctx: Any, master: _Found, name: str, *, progress: Progress) -> int:
        self._calls.create(ioctx, name, master.mark.size_bytes)
        with (
            self._cluster.image(
                ioctx, master.name, snapshot=MASTER_SNAPSHOT, read_only=True
            ) as source,
            self._cluster.image(ioctx, name) as target,
        ):
            return copy_content(source, target, progress=progress)

    def _mark(self, ioctx: Any, found: _Found) -> None:
        self._index(ioctx).set(found.name, found.mark)
        self._namespaces.saw(found.name, found.namespace)

    def _existing_clone(self, found: _Found) -> CloneMode:
        if found.mark.kind is Kind.IMAGE:
            raise AlreadyExists(f"{found.name} is an image on this storage; clone to another name")
        if found.mark.kind is Kind.THIN:
            with self._at(found, doing=f"looking at {found.name}") as ioctx:
                # with its mark, but without a parent: somebody has flattened it
                if not self._has_parent(ioctx, found.name, found.mark):
                    return CloneMode.FULL
        return _KINDS[found.mark.kind]

    def _has_parent(self, ioctx: Any, name: str, mark: Mark) -> bool:
        if self._index(ioctx).is_clone_of(mark.id, mark.parent_id):
            return True
        # the header may be kept otherwise by another version: librbd knows
        with self._cluster.image(ioctx, name, read_only=True) as image:
            try:
                image.parent_info()
            except self._rbd.ImageNotFound:
                return False
        return True

    def _delete_in(self, ioctx: Any, name: str) -> None:
        removal, index = Removal(self._cluster, ioctx), self._index(ioctx)
        mark = index.find(name)
        if mark is not None and mark.kind is Kind.IMAGE:
            removal.remove_master(name, mark)
            self._masters.forget(mark.id)
            return
        if index.has_mark(name):
            index.remove(name)
        if index.has_image(name):
            removal.remove_whole(name)
            removal.sweep()

    def _find(self, name: str) -> _Found | None:
        """Where an object is: first where it was last seen, then everywhere."""
        likely = self._namespaces.likely(name)
        if likely is not None and (found := self._find_in(likely, name)):
            return found
        for namespace in self._namespaces.list():
            if found := self._find_in(namespace, name):
                self._namespaces.saw(name, namespace)
                return found
        return None

    def _find_in(self, namespace: str, name: str) -> _Found | None:
        with self._cluster.work(doing=f"looking for {name}", namespace=namespace) as ioctx:
            mark = self._index(ioctx).find(name)
        return _Found(name=name, namespace=namespace, mark=mark) if mark else None

    def _get(self, name: str) -> _Found:
        found = self._find(name)
        if found is None:
            raise _absent(name, where=str(self._cluster.settings))
        return found

    @contextmanager
    def _at(self, found: _Found, *, doing: str) -> Iterator[Any]:
        with self._cluster.work(doing=doing, namespace=found.namespace) as ioctx:
            yield ioctx

    def _index(self, ioctx: Any) -> Index:
        return Index(self._cluster.bindings, ioctx)


def _absent(name: str, *, where: str) -> NotFound:
    return NotFound(f"{name} is not in {where}", reason="NO_OBJECT")


def _expect_master(name: str, found: _Found | None, *, where: str) -> _Found:
    if found is None:
        raise _absent(name, where=where)
    if found.mark.kind is not Kind.IMAGE:
        raise NotFound(f"{name} is a volume, not an image")
    return found


def _expect_image(found: _Found) -> None:
    if found.mark.kind is not Kind.IMAGE:
        raise AlreadyExists(f"{found.name} is a volume on this storage; import under another name")


def _describe(name: str, mark: Mark) -> ObjectInfo:
    return ObjectInfo(
        name=name,
        size_bytes=mark.size_bytes,
        used_bytes=mark.used_bytes,
        read_only=mark.kind is Kind.IMAGE,
    )

"""Volumes in this process's memory: a fake for tests and trials, with the real semantics."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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
from clonepool.backends.names import NameLocks, check_object_name
from clonepool.domain.states import CloneMode, ScrubMethod
from clonepool.errors import (
    STORAGE_FULL,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from clonepool.sparse import segments
from clonepool.units import format_size, parse_size

CHUNK_BYTES: Final = 64 * 1024
_ZERO_CHUNK: Final = bytes(CHUNK_BYTES)
_DEFAULT_TOTAL_BYTES: Final = 2**40

# Called at each named step with the step and the object's name; may raise to fake a crash there.
StepHook = Callable[[str, str], None]


def no_hook(_step: str, _name: str) -> None:
    """Let every step pass."""


@dataclass(kw_only=True, eq=False)
class MemoryObject:
    """One inode: chunks that are absent read as zeros. It outlives its name while it is open."""

    size_bytes: int
    read_only: bool
    kind: CloneMode = CloneMode.FULL
    chunks: dict[int, bytes] = field(default_factory=dict)
    shared: Mapping[int, bytes] = field(default_factory=dict)  # the image's chunks at clone time

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes of a range, cut at the end of the object."""
        end = min(offset + length, self.size_bytes)
        parts = []
        while offset < end:
            index, within = divmod(offset, CHUNK_BYTES)
            count = min(CHUNK_BYTES - within, end - offset)
            parts.append(self.chunks.get(index, _ZERO_CHUNK)[within : within + count])
            offset += count
        return b"".join(parts)

    def write_at(self, offset: int, data: bytes) -> None:
        """Write within the object's size. Raises PermissionDenied's kind, OSError, if read-only."""
        if self.read_only or offset + len(data) > self.size_bytes:
            raise PermissionError("the object is read-only, or the write is beyond its end")
        while data:
            index, within = divmod(offset, CHUNK_BYTES)
            count = min(CHUNK_BYTES - within, len(data))
            old = self.chunks.get(index, _ZERO_CHUNK)
            self.chunks[index] = old[:within] + data[:count] + old[within + count :]
            offset, data = offset + count, data[count:]

    def close(self) -> None:
        """Nothing to close; so that tests can treat it as they treat a file."""

    @property
    def used_bytes(self) -> int:
        """Bytes of the chunks that are there, shared ones too."""
        return len(self.chunks) * CHUNK_BYTES

    @property
    def own_bytes(self) -> int:
        """Bytes that only this object holds."""
        own = sum(1 for index, chunk in self.chunks.items() if self.shared.get(index) is not chunk)
        return own * CHUNK_BYTES


class MemoryBackend(StorageBackend):
    """Objects as dictionaries of 64 KiB chunks. Thread-safe; gone with the process.

    ``on_step`` is called at ``VERB.begin``, ``VERB.work`` (half-way), ``VERB.publish`` (just
    before the result can be seen) and ``VERB.done`` for VERB import, clone, erase and delete.
    """

    OPTIONS: ClassVar[Mapping[str, str]] = {
        "thin": "yes (default) or no: whether clones share memory with their image",
        "size": "how much it pretends to hold, such as 1TiB",
        "instance": "a name: engines of this process that give the same one share the objects",
    }
    _instances: ClassVar[dict[str, MemoryBackend]] = {}

    def __init__(
        self,
        *,
        thin: bool = True,
        total_bytes: int = _DEFAULT_TOTAL_BYTES,
        on_step: StepHook = no_hook,
        hostless: bool = False,
    ) -> None:
        self.hostless = hostless
        self.on_step = on_step
        self._thin = thin
        self._total_bytes = total_bytes
        self._objects: dict[str, MemoryObject] = {}
        self._names = NameLocks()
        self._lock = threading.Lock()

    @classmethod
    def from_options(cls, options: Mapping[str, str], *, default_directory: Path) -> Self:
        """A new one, or with option ``instance`` the one of that name; keeps nothing on disk."""
        del default_directory
        thin = options.get("thin", "yes")
        if thin not in ("yes", "no"):
            raise InvalidArgument.field("thin", f"{thin!r} is neither yes nor no")
        size_bytes = parse_size(options.get("size", "1TiB"), field="size")
        instance = options.get("instance", "")
        if not instance:
            return cls(thin=thin == "yes", total_bytes=size_bytes)
        made = cls._instances.setdefault(instance, cls(thin=thin == "yes", total_bytes=size_bytes))
        if not isinstance(made, cls):
            raise InvalidArgument.field("instance", f"{instance!r} is of another class")
        return made

    @classmethod
    def forget(cls, instance: str) -> None:
        """Drop a shared instance; its objects go with the last engine that uses it."""
        cls._instances.pop(instance, None)

    def capabilities(self) -> BackendCapabilities:
        """Thin by option; every scrub method."""
        return BackendCapabilities(
            thin_clones=self._thin,
            thin_reason="chunks shared in memory" if self._thin else "option thin is no",
            scrub_methods=frozenset(ScrubMethod),
            erasure_note="Memory of a process: nothing outlives it, and nothing is promised.",
        )

    def space(self) -> Space:
        """The pretended size, and what is left of it."""
        with self._lock:
            used_bytes = sum(found.own_bytes for found in self._objects.values())
        return Space(
            total_bytes=self._total_bytes, free_bytes=max(0, self._total_bytes - used_bytes)
        )

    def import_image(self, *, name: str, source: Path, progress: Progress = no_progress) -> None:
        """Read the file's data; ``source`` is left alone."""
        check_object_name(name)
        with self._names.hold(name):
            found = self._find(name)
            if found is not None:
                _expect_image(name, found)
                return
            self.on_step("import.begin", name)
            made = _read_file(source, progress=progress)
            self._check_space(made.used_bytes, doing=f"importing image {name}")
            self.on_step("import.work", name)
            self._publish("import", name, made)

    def clone(
        self, *, image: str, name: str, mode: CloneMode, progress: Progress = no_progress
    ) -> CloneMode:
        """Share or copy the image's chunks."""
        check_object_name(image)
        check_object_name(name)
        with self._names.hold(name):
            found = self._find(name)
            if found is not None:
                return _existing_clone(name, found)
            kind = self._choose_kind(mode)
            self.on_step("clone.begin", name)
            made = self._make_clone(self._get(image), image=image, kind=kind)
            progress(made.size_bytes // 2)
            self.on_step("clone.work", name)
            progress(made.size_bytes)
            self._publish("clone", name, made)
            return kind

    def erase(self, *, name: str, method: ScrubMethod, progress: Progress = no_progress) -> None:
        """Drop the chunks (discard) or make them zeros."""
        check_object_name(name)
        if method is ScrubMethod.REFORMAT:
            raise InvalidArgument.field("method", "reformat needs no erase: delete and clone anew")
        with self._names.hold(name):
            found = self._get(name)
            if found.read_only:
                raise FailedPrecondition(f"{name} is an image, which is deleted, not erased")
            self.on_step("erase.begin", name)
            for position, index in enumerate(sorted(found.chunks)):
                if position == len(found.chunks) // 2:
                    self.on_step("erase.work", name)
                progress(min(index * CHUNK_BYTES, found.size_bytes))
                found.chunks[index] = _ZERO_CHUNK
            if method is ScrubMethod.DISCARD:
                found.chunks.clear()
            found.shared = {}
            progress(found.size_bytes)
            self.on_step("erase.done", name)

    def read(self, *, name: str, offset: int, length: int) -> bytes:
        """Bytes of an object, where ``path`` can't be opened."""
        check_object_name(name)
        return self._get(name).read_at(offset, length)

    def delete(self, *, name: str) -> None:
        """Remove the name and empty the object, for whoever still holds it open."""
        check_object_name(name)
        with self._names.hold(name):
            self.on_step("delete.begin", name)
            with self._lock:
                found = self._objects.pop(name, None)
            if found is not None:
                found.chunks, found.size_bytes = {}, 0
            self.on_step("delete.done", name)

    def stat(self, *, name: str) -> ObjectInfo:
        """Describe one object."""
        check_object_name(name)
        return _describe(name, self._get(name))

    def list(self) -> Iterator[ObjectInfo]:
        """Every object as of now."""
        with self._lock:
            found = list(self._objects.items())
        return iter([_describe(name, item) for name, item in found])

    def path(self, *, name: str) -> Path:
        """A pseudo path: nothing on this machine can open it; ``open`` does."""
        check_object_name(name)
        self._get(name)
        return Path("/memory") / f"{id(self):x}" / name

    def open(self, *, name: str) -> MemoryObject:
        """The object itself, to read and write as an initiator would. Raises NotFound."""
        return self._get(name)

    def _make_clone(self, source: MemoryObject, *, image: str, kind: CloneMode) -> MemoryObject:
        if not source.read_only:
            raise NotFound(f"{image} is a volume, not an image")
        thin = kind is CloneMode.THIN
        if not thin:
            self._check_space(source.used_bytes, doing=f"copying image {image}")
        return MemoryObject(
            size_bytes=source.size_bytes,
            read_only=False,
            kind=kind,
            chunks=dict(source.chunks),
            shared=source.chunks if thin else {},
        )

    def _publish(self, verb: str, name: str, made: MemoryObject) -> None:
        self.on_step(f"{verb}.publish", name)
        with self._lock:
            self._objects[name] = made
        self.on_step(f"{verb}.done", name)

    def _choose_kind(self, mode: CloneMode) -> CloneMode:
        if mode is CloneMode.THIN and not self._thin:
            raise FailedPrecondition(
                "thin clones are asked for, but option thin is no; set it to yes, or clone_mode "
                "to full or auto",
                reason="NO_THIN_CLONES",
            )
        thin = self._thin and mode is not CloneMode.FULL
        return CloneMode.THIN if thin else CloneMode.FULL

    def _check_space(self, needed_bytes: int, *, doing: str) -> None:
        free_bytes = self.space().free_bytes
        if needed_bytes > free_bytes:
            raise ResourceExhausted(
                f"{doing}: needs {format_size(needed_bytes)}, {format_size(free_bytes)} is free; "
                "scrub released volumes (clonepool scrub run) or give option size a larger value",
                reason=STORAGE_FULL,
                metadata={"needed_bytes": str(needed_bytes), "free_bytes": str(free_bytes)},
            )

    def _find(self, name: str) -> MemoryObject | None:
        with self._lock:
            return self._objects.get(name)

    def _get(self, name: str) -> MemoryObject:
        found = self._find(name)
        if found is None:
            raise NotFound(f"{name} is not in memory", reason="NO_OBJECT")
        return found


def _read_file(source: Path, *, progress: Progress) -> MemoryObject:
    if not source.exists():
        raise NotFound(f"the file to import, {source}, is not there")
    if not source.is_file() or source.stat().st_size == 0:
        raise InvalidArgument(f"the file to import, {source}, is not a regular file with content")
    with source.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        made = MemoryObject(size_bytes=size_bytes, read_only=True)
        for run in list(segments(file.fileno())):
            indexes = range(run.start // CHUNK_BYTES, -(-run.end // CHUNK_BYTES))
            for index in indexes if run.is_data else ():
                file.seek(index * CHUNK_BYTES)
                made.chunks[index] = file.read(CHUNK_BYTES).ljust(CHUNK_BYTES, b"\0")
                progress(min((index + 1) * CHUNK_BYTES, size_bytes))
        progress(size_bytes)
    return made


def _existing_clone(name: str, found: MemoryObject) -> CloneMode:
    if found.read_only:
        raise AlreadyExists(f"{name} is an image on this storage; clone to another name")
    return found.kind


def _expect_image(name: str, found: MemoryObject) -> None:
    if not found.read_only:
        raise AlreadyExists(f"{name} is a volume on this storage; import under another name")


def _describe(name: str, found: MemoryObject) -> ObjectInfo:
    return ObjectInfo(
        name=name,
        size_bytes=found.size_bytes,
        used_bytes=found.used_bytes,
        read_only=found.read_only,
    )

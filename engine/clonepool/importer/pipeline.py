"""One portion of a master image, from its source to an object on the storage."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from clonepool.crash_points import Point, reach
from clonepool.domain.model import ImagePortion, PortionSpec, Preconfigure, SystemUser
from clonepool.errors import NotFound, Unavailable
from clonepool.importer.convert import grow, to_raw
from clonepool.importer.digest import digest_content, digest_file
from clonepool.importer.fetch import fetched
from clonepool.importer.http_source import shown
from clonepool.importer.image_format import check_size, find_format
from clonepool.importer.limits import ImportLimits, Meter, admit_all
from clonepool.importer.preconfigure import check_file, write_files

_DEFAULT_LIMITS: Final = ImportLimits()
# st_blocks counts in these
_STAT_BLOCK_BYTES: Final = 512


class StoredObject(Protocol):
    """What the import needs to know of an object."""

    @property
    def size_bytes(self) -> int:
        """Its size."""


class ImageStore(Protocol):
    """The verbs of a storage backend that an import uses."""

    def import_image(
        self,
        *,
        name: str,
        source: Path,
        system_user: SystemUser | None,
        progress: Callable[[int], None],
    ) -> None:
        """As in the backend's contract."""

    def stat(self, *, name: str) -> StoredObject:
        """As in the backend's contract."""

    def read(self, *, name: str, offset: int, length: int) -> bytes:
        """As in the backend's contract."""


def no_notice(_text: str) -> None:
    """Ignore notices."""


def import_portion(
    *,
    spec: PortionSpec,
    preconfigure: Sequence[Preconfigure],
    backend: ImageStore,
    object_name: str,
    staging_dir: Path,
    import_roots: Sequence[Path],
    progress: Callable[[int, int], None],
    admit: Callable[[int], None] = admit_all,
    limits: ImportLimits = _DEFAULT_LIMITS,
    notify: Callable[[str], None] = no_notice,
    system_user: SystemUser | None = None,
) -> ImagePortion:
    """Bring one portion's content onto the storage as the read-only object ``object_name``.

    The source is fetched and checked, made raw, grown, its ``preconfigure`` files written, and
    its digest taken. Blocks until done; ``progress`` gets done and total bytes and may raise to
    cancel. The object present already: it is described anew, nothing is fetched. Killed half-way:
    the next call begins again. Staging is emptied in every case, and lies best on the storage's
    own file system, where nothing is copied twice. The user's source is never changed.

    Without ``import_roots``, any file that the engine's user can read may be imported. ``admit`` is
    asked before the object is stored, that of ``limits`` before anything is staged. ``notify`` is
    told what was adjusted. Raises every kind of error that its steps name.
    """
    for file in preconfigure:
        check_file(file)
    meter = Meter(progress)
    if present := _describe_present(backend, object_name, meter=meter):
        return present
    with _io_errors(spec.source), _emptied(staging_dir / object_name) as staging:
        raw = staging / "raw"
        size_bytes = _make_raw(
            spec,
            raw=raw,
            import_roots=import_roots,
            limits=limits,
            meter=meter,
            preconfigure=preconfigure,
            notify=notify,
        )
        digest = _digest(raw, size_bytes=size_bytes, meter=meter)
        admit(raw.stat().st_blocks * _STAT_BLOCK_BYTES)
        reach(Point.IMPORT_STAGED)
        backend.import_image(
            name=object_name,
            source=raw,
            system_user=system_user,
            progress=lambda _done: meter.again(),
        )
    return ImagePortion(object_name=object_name, size_bytes=size_bytes, digest=digest)


def _digest(raw: Path, *, size_bytes: int, meter: Meter) -> str:
    meter.expect("digest", size_bytes)
    return digest_file(raw, progress=meter.stage("digest"))


def _make_raw(
    spec: PortionSpec,
    *,
    raw: Path,
    import_roots: Sequence[Path],
    limits: ImportLimits,
    meter: Meter,
    preconfigure: Sequence[Preconfigure],
    notify: Callable[[str], None],
) -> int:
    """Fetch, check, convert, grow, and write the files in; returns the size."""
    with fetched(
        source=spec.source,
        sha256=spec.sha256,
        import_roots=import_roots,
        staging=raw.parent,
        limits=limits,
        meter=meter,
    ) as source:
        image = find_format(source.path, declared=spec.format, shown_name=source.name)
        for size_bytes in (image.virtual_size_bytes, spec.size_bytes or image.virtual_size_bytes):
            check_size(size_bytes, max_size_bytes=limits.max_size_bytes, shown_name=source.name)
        meter.expect("convert", image.virtual_size_bytes)
        meter.expect("digest", image.virtual_size_bytes)
        to_raw(source, image, target=raw, limits=limits, progress=meter.stage("convert"))
        # what was fetched is no longer needed, and may be as large as the rest together
        if source.ours:
            source.path.unlink(missing_ok=True)
    size_bytes = grow(raw, size_bytes=spec.size_bytes, notify=notify)
    write_files(
        image=raw,
        files=preconfigure,
        import_roots=import_roots,
        limits=limits,
        on_wait=meter.again,
    )
    return size_bytes


def _describe_present(
    backend: ImageStore, object_name: str, *, meter: Meter
) -> ImagePortion | None:
    try:
        size_bytes = backend.stat(name=object_name).size_bytes
    except NotFound:
        return None
    # the object is not compared with the source, which may have changed since; and a file system
    # that was written into has other time stamps each time: its own bytes are the truth
    meter.expect("digest", size_bytes)
    digest = digest_content(
        lambda offset, length: backend.read(name=object_name, offset=offset, length=length),
        size_bytes=size_bytes,
        progress=meter.stage("digest"),
    )
    return ImagePortion(object_name=object_name, size_bytes=size_bytes, digest=digest)


@contextmanager
def _io_errors(source: str) -> Iterator[None]:
    """What the operating system says in the middle of it: of a source, a disk, a network."""
    try:
        yield
    except OSError as error:
        name = shown(source) if "://" in source else source
        raise Unavailable(
            f"importing {name}: {error.strerror or error}; look at the source and at the disk",
            reason="IMPORT_IO",
        ) from error


@contextmanager
def _emptied(staging: Path) -> Iterator[Path]:
    """A new, private folder; a killed import's is removed first, and this one at the end."""
    shutil.rmtree(staging, ignore_errors=True)
    os.makedirs(staging, mode=0o700)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)

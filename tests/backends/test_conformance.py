"""The backend suite on every driver, each on the real thing."""

from __future__ import annotations

from pathlib import Path

import pytest

from clonepool.backends.base import StorageBackend
from clonepool.backends.file import FileBackend
from clonepool.backends.file_probe import file_system_kind
from clonepool.backends.memory import MemoryBackend
from clonepool.backends.rbd import RbdBackend
from clonepool.backends.rbd_options import RbdOptions
from clonepool.domain.location import RbdImage
from clonepool.testing.backend_suite import BackendSuite
from clonepool.testing.object_io import ObjectIo
from clonepool.testing.rbd_client import RbdClient


class TestFileOnTheTestsOwnFileSystem(BackendSuite):
    """Whatever tmp_path is on: ext4 on most machines, so copies."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> FileBackend:
        return FileBackend(directory=tmp_path / "storage")

    def test_the_reason_names_the_file_system(self, backend: FileBackend, tmp_path: Path) -> None:
        assert file_system_kind(tmp_path) in backend.capabilities().thin_reason


@pytest.mark.root
@pytest.mark.reflink
class TestFileOnXfs(BackendSuite):
    """XFS with reflinks: thin clones."""

    @pytest.fixture
    def backend(self, xfs_directory: Path) -> FileBackend:
        return FileBackend(directory=xfs_directory)

    def test_clones_are_thin_by_reflinks_on_xfs(self, backend: FileBackend) -> None:
        assert (True, "reflinks on xfs") == (
            backend.capabilities().thin_clones,
            backend.capabilities().thin_reason,
        )


@pytest.mark.ceph
class TestRbd(BackendSuite):
    """A real cluster of three OSDs; each test has RADOS namespaces of its own."""

    @pytest.fixture
    def backend(self, rbd_options: RbdOptions) -> RbdBackend:
        return RbdBackend(rbd_options)

    def open_object(self, backend: StorageBackend, name: str) -> ObjectIo:
        location = backend.location(name=name)
        assert isinstance(location, RbdImage)
        return RbdClient(location)


class _OnMemory(BackendSuite):
    def open_object(self, backend: StorageBackend, name: str) -> ObjectIo:
        assert isinstance(backend, MemoryBackend)
        return backend.open(name=name)


class TestMemoryThin(_OnMemory):
    """The fake with shared chunks."""

    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend(thin=True)


class TestMemoryFull(_OnMemory):
    """The fake that copies."""

    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend(thin=False)

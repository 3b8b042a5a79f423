"""What a storage on XFS shows after the power was cut: every clone whole, none forgotten."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from clonepool.backends.file import FileBackend
from clonepool.domain.states import CloneMode
from clonepool.errors import ClonepoolError
from clonepool.testing.file_systems import XfsDisk, missing_for_xfs, xfs_disk
from clonepool.testing.images import make_random_image

MIB = 2**20


class Cloner(threading.Thread):
    """Clones and deletes until the storage dies, remembering what it was told is done."""

    def __init__(self, backend: FileBackend, *, prefix: str, mode: CloneMode) -> None:
        super().__init__()
        self.acknowledged: list[str] = []
        self.deleted: list[str] = []
        self.enough = threading.Event()
        self._backend, self._prefix, self._mode = backend, prefix, mode

    def run(self) -> None:
        for number in range(10_000):
            try:
                self._work(number)
            except ClonepoolError:
                return
            if len(self.acknowledged) > 20:
                self.enough.set()

    def _work(self, number: int) -> None:
        name = f"{self._prefix}-{number}"
        self._backend.clone(image="img", name=name, mode=self._mode)
        if number % 3:
            self.acknowledged.append(name)
        else:
            self._backend.delete(name=name)
            self.deleted.append(name)


@pytest.fixture
def disk() -> Iterator[XfsDisk]:
    missing = missing_for_xfs()
    if missing:
        pytest.skip(missing)
    with xfs_disk() as made:
        yield made


@pytest.mark.root
@pytest.mark.reflink
@pytest.mark.parametrize("mode", [CloneMode.THIN, CloneMode.FULL])
def test_after_a_power_loss_every_clone_is_whole_and_none_that_was_acknowledged_is_lost(
    disk: XfsDisk, mode: CloneMode
) -> None:
    directory = disk.mount_point / "storage"
    backend = FileBackend(directory=directory)
    source = make_random_image(disk.mount_point / "source", size_bytes=MIB)
    content = source.read_bytes()
    backend.import_image(name="img", source=source)
    cloners = [Cloner(backend, prefix=f"v{number}", mode=mode) for number in range(4)]
    for cloner in cloners:
        cloner.start()
    assert all(cloner.enough.wait(timeout=60) for cloner in cloners)
    disk.cut_power()
    for cloner in cloners:
        cloner.join(timeout=60)
    disk.unmount()
    disk.mount()
    after = FileBackend(directory=directory)
    kept = {found.name for found in after.list()}
    assert {name for cloner in cloners for name in cloner.acknowledged} <= kept
    assert kept.isdisjoint(name for cloner in cloners for name in cloner.deleted)
    assert all(content == after.location(name=name).path.read_bytes() for name in kept)
    assert [] == list((directory / "tmp").iterdir())

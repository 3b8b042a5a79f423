"""Servers that write all they have, on a real XFS with reflinks: never dry within overcommit 1."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from clonepool.backends.file import FileBackend
from clonepool.domain.model import PortionSpec, Volume
from clonepool.testing.engines import EngineRig
from clonepool.testing.file_systems import mounted_xfs

pytestmark = pytest.mark.reflink
MIB = 2**20
XFS_BYTES = 320 * MIB  # mkfs.xfs makes none below 300 MiB
IMAGE_BYTES = 24 * MIB
STEP_BYTES = 64 * 1024


@pytest.fixture
def mount() -> Iterator[Path]:
    with mounted_xfs(size_bytes=XFS_BYTES) as mount_point:
        yield mount_point


def open_rig(folder: Path, mount: Path, **limits: str) -> EngineRig:
    """An engine with image ``web``, 24 MiB of which a third has data."""
    source = folder / "golden.img"
    source.write_bytes(os.urandom(IMAGE_BYTES // 3))
    os.truncate(source, IMAGE_BYTES)
    rig = EngineRig(folder / "engine", storage=FileBackend(directory=mount / "volumes"), **limits)
    rig.open()
    rig.add_image(writable=PortionSpec(source=str(source), format="raw"))
    return rig


class Writer:
    """A server: it writes every block of its volume once, in random order, and durably."""

    def __init__(self, rig: EngineRig, volume: Volume, *, seed: int) -> None:
        self._file = rig.storage.location(name=volume.object_name).path.open("r+b", buffering=0)
        self._left = list(range(0, volume.size_bytes, STEP_BYTES))
        Random(seed).shuffle(self._left)  # noqa: S311 - a trial, no secret

    def write(self, *, steps: int) -> bool:
        """Whether anything is left to be written after so many blocks. Raises OSError: ENOSPC."""
        for offset in self._left[:steps]:
            os.pwrite(self._file.fileno(), os.urandom(STEP_BYTES), offset)
        os.fsync(self._file.fileno())
        del self._left[:steps]
        return bool(self._left)

    def close(self) -> None:
        self._file.close()


def attach_as_many_as_there_are(rig: EngineRig, *, at_most: int) -> list[Writer]:
    """Attach until nothing more is made."""
    writers: list[Writer] = []
    for number in range(at_most):
        made = rig.attach(f"a{number}")
        rig.wait_for(
            lambda number=number: rig.attach(f"a{number}").volume_id or rig.pool().short_of_space,
            what=rig.pool,
        )
        made = rig.attach(f"a{number}")
        if not made.volume_id:
            break
        writers.append(Writer(rig, rig.volume(made.volume_id), seed=number))
    return writers


def test_within_overcommit_1_no_server_ever_runs_dry(tmp_path: Path, mount: Path) -> None:
    """All of them write at once, while more are asked for and an image is to be imported."""
    rig = open_rig(tmp_path, mount, reserve="5%", overcommit="1")
    try:
        rig.add_pool(min_ready=1, max_replicas=50)
        writers = attach_as_many_as_there_are(rig, at_most=50)
        assert 8 <= len(writers) <= 11, "most of 320 MiB, less reserve, image and XFS's own"
        spec = rig.image().spec
        more = tmp_path / "more.img"
        more.write_bytes(os.urandom(2 * IMAGE_BYTES))
        portion = PortionSpec(source=str(more), format="raw")
        rig.engine.images.create(spec=replace(spec, name="more", writable=portion), token="t")
        writing = writers
        while writing:
            writing = [each for each in writing if each.write(steps=32)]
            rig.advance(40)  # volumes are measured anew, and what waits is tried again
        assert 0.04 * XFS_BYTES < rig.storage.space().free_bytes
        assert "may still be written" in rig.pool().short_of_space
    finally:
        rig.close()


def test_beyond_1_the_warning_comes_before_a_server_runs_dry(tmp_path: Path, mount: Path) -> None:
    """Promised three times: the storage does run full, and an operator knew long before."""
    rig = open_rig(tmp_path, mount, reserve="5%", overcommit="3")
    told: list[float] = []
    try:
        rig.add_pool(min_ready=4, max_replicas=50)
        writers = attach_as_many_as_there_are(rig, at_most=20)
        assert 20 == len(writers)
        with pytest.raises(OSError, match="No space left") as full:  # noqa: PT012 - until it is
            while True:
                for each in writers:
                    each.write(steps=8)
                    rig.engine.reconcile.run_once()
                    rig.wake()
                    if rig.events("STORAGE_LOW"):
                        told.append(rig.storage.space().free_bytes)
        assert errno.ENOSPC == full.value.errno
        total_bytes = rig.storage.space().total_bytes
    finally:
        rig.close()
    assert told[0] > 0.08 * total_bytes, "warned with nearly a tenth still free"
    assert len(told) > 20, "and at many looks before the end"

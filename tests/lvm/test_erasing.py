"""What an erase leaves: nothing on the device, and on the medium what the driver declares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clonepool import commands
from clonepool.backends.lvm import LvmBackend
from clonepool.domain.states import CloneMode, ScrubMethod
from clonepool.errors import FailedPrecondition
from clonepool.testing.images import make_random_image, make_sparse_image
from clonepool.testing.volume_groups import ThinGroup, thin_group

pytestmark = pytest.mark.lvm

MIB = 2**20
# long enough that random bytes never hold it, and not where a chunk begins
SECRET = b"the last user's secret, 8d1f4c0e"
OFFSETS = (100, MIB + 70_000, 3 * MIB - 40)


@pytest.fixture
def group() -> Iterator[ThinGroup]:
    """A pool of its own, since its medium is searched; it passes no discards on to the medium."""
    with thin_group(size_mib=64) as made:
        made.lvm("lvchange", "--discards", "nopassdown", f"{made.name}/{made.thin_pool}")
        yield made


@pytest.fixture
def written(group: ThinGroup, tmp_path: Path) -> LvmBackend:
    """A volume with the secret in it."""
    backend = LvmBackend(group.settings())
    source = make_random_image(tmp_path / "source.raw", size_bytes=3 * MIB)
    backend.import_image(name="img", source=source)
    backend.clone(image="img", name="vol-a-g1", mode=CloneMode.AUTO)
    write(backend.location(name="vol-a-g1").path, *OFFSETS)
    assert b"".join([SECRET] * 3) == b"".join(
        backend.read(name="vol-a-g1", offset=offset, length=len(SECRET)) for offset in OFFSETS
    )
    return backend


def write(path: Path, *offsets: int) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        for offset in offsets:
            os.pwrite(descriptor, SECRET, offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def on_medium(group: ThinGroup) -> int:
    """How often the disk below the volume group holds the secret."""
    commands.run(["sync"], timeout_s=60)
    return group.medium.read_bytes().count(SECRET)


def device_bytes(path: Path) -> bytes:
    with path.open("rb") as device:
        return device.read()


def test_zeros_reach_the_medium_and_the_chunks_go_back_to_the_pool(
    written: LvmBackend, group: ThinGroup
) -> None:
    assert len(OFFSETS) == on_medium(group)
    written.erase(name="vol-a-g1", method=ScrubMethod.ZERO)
    assert b"" == device_bytes(written.location(name="vol-a-g1").path).strip(b"\0")
    assert 0 == on_medium(group)
    assert 0 == written.stat(name="vol-a-g1").used_bytes


@pytest.mark.parametrize("method", [ScrubMethod.DISCARD, ScrubMethod.REFORMAT])
def test_discarded_chunks_stay_on_the_medium_as_declared_and_nobody_can_read_them(
    written: LvmBackend, group: ThinGroup, tmp_path: Path, method: ScrubMethod
) -> None:
    if method is ScrubMethod.DISCARD:
        written.erase(name="vol-a-g1", method=method)
        assert b"" == device_bytes(written.location(name="vol-a-g1").path).strip(b"\0")
    written.delete(name="vol-a-g1")
    assert len(OFFSETS) == on_medium(group)
    assert "keep their bytes on the medium" in written.capabilities().erasure_note
    assert frozenset() == written.capabilities().purges
    _use_every_chunk(written, tmp_path)
    assert 0 == on_medium(group)


def _use_every_chunk(backend: LvmBackend, folder: Path) -> None:
    """Another volume writes one sector into every chunk that is left, and sees all of each."""
    empty = make_sparse_image(folder / "empty.raw", size_bytes=61 * MIB)
    backend.import_image(name="empty", source=empty)
    backend.clone(image="empty", name="vol-b-g1", mode=CloneMode.AUTO)
    path = backend.location(name="vol-b-g1").path
    with path.open("r+b", buffering=0) as device:
        for offset in range(0, 61 * MIB, 64 * 1024):
            device.seek(offset)
            device.write(bytes(512))
        os.fsync(device.fileno())
    assert 61 * MIB == backend.stat(name="vol-b-g1").used_bytes
    assert b"" == device_bytes(path).strip(b"\0")


def test_the_end_of_a_device_behind_its_images_size_is_erased_too(written: LvmBackend) -> None:
    for method in (ScrubMethod.ZERO, ScrubMethod.DISCARD):
        path = written.location(name="vol-a-g1").path
        write(path, 4 * MIB - len(SECRET))
        written.erase(name="vol-a-g1", method=method)
        assert b"" == device_bytes(path).strip(b"\0")


def test_a_last_chunk_that_the_device_cuts_is_erased_too(tmp_path: Path) -> None:
    """A pool silently keeps what is discarded in part: 4 MiB are no multiple of 192 KiB."""
    with thin_group(size_mib=60, chunk="192k") as group:
        backend = LvmBackend(group.settings())
        source = make_random_image(tmp_path / "source.raw", size_bytes=4 * MIB)
        backend.import_image(name="img", source=source)
        for method in (ScrubMethod.DISCARD, ScrubMethod.ZERO):
            backend.clone(image="img", name=f"vol-{method}-g1", mode=CloneMode.AUTO)
            path = backend.location(name=f"vol-{method}-g1").path
            write(path, 0, 4 * MIB - len(SECRET))
            backend.erase(name=f"vol-{method}-g1", method=method)
            assert b"" == device_bytes(path).strip(b"\0")


def test_a_pool_that_ignores_discards_has_no_such_method(
    written: LvmBackend, group: ThinGroup
) -> None:
    group.deactivate()
    group.lvm("lvchange", "--discards", "ignore", f"{group.name}/{group.thin_pool}")
    again = LvmBackend(group.settings())
    assert {ScrubMethod.REFORMAT, ScrubMethod.ZERO} == again.capabilities().scrub_methods
    with pytest.raises(FailedPrecondition, match="ignores discards; use reformat or zero"):
        again.erase(name="vol-a-g1", method=ScrubMethod.DISCARD)
    again.erase(name="vol-a-g1", method=ScrubMethod.ZERO)
    assert b"" == device_bytes(again.location(name="vol-a-g1").path).strip(b"\0")
    assert 0 == on_medium(group)


def test_a_pool_that_does_not_zero_its_chunks_is_refused(
    written: LvmBackend, group: ThinGroup
) -> None:
    pool = f"{group.name}/{group.thin_pool}"
    group.lvm("lvchange", "-Zn", pool)
    for refused in (
        lambda: LvmBackend(group.settings()),
        written.check,
        lambda: written.clone(image="img", name="vol-b-g1", mode=CloneMode.AUTO),
    ):
        with pytest.raises(FailedPrecondition, match=f"lvchange -Zy {pool}"):
            refused()
    group.lvm("lvchange", "-Zy", pool)
    written.check()

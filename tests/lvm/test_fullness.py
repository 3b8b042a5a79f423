"""A thin pool that fills up: nothing is cloned above the watermarks, and servers never stall."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clonepool.backends.lvm import LvmBackend
from clonepool.backends.lvm_group import VolumeGroup
from clonepool.cli.checks import FAIL, OK
from clonepool.cli.checks_lvm import check_lvm
from clonepool.config import DriverSettings
from clonepool.domain.states import CloneMode
from clonepool.errors import STORAGE_FULL, ResourceExhausted
from clonepool.testing.images import make_random_image, make_sparse_image
from clonepool.testing.volume_groups import ThinGroup, thin_group
from tests.service.serving import make_settings

pytestmark = pytest.mark.lvm

MIB = 2**20
POOL_MIB = 64


@pytest.fixture
def small() -> Iterator[ThinGroup]:
    """A pool of 64 MiB, and room to grow it by as much."""
    with thin_group(size_mib=POOL_MIB, disk_mib=3 * POOL_MIB) as made:
        yield made


def open_with_image(group: ThinGroup, folder: Path, **settings: int) -> LvmBackend:
    backend = LvmBackend(group.settings(**settings))
    source = make_random_image(folder / "source.raw", size_bytes=4 * MIB)
    backend.import_image(name="img", source=source)
    return backend


def data_percent(group: ThinGroup) -> float:
    pool = f"{group.name}/{group.thin_pool}"
    return float(group.lvm("lvs", "--noheadings", "-o", "data_percent", pool))


def test_above_the_data_watermark_nothing_is_cloned_until_the_pool_has_grown(
    small: ThinGroup, tmp_path: Path
) -> None:
    backend = open_with_image(small, tmp_path, data_watermark=60)
    backend.clone(image="img", name="vol-a-g1", mode=CloneMode.AUTO)
    assert 34 * MIB < backend.space().free_bytes < 35 * MIB
    small.fill(size_mib=36)
    words = rf"{small.name}/thin-pool holds 62\.5% of 64 MiB data, .+ watermark of 60%: .+lvextend"
    for refused in (
        lambda: backend.clone(image="img", name="vol-b-g1", mode=CloneMode.AUTO),
        lambda: backend.import_image(name="img2", source=tmp_path / "source.raw"),
        backend.check,
    ):
        with pytest.raises(ResourceExhausted, match=words) as caught:
            refused()
        assert STORAGE_FULL == caught.value.reason
        assert "62.5" == caught.value.metadata["data_percent"]
    assert 0 == backend.space().free_bytes
    assert 62.5 == data_percent(small)
    assert CloneMode.THIN == backend.clone(image="img", name="vol-a-g1", mode=CloneMode.AUTO)

    small.lvm("lvextend", "-q", "-L", f"{2 * POOL_MIB}M", f"{small.name}/{small.thin_pool}")
    backend.check()
    assert CloneMode.THIN == backend.clone(image="img", name="vol-b-g1", mode=CloneMode.AUTO)


def test_an_import_or_a_full_clone_that_would_pass_the_watermark_writes_nothing(
    small: ThinGroup, tmp_path: Path
) -> None:
    backend = open_with_image(small, tmp_path, data_watermark=50)
    small.fill(size_mib=26)
    before = data_percent(small)
    large = make_random_image(tmp_path / "large.raw", size_bytes=5 * MIB)
    with pytest.raises(ResourceExhausted, match=r"importing image big: .+ 5 MiB more are needed"):
        backend.import_image(name="big", source=large)
    with pytest.raises(ResourceExhausted, match="4 MiB more are needed"):
        backend.clone(image="img", name="vol-a-g1", mode=CloneMode.FULL)
    assert before == data_percent(small)
    assert {"thin-pool", "ballast", "clonepool-img"} == small.volumes()
    assert CloneMode.THIN == backend.clone(image="img", name="vol-a-g1", mode=CloneMode.THIN)


def test_above_the_metadata_watermark_nothing_is_cloned(small: ThinGroup, tmp_path: Path) -> None:
    open_with_image(small, tmp_path)
    backend = LvmBackend(small.settings(metadata_watermark=5))
    words = r"has used 1\d\.\d% of its metadata, .+ watermark of 5%: .+--poolmetadatasize"
    with pytest.raises(ResourceExhausted, match=words):
        backend.clone(image="img", name="vol-a-g1", mode=CloneMode.AUTO)
    with pytest.raises(ResourceExhausted, match=words):
        backend.check()
    assert 0 == backend.space().free_bytes


def test_doctor_tells_how_full_the_pool_is_and_changes_nothing(
    small: ThinGroup, tmp_path: Path
) -> None:
    settings = make_settings(listen=f"unix://{tmp_path}/engine.sock", state_dir=tmp_path / "state")
    options = {"volume_group": small.name, "thin_pool": small.thin_pool, "data_watermark": "50%"}
    settings.storages["thin"] = DriverSettings(
        name="thin", driver="lvm", options={**options, "reserve": "1MiB"}
    )
    VolumeGroup(small.settings()).create("unfinished", size_bytes=MIB)
    (found,) = check_lvm(settings)
    text = f"thin pool {small.name}/thin-pool: 32 MiB of 64 MiB free below its watermarks"
    assert (OK, text) == (found.level, found.detail)
    small.fill(size_mib=40)
    (found,) = check_lvm(settings)
    assert FAIL == found.level
    assert "watermark of 50%" in found.detail
    assert {"thin-pool", "clonepool-unfinished", "ballast"} == small.volumes()


def test_a_volume_has_to_itself_what_it_holds_beyond_its_image(
    small: ThinGroup, tmp_path: Path
) -> None:
    backend = open_with_image(small, tmp_path)
    source = make_sparse_image(tmp_path / "sparse.raw", size_bytes=8 * MIB, data={0: b"x" * MIB})
    backend.import_image(name="sparse", source=source)
    for name, mode in (("vol-a-g1", CloneMode.THIN), ("vol-b-g1", CloneMode.FULL)):
        backend.clone(image="sparse", name=name, mode=mode)
    assert 0 == backend.own_bytes(name="vol-a-g1")
    assert MIB == backend.own_bytes(name="vol-b-g1")
    for name in ("vol-a-g1", "vol-b-g1"):
        with backend.location(name=name).path.open("r+b", buffering=0) as device:
            device.seek(4 * MIB)
            device.write(b"y" * 2 * MIB)
            os.fsync(device.fileno())
    assert 2 * MIB == backend.own_bytes(name="vol-a-g1")
    assert 3 * MIB == backend.own_bytes(name="vol-b-g1")
    backend.delete(name="sparse")
    assert 0 == backend.own_bytes(name="vol-a-g1"), "fewer than there are is safe"

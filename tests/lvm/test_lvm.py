"""The LVM driver's own promises: leftovers, reboots, what is somebody else's, who holds what."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clonepool import commands
from clonepool.backends.device_mapper import device_name
from clonepool.backends.lvm import LvmBackend
from clonepool.backends.lvm_group import VolumeGroup
from clonepool.domain.states import CloneMode, ScrubMethod
from clonepool.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from clonepool.testing.images import make_ext4_image, make_random_image
from clonepool.testing.volume_groups import ThinGroup

pytestmark = pytest.mark.lvm

MIB = 2**20


@pytest.fixture
def content(backend: LvmBackend, tmp_path: Path) -> bytes:
    """The bytes of the image ``img``, which is imported."""
    source = make_random_image(tmp_path / "source.raw", size_bytes=MIB)
    backend.import_image(name="img", source=source)
    return source.read_bytes()


def read_all(backend: LvmBackend, name: str) -> bytes:
    return backend.read(name=name, offset=0, length=backend.stat(name=name).size_bytes)


def write_raw(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, data, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def mounted(device: Path, folder: Path) -> Iterator[None]:
    folder.mkdir()
    commands.run(["mount", str(device), str(folder)], timeout_s=30)
    try:
        yield
    finally:
        commands.run(["umount", str(folder)], timeout_s=30)


def test_the_image_is_read_only_in_the_kernel(backend: LvmBackend, content: bytes) -> None:
    with pytest.raises(PermissionError):
        write_raw(backend.location(name="img").path, b"not even root")
    assert content == read_all(backend, "img")


def test_what_is_asked_on_the_way_to_a_server_spawns_nothing(
    backend: LvmBackend, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.clone(image="img", name="vol-a-g1", mode=CloneMode.AUTO)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FailedPrecondition, match="install lvm2 and thin-provisioning-tools"):
        backend.clone(image="img", name="vol-b-g1", mode=CloneMode.AUTO)
    assert backend.location(name="vol-a-g1").path.is_block_device()
    assert len(content) == backend.stat(name="vol-a-g1").size_bytes
    backend.check()
    assert backend.space().free_bytes > 0


def test_after_a_reboot_everything_is_active_again(
    backend: LvmBackend, group: ThinGroup, content: bytes
) -> None:
    backend.clone(image="img", name="vol-a-g1", mode=CloneMode.AUTO)
    write_raw(backend.location(name="vol-a-g1").path, b"kept")
    group.deactivate()
    with pytest.raises(Unavailable, match=r"not active; run `vgchange -ay"):
        backend.check()
    again = LvmBackend(group.settings())
    again.check()
    assert b"kept" + content[4:] == read_all(again, "vol-a-g1")
    assert CloneMode.THIN == again.clone(image="img", name="vol-a-g1", mode=CloneMode.FULL)
    with pytest.raises(PermissionError):
        write_raw(again.location(name="img").path, b"not even root")


def test_a_device_that_went_away_is_made_again_when_it_is_asked_for(
    backend: LvmBackend, group: ThinGroup, content: bytes
) -> None:
    group.deactivate()
    assert backend.location(name="img").path.is_block_device()
    assert content == read_all(backend, "img")


def test_a_volume_that_an_administrator_removed_is_not_found(
    backend: LvmBackend, group: ThinGroup, content: bytes
) -> None:
    backend.clone(image="img", name="vol-a-g1", mode=CloneMode.AUTO)
    group.lvm("lvremove", "-y", "-f", f"{group.name}/clonepool-vol-a-g1")
    for verb in (backend.location, backend.stat):
        with pytest.raises(NotFound):
            verb(name="vol-a-g1")
    assert ["img"] == [found.name for found in backend.list()]


def test_what_a_killed_process_left_unfinished_is_removed_at_open(
    backend: LvmBackend, group: ThinGroup, content: bytes
) -> None:
    VolumeGroup(group.settings()).create("vol-a-g1", size_bytes=MIB)
    assert ["img"] == [found.name for found in backend.list()]
    LvmBackend(group.settings())
    assert {"thin-pool", "clonepool-img"} == group.volumes()


def test_what_is_unfinished_makes_room_for_whoever_takes_its_name(
    backend: LvmBackend, group: ThinGroup, content: bytes
) -> None:
    for name, mode in (("vol-a-g1", CloneMode.AUTO), ("vol-b-g1", CloneMode.FULL)):
        VolumeGroup(group.settings()).create(name, size_bytes=MIB)
        backend.clone(image="img", name=name, mode=mode)
        assert content == read_all(backend, name)


def test_devices_that_a_killed_command_left_suspended_are_resumed_at_open(
    backend: LvmBackend, group: ThinGroup, content: bytes
) -> None:
    names = VolumeGroup(group.settings())
    commands.run(["dmsetup", "suspend", names.device("img")], timeout_s=30)
    assert content == read_all(LvmBackend(group.settings()), "img")


@pytest.mark.slow
def test_clones_whose_commands_are_killed_are_whole_or_absent_afterwards(
    backend: LvmBackend, group: ThinGroup, content: bytes
) -> None:
    """The engine and the command it runs die at once, as with a cgroup that is killed."""
    seed = random.Random(6)  # noqa: S311 - where to cut
    for attempt in range(12):
        _clone_and_die(group, prefix=f"vol-{attempt}", after_s=seed.uniform(0.1, 1.5))
        again = LvmBackend(group.settings())
        for name in [found.name for found in again.list() if found.name != "img"]:
            assert content == read_all(again, name)
            again.delete(name=name)
        assert {"thin-pool", "clonepool-img"} == group.volumes()


def test_a_device_that_only_the_kernel_knows_does_not_hold_up_the_pool(
    backend: LvmBackend, group: ThinGroup, content: bytes
) -> None:
    """LVM's command died after the kernel's part and before its own record: made by hand here."""
    said = group.lvm("lvs", "--noheadings", "-o", "thin_id", group.name)
    following = 1 + max(int(word) for word in said.split())
    pool = device_name(group=group.name, volume="thin-pool", layer="tpool")
    commands.run(["dmsetup", "message", pool, "0", f"create_thin {following}"], timeout_s=30)
    backend.clone(image="img", name="vol-a-g1", mode=CloneMode.THIN)
    backend.clone(image="img", name="vol-b-g1", mode=CloneMode.THIN)
    assert content == read_all(backend, "vol-a-g1") == read_all(backend, "vol-b-g1")


def _clone_and_die(group: ThinGroup, *, prefix: str, after_s: float) -> None:
    program = (
        "import sys\n"
        "from clonepool.backends.lvm import LvmBackend\n"
        "from clonepool.backends.lvm_settings import LvmSettings\n"
        "from clonepool.domain.states import CloneMode\n"
        f"backend = LvmBackend(LvmSettings(volume_group={group.name!r}, thin_pool='thin-pool'))\n"
        "print('cloning', flush=True)\n"
        "for number in range(100):\n"
        "    mode = CloneMode.FULL if number % 2 else CloneMode.THIN\n"
        f"    backend.clone(image='img', name=f'{prefix}-{{number}}-g1', mode=mode)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert b"cloning\n" == process.stdout.readline()
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    process.wait()


def test_what_is_somebody_elses_in_the_group_is_left_alone(
    group: ThinGroup, tmp_path: Path
) -> None:
    pool = f"{group.name}/{group.thin_pool}"
    foreign = {"their-vol": ("-V", "8M", "-T", pool), "clonepool-theirs": ("-V", "8M", "-T", pool)}
    foreign |= {"their-disk": ("-Zn", "-L", "4M", group.name)}
    for name, words in foreign.items():
        group.lvm("lvcreate", "-y", "-Wn", "-n", name, *words)
        write_raw(group.path(name), f"of {name}".encode())
    group.lvm("lvchange", "-an", f"{group.name}/their-vol")
    backend = LvmBackend(group.settings())
    backend.import_image(
        name="img", source=make_random_image(tmp_path / "source.raw", size_bytes=MIB)
    )
    assert ["img"] == [found.name for found in backend.list()]
    backend.delete(name="theirs")
    with pytest.raises(NotFound):
        backend.location(name="theirs")
    with pytest.raises(AlreadyExists, match=r"clonepool-theirs .+ somebody else's"):
        backend.clone(image="img", name="theirs", mode=CloneMode.AUTO)
    backend.delete(name="img")
    assert {"thin-pool", *foreign} == group.volumes()
    assert not group.path("their-vol").exists()
    group.lvm("lvchange", "-ay", f"{group.name}/their-vol")
    for name in foreign:
        assert f"of {name}".encode() == group.path(name).open("rb").read(len(name) + 3)


def test_two_storages_share_a_pool_by_their_prefixes(
    backend: LvmBackend, group: ThinGroup, content: bytes
) -> None:
    other = LvmBackend(group.settings(prefix="other-"))
    assert [] == list(other.list())
    other.delete(name="img")
    assert content == read_all(backend, "img")


def test_a_mounted_volume_is_neither_erased_nor_deleted_and_the_mount_is_named(
    backend: LvmBackend, tmp_path: Path
) -> None:
    source = make_ext4_image(tmp_path / "source.raw", size_bytes=4 * MIB)
    backend.import_image(name="img", source=source)
    backend.clone(image="img", name="vol-a-g1", mode=CloneMode.AUTO)
    with mounted(backend.location(name="vol-a-g1").path, tmp_path / "mnt"):
        with pytest.raises(Unavailable, match=r"held open by the mount at .+/mnt; end that"):
            backend.delete(name="vol-a-g1")
        with pytest.raises(Unavailable, match="end what has it open"):
            backend.erase(name="vol-a-g1", method=ScrubMethod.ZERO)
    backend.delete(name="vol-a-g1")
    assert ["img"] == [found.name for found in backend.list()]


def test_a_volume_that_was_cut_is_reported_with_the_size_that_it_has(
    backend: LvmBackend, group: ThinGroup, tmp_path: Path
) -> None:
    source = make_random_image(tmp_path / "source.raw", size_bytes=9 * MIB)
    backend.import_image(name="img", source=source)
    backend.clone(image="img", name="vol-a-g1", mode=CloneMode.AUTO)
    group.lvm("lvreduce", "-y", "-f", "-L", "4M", f"{group.name}/clonepool-vol-a-g1")
    assert 4 * MIB == backend.stat(name="vol-a-g1").size_bytes
    assert {"img": 9 * MIB, "vol-a-g1": 4 * MIB} == {
        found.name: found.size_bytes for found in LvmBackend(group.settings()).list()
    }


def test_an_absent_group_or_pool_is_named_with_the_way_out(group: ThinGroup) -> None:
    with pytest.raises(Unavailable, match="connect the disks of volume group nowhere"):
        LvmBackend(group.settings(volume_group="nowhere"))
    with pytest.raises(FailedPrecondition, match=r"no-pool is not there; make one with `lvcreate"):
        LvmBackend(group.settings(thin_pool="no-pool"))
    with pytest.raises(InvalidArgument, match="lvm_config: LVM can't read it"):
        LvmBackend(group.settings(lvm_config="report { output_format = 1 "))

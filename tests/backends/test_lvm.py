"""What of the LVM driver needs no LVM: its options, its names, its errors, its rights."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from clonepool.backends.device_mapper import CONTROL, device_name
from clonepool.backends.device_users import describe_users
from clonepool.backends.lvm import LvmBackend
from clonepool.backends.lvm_errors import lvm_errors, to_kind
from clonepool.backends.lvm_group import VolumeGroup
from clonepool.backends.lvm_settings import LvmSettings, read_lvm_settings
from clonepool.backends.registry import create_backend
from clonepool.config import DriverSettings
from clonepool.errors import (
    STORAGE_FULL,
    ClonepoolError,
    CommandError,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from tests.fabrics.as_nobody import as_nobody, needs_root_to_become_nobody

SETTINGS = LvmSettings(volume_group="vg", thin_pool="pool")
OPTIONS = {"volume_group": "vg", "thin_pool": "pool"}


def test_the_options_have_defaults_but_for_the_pool() -> None:
    assert SETTINGS == read_lvm_settings(OPTIONS)
    given = {
        "prefix": "rack1-",
        "data_watermark": "70%",
        "metadata_watermark": "50%",
        "lvm_config": "devices { use_devicesfile = 0 }",
    }
    assert LvmSettings(
        volume_group="vg",
        thin_pool="pool",
        prefix="rack1-",
        data_watermark=70,
        metadata_watermark=50,
        lvm_config="devices { use_devicesfile = 0 }",
    ) == read_lvm_settings(OPTIONS | given)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("volume_group", ""),
        ("volume_group", "a/b"),
        ("volume_group", "-a"),
        ("volume_group", ".."),
        ("thin_pool", ""),
        ("prefix", "no-hyphen-at-the-end"),
        ("prefix", "Upper-"),
        ("prefix", "-"),
        ("data_watermark", "85"),
        ("data_watermark", "0%"),
        ("metadata_watermark", "100%"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_its_name(option: str, text: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{option}: "):
        read_lvm_settings(OPTIONS | {option: text})


def test_an_unknown_option_is_refused_naming_the_known(tmp_path: Path) -> None:
    settings = DriverSettings(name="fast", driver="lvm", options={**OPTIONS, "pool": "x"})
    with pytest.raises(InvalidArgument, match=r"storages\.fast\.pool: .+thin_pool \(the thin"):
        create_backend(settings, default_directory=tmp_path)


@pytest.mark.root
@needs_root_to_become_nobody
def test_a_normal_user_is_told_that_lvm_needs_root() -> None:
    def work(_folder: Path) -> str:
        try:
            LvmBackend(SETTINGS)
        except PermissionDenied as error:
            return str(error)
        return "opened"

    assert (
        "the engine's user (uid 65534) can't use thin pool vg/pool: LVM needs root; run the engine "
        "as root, or use driver file"
    ) == as_nobody(work)


def test_hyphens_count_twice_in_the_names_of_devices() -> None:
    assert "my--vg-clonepool--vol--a--g1" == device_name(group="my-vg", volume="clonepool-vol-a-g1")
    assert "vg-pool-tpool" == device_name(group="vg", volume="pool", layer="tpool")
    with pytest.raises(FailedPrecondition, match="device name of 129 characters"):
        device_name(group="a" * 64, volume="-" * 32)


def test_a_name_that_lvm_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="has 128 characters, and LVM takes 127"):
        VolumeGroup(SETTINGS).volume("a" * 118)


@pytest.mark.parametrize(
    ("said", "kind", "reason", "way_out"),
    [
        ('  Volume group "vg" not found', Unavailable, "STORAGE_AWAY", "vgchange -ay vg"),
        (
            "  Free space in pool vg/pool is above threshold, new volumes are not allowed.",
            ResourceExhausted,
            STORAGE_FULL,
            "lvextend -L +10G vg/pool",
        ),
        (
            "  VG vg 1048000 metadata on /dev/sda (521000 bytes) too large for circular buffer",
            ResourceExhausted,
            STORAGE_FULL,
            "vgcreate --metadatasize",
        ),
        ("  Logical volume vg/x in use.", Unavailable, "VOLUME_HELD", "fuser"),
        (
            "  Logical volume vg/x contains a filesystem in use.",
            Unavailable,
            "VOLUME_HELD",
            "lsblk",
        ),
        (
            "  Failure to communicate with kernel device-mapper driver.",
            FailedPrecondition,
            "NO_DEVICE_MAPPER",
            "modprobe dm_thin_pool",
        ),
        (
            "  thin-pool: Required device-mapper target(s) not detected in your kernel.",
            FailedPrecondition,
            "NO_DEVICE_MAPPER",
            "modprobe dm_thin_pool",
        ),
        ("  something new", Unavailable, "STORAGE_FAILED", "lvs -a vg"),
    ],
)
def test_what_lvm_says_has_its_kind_and_a_way_out(
    said: str, kind: type[ClonepoolError], reason: str, way_out: str
) -> None:
    noise = "  WARNING: Sum of all thin volume sizes exceeds the size of thin pool vg/pool.\n"
    error = CommandError(argv=["lvm", "lvcreate"], exit_code=5, stderr=noise + said)
    found = to_kind(error, doing="cloning image a to b", settings=SETTINGS)
    assert (kind, reason) == (type(found), found.reason)
    assert str(found).startswith("cloning image a to b: ")
    assert way_out in str(found)
    assert "WARNING" not in str(found)


def test_a_configuration_that_lvm_cannot_read_is_the_settings_fault() -> None:
    said = "  Parse error at byte 177 (line 1): unexpected token"
    error = CommandError(argv=["lvm", "lvs"], exit_code=3, stderr=said)
    with pytest.raises(InvalidArgument, match=r"^lvm_config: LVM can't read it"):
        raise to_kind(error, doing="opening", settings=SETTINGS)


@pytest.mark.parametrize(
    ("code", "path", "reason"),
    [
        (errno.EPERM, CONTROL, "STORAGE_FORBIDDEN"),
        (errno.ENOENT, CONTROL, "NO_DEVICE_MAPPER"),
        (errno.ENOSPC, "/dev/vg/x", STORAGE_FULL),
        (errno.EBUSY, "/dev/vg/x", "VOLUME_HELD"),
        (errno.EIO, "/dev/vg/x", "STORAGE_FAILED"),
    ],
)
def test_what_the_kernel_says_has_its_kind(code: int, path: str, reason: str) -> None:
    with (
        pytest.raises(ClonepoolError, match=path) as caught,
        lvm_errors(doing="reading x", settings=SETTINGS),
    ):
        raise OSError(code, os.strerror(code), path)
    assert reason == caught.value.reason


def test_whoever_has_a_device_open_is_named_and_nobody_where_it_cannot_be_seen() -> None:
    assert "somebody that this process can't see" == describe_users(os.makedev(4095, 4095))
    where = Path("/proc/self/mountinfo").read_text().splitlines()
    major, minor = where[0].split(" ")[2].split(":")
    assert "the mount at " in describe_users(os.makedev(int(major), int(minor)))

"""Storage drivers by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clonepool.backends.file import FileBackend
from clonepool.backends.memory import MemoryBackend
from clonepool.backends.registry import DRIVERS, create_backend
from clonepool.config import DriverSettings
from clonepool.errors import InvalidArgument


def settings(driver: str, **options: str) -> DriverSettings:
    return DriverSettings(name="default", driver=driver, options=options)


def test_the_file_driver_lies_in_the_default_directory_unless_told(tmp_path: Path) -> None:
    made = create_backend(settings("file"), default_directory=tmp_path / "a")
    assert isinstance(made, FileBackend)
    assert (tmp_path / "a" / "volumes").is_dir()
    create_backend(settings("file", path=str(tmp_path / "b")), default_directory=tmp_path / "c")
    assert (tmp_path / "b" / "volumes").is_dir()
    assert not (tmp_path / "c").exists()


def test_a_relative_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="not an absolute path"):
        create_backend(settings("file", path="volumes"), default_directory=tmp_path)


def test_an_unknown_driver_is_refused_naming_the_known(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidArgument, match="'zfs' is no storage driver; known: file, lvm, memory"
    ):
        create_backend(settings("zfs"), default_directory=tmp_path)


def test_an_unknown_option_is_refused_naming_the_known(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"storages\.default\.paht: .+ path \(directory"):
        create_backend(settings("file", paht="/x"), default_directory=tmp_path)


def test_memory_takes_its_options(tmp_path: Path) -> None:
    made = create_backend(settings("memory", thin="no", size="1GiB"), default_directory=tmp_path)
    assert not made.capabilities().thin_clones
    assert 2**30 == made.space().total_bytes
    with pytest.raises(InvalidArgument, match="neither yes nor no"):
        create_backend(settings("memory", thin="maybe"), default_directory=tmp_path)


def test_memory_of_one_instance_is_shared_and_can_be_forgotten(tmp_path: Path) -> None:
    def create() -> object:
        return create_backend(settings("memory", instance="one"), default_directory=tmp_path)

    first = create()
    assert first is create()
    MemoryBackend.forget("one")
    assert first is not create()
    MemoryBackend.forget("one")


def test_a_driver_is_imported_only_when_a_storage_uses_it() -> None:
    program = "import sys, clonepool.backends.registry; print(*sys.modules)"
    argv = [sys.executable, "-c", program]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    assert [] == [target for target in DRIVERS.values() if target.partition(":")[0] in loaded]

"""What this machine's kernel lacks, tested in a guest that has it: one boot for each feature."""

from __future__ import annotations

import pytest

from tests.guest.conftest import RunFolder
from tests.support.guest import ROOT

pytestmark = [pytest.mark.guest, pytest.mark.slow]
# one boot for each: a file that fails is told by its name, and none takes very long
LVM_FILES = ("test_conformance", "test_lvm", "test_fullness", "test_erasing", "test_vertical")


@pytest.mark.open_iscsi
@pytest.mark.tgt  # for libiscsi
def test_lio(run_folder: RunFolder) -> None:
    """Each test that failed in there is told here; by hand see CONTRIBUTING."""
    run_folder("tests/lio", timeout_s=600)


@pytest.mark.parametrize("file", LVM_FILES)
@pytest.mark.open_iscsi
@pytest.mark.tgt
def test_lvm(run_folder: RunFolder, file: str) -> None:
    """Its disks lie in the guest's memory."""
    run_folder(f"tests/lvm/{file}.py", timeout_s=900, memory_mib=2048)


def test_no_file_of_lvms_tests_is_left_out() -> None:
    there = (ROOT / "tests/lvm").glob("test_*.py")
    assert sorted(LVM_FILES) == sorted(path.stem for path in there)

"""What this machine's kernel lacks, tested in a guest that has it: one boot for each feature."""

from __future__ import annotations

import pytest

from tests.guest.conftest import RunFolder

pytestmark = [pytest.mark.guest, pytest.mark.slow]


@pytest.mark.open_iscsi
@pytest.mark.tgt  # for libiscsi
def test_lio(run_folder: RunFolder) -> None:
    """Each test that failed in there is told here; by hand see CONTRIBUTING."""
    run_folder("tests/lio", timeout_s=600)


def test_lvm(run_folder: RunFolder) -> None:
    """Its disks lie in the guest's memory."""
    run_folder("tests/lvm", timeout_s=1500, memory_mib=2048)

"""Running a folder of tests in the guest as one test of this run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import NOTES
from tests.support.guest import ROOT
from tests.support.guest_pytest import run_pytest_in_guest

RunFolder = Callable[..., None]


@pytest.fixture
def run_folder(tmp_path: Path, pytestconfig: pytest.Config) -> RunFolder:
    """Boots the guest once and runs a folder's tests in it; fails with all that failed in there.

    It fails too where no test ran. What was left out in the guest is noted at the end of this run.
    """

    def run(folder: str, *, timeout_s: float, memory_mib: int = 1024) -> None:
        results = run_pytest_in_guest(
            [ROOT / folder], share=tmp_path, timeout_s=timeout_s, memory_mib=memory_mib
        )
        pytestconfig.stash[NOTES].add(f"{folder}: {results.summary()}")
        problem = results.find_problem()
        if problem is not None:
            pytest.fail(problem, pytrace=False)

    return run

"""The harness: what a marker asks for and the machine lacks is skipped, listed, or in CI fatal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFTEST = """
from tests import conftest
from tests.conftest import pytest_configure, pytest_runtest_setup, pytest_terminal_summary
from tests.support import features

lack = features.Lack(reason="no tgtd in this trial", installable={installable})
features.PROBES = conftest.PROBES = {{"tgt": lambda: lack, "root": lambda: None}}
"""
TESTS = """
import pytest

@pytest.mark.tgt
def test_one(): ...

@pytest.mark.tgt
def test_two(): ...

@pytest.mark.root
def test_three(): ...
"""


def run_trial(
    folder: Path, *, ci: bool, installable: bool, guest: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run three tests, two of them marked with what is not there, in a pytest of their own."""
    (folder / "conftest.py").write_text(CONFTEST.format(installable=installable))
    (folder / "test_trial.py").write_text(TESTS)
    argv = [sys.executable, "-m", "pytest", "--strict-markers", "-c", str(ROOT / "pyproject.toml")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CI": "true" if ci else ""}
    environment["CLONEPOOL_GUEST"] = "1" if guest else ""
    return subprocess.run(
        [*argv, "--rootdir", str(folder), "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_lacking_feature_skips_and_is_listed_before_the_closing_line(tmp_path: Path) -> None:
    done = run_trial(tmp_path, ci=False, installable=True)
    assert 0 == done.returncode, done.stdout
    assert "skipped by marker tgt: 2 tests: no tgtd in this trial" in done.stdout
    assert "1 passed, 2 skipped" in done.stdout.splitlines()[-1]


@pytest.mark.root
def test_ci_fails_where_root_could_have_installed_the_feature(tmp_path: Path) -> None:
    done = run_trial(tmp_path, ci=True, installable=True)
    assert 1 == done.returncode, done.stdout
    assert "CI must have what marker tgt needs: no tgtd in this trial" in done.stdout


def test_ci_skips_what_no_installation_brings(tmp_path: Path) -> None:
    done = run_trial(tmp_path, ci=True, installable=False)
    assert 0 == done.returncode, done.stdout
    assert "1 passed, 2 skipped" in done.stdout.splitlines()[-1]


@pytest.mark.root
def test_the_guest_fails_where_it_lacks_what_it_was_booted_for(tmp_path: Path) -> None:
    """Else a run in there that skips everything would pass for a good one."""
    done = run_trial(tmp_path, ci=False, installable=True, guest=True)
    assert 1 == done.returncode, done.stdout
    assert "marker tgt needs: no tgtd in this trial" in done.stdout

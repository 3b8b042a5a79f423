"""Runs the tests on a copy of the engine with planted faults."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.crash.planting import Mutant, plant

ROOT: Final = Path(__file__).parents[2]
# the quick ones first: the first failure is enough
SUITE: Final = (
    "tests/crash/test_crash_points.py",
    "tests/crash/test_concurrency.py",
    "tests/crash/test_concurrent_returns.py",
    "tests/controllers/test_restart.py",
    "tests/crash/test_any_instant.py",
)
_LIMIT_S: Final = 1800.0
_PASSED, _FAILED = 0, 1
_OPTIONS: Final = ("-x", "-q", "--no-header", "--tb=line", "--show-capture=no")


@dataclass(frozen=True, kw_only=True)
class Hunt:
    """``found``: whether a test failed; None: the tests could not be run. ``where``: which."""

    found: bool | None
    where: str


def hunt(mutants: Sequence[Mutant], *, suite: Sequence[str] = ()) -> Hunt:
    """Plant the faults together, and look for the first test that fails. Blocks for minutes.

    The tests are those of ``suite``, else of the faults, else of this folder.
    """
    suite = suite or tuple(name for mutant in mutants for name in mutant.suite) or SUITE
    with tempfile.TemporaryDirectory(prefix="cp-mutant-") as folder:
        path = plant(Path(folder), mutants)
        variables = {"PYTHONPATH": str(path), "CLONEPOOL_TEST_FIND_ONLY": "1"}
        used = _python(variables, "-c", "import clonepool; print(clonepool.__file__)")
        if not used.stdout.startswith(str(path)):
            return Hunt(found=None, where=f"the copy was not used, but {used.stdout}")
        done = _python(variables, "-m", "pytest", "-p", "no:cacheprovider", *_OPTIONS, *suite)
    if done.returncode not in {_PASSED, _FAILED}:
        return Hunt(found=None, where=done.stdout[-2000:] + done.stderr[-2000:])
    failed = (line for line in done.stdout.splitlines() if line.startswith("FAILED "))
    first = next(failed, "").removeprefix("FAILED ").partition(" - ")[0]
    return Hunt(found=done.returncode == _FAILED, where=first)


def _python(variables: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )

"""The tests of this folder can fail: a few planted faults are found; `make mutants` has all."""

from __future__ import annotations

import pytest

from tests.crash.hunt import hunt
from tests.crash.mutants import BY_NAME, MUTANTS, PAIRS
from tests.crash.planting import NO_GUARDS, SOURCES

_QUICK = ("tests/crash/test_crash_points.py", "tests/crash/test_concurrency.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        ("released without unexport",),
        ("generation not raised by a scrub",),
        ("lease not looked at", "end accepted from a stale worker"),
    ],
)
def test_planted_faults_are_found(names: tuple[str, ...]) -> None:
    result = hunt([BY_NAME[name] for name in names], suite=_QUICK)
    assert result.found, result.where


def test_every_fault_can_still_be_planted() -> None:
    """The source that an edit names is there, once."""
    edits = [*NO_GUARDS, *(edit for mutant in MUTANTS for edit in mutant.edits)]
    texts = {edit.file: (SOURCES / edit.file).read_text() for edit in edits}
    assert [] == [edit for edit in edits if texts[edit.file].count(edit.old) != 1]


def test_every_fault_is_planted_alone_or_in_a_pair() -> None:
    paired = {name for pair in PAIRS for name in pair}
    assert len(BY_NAME) == len(MUTANTS)
    assert paired <= BY_NAME.keys()
    assert [] == [each.name for each in MUTANTS if not each.alone and each.name not in paired]

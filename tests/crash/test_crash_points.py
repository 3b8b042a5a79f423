"""The crash points themselves: none is missing, each is reached, none can be armed by accident."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import timeit
from pathlib import Path

import pytest

import clonepool
from clonepool import crash_points
from clonepool.crash_points import Point, observed, reach
from clonepool.testing.dying_engine import DIE_AT, HOLD_AT
from tests.crash.drifting import new_world
from tests.crash.drivers import Boundaries
from tests.crash.users import Known
from tests.crash.whole_life import live_a_whole_life

SOURCES = Path(clonepool.__file__).parent
# the parts of the engine from which anything lasting is done
REACHED_IN = ("controllers", "store", "fabrics", "importer")


def test_between_all_that_lasts_there_is_a_crash_point() -> None:
    """A commit or a driver's verb that follows another without a point is named here."""
    with new_world() as world:
        live_a_whole_life(world)
        assert set() == world.boundaries.unguarded


def test_every_crash_point_is_reached() -> None:
    with new_world() as world:
        live_a_whole_life(world)
        assert set(Point) == {point for point, _detail in world.reached}


def test_a_missing_crash_point_is_found_by_name() -> None:
    """The watch itself can fail."""
    found = Boundaries()
    found.begin()
    found.verb("revoke")
    found.verb("unexport")
    found.point(Point.COMMITTING)
    assert {"revoke and unexport", "unexport and a commit"} == {
        " ".join(text.split()[4:-2]) for text in found.unguarded
    }


def test_points_are_reached_by_their_names_and_each_somewhere() -> None:
    """A name that nothing reaches, or a point outside of the engine's parts, is a mistake."""
    files = [path for part in REACHED_IN for path in (SOURCES / part).rglob("*.py")]
    named = {
        name for path in files for name in re.findall(r"\breach\(Point\.(\w+)", path.read_text())
    }
    assert {point.name for point in Point} == named
    elsewhere = [
        path
        for path in SOURCES.rglob("*.py")
        if "crash_points" in path.read_text() and path not in files
    ]
    allowed = {"crash_points.py", "dying_engine.py"}
    assert allowed >= {path.name for path in elsewhere}


def test_a_point_costs_next_to_nothing_when_nobody_observes() -> None:
    """Ten of them in a request must not show beside its commit, of a tenth of a millisecond."""
    once_s = min(timeit.repeat(lambda: reach(Point.GRANTING), number=10_000, repeat=5)) / 10_000
    assert once_s < 2e-6


def test_observers_end_with_their_block() -> None:
    seen = []
    with observed(lambda point, detail: seen.append((point, detail))):
        reach(Point.WORK_DONE, "clone_volume")
    reach(Point.WORK_DONE, "clone_volume")
    assert [(Point.WORK_DONE, "clone_volume")] == seen
    assert crash_points._observer is None


@pytest.mark.parametrize("name", [DIE_AT, HOLD_AT])
def test_the_engine_itself_knows_no_way_to_die(name: str) -> None:
    """Only a program of the tests reads the variables: `clonepool serve` imports nothing of it."""
    script = (
        "import sys; import clonepool.cli, clonepool.engine, clonepool.service.server; "
        "from clonepool import crash_points; "
        "assert crash_points._observer is None; "
        "assert not [name for name in sys.modules if name.startswith('clonepool.testing')]"
    )
    environment = {**os.environ, name: str(Point.GRANTING)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, check=False
    )
    assert (0, b"") == (done.returncode, done.stderr)


def test_a_whole_life_leaves_everybody_with_what_he_was_told() -> None:
    """The story that the tests above are told by is itself a proper one."""
    with new_world() as world:
        live_a_whole_life(world)
        world.check()
        assert [] == world.told.of(Known.ATTACHED)
        assert [] == list(world.rows().volumes)

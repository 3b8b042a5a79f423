"""A real engine that kills itself (SIGKILL) at each crash point, on files and a real tgtd.

Each life of it is told beforehand where it will end. Its callers go on until it is dead, and begin
the next life by asking again for what they were not told. What they were told then holds, and
every byte on iSCSI is right.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.crash_points import Point
from clonepool.errors import ClonepoolError
from clonepool.testing.dying_engine import DIE_AT, HOLD_AT, WITNESS
from clonepool.testing.engine_process import EngineProcess
from tests.support.dying_story import CALL_S, IMAGE, LIFE_S, Holder, Story, new_story
from tests.support.site import Site
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.tgt, pytest.mark.slow]

# points that several kinds of work share are died at in each of them
KINDS: Mapping[Point, tuple[str, ...]] = {
    Point.WORK_CLAIMED: (
        "import_image", "clone_volume", "scrub_volume", "delete_volume", "delete_version",
    ),
    Point.WORK_DONE: (
        "import_image", "clone_volume", "scrub_volume", "delete_volume", "delete_version",
    ),
    Point.WORK_UNDER_WAY: ("import_image", "clone_volume", "scrub_volume"),
}  # fmt: skip


def every_death() -> list[str]:
    """Each place to die at, as the engine is told it."""
    plain = [str(point) for point in Point if point not in KINDS]
    return plain + [f"{point}:{kind}" for point, kinds in KINDS.items() for kind in kinds]


def die_of_a_failed_import(story: Story) -> None:
    story.until_dead(story.fail_to_roll_out)


def die_of_a_cancelled_import(story: Story) -> None:
    """The wish to stop is seen with the next note of progress."""
    story.hold()
    story.until_dead(lambda: _cancel(story))


def _cancel(story: Story) -> None:
    story.roll_out()
    story.await_hold()
    image: pb.MasterImage = story.site.call("GetImage", pb.GetRequest(name=IMAGE))
    story.site.call("CancelOperation", pb.GetRequest(id=image.latest.operation_id))
    # progress is not noted sooner than half a second after the start
    time.sleep(0.6)
    story.let_go()
    wait_for(story.is_dead, what="its end", timeout_s=LIFE_S)


def die_of_lost_exports(story: Story) -> None:
    def lose() -> None:
        story.attach(story.holders[0])
        story.lose_exports()
        wait_for(story.is_dead, what="its end", timeout_s=LIFE_S)

    story.until_dead(lose)


def die_while_an_export_is_made_again(story: Story) -> None:
    """A caller asks before the watcher came round to his export."""
    _hold_the_watcher(story)
    turns = itertools.cycle(story.unfinished())
    story.until_dead(
        lambda: story.site.call("CreateAttachment", next(turns).request, timeout_s=CALL_S)
    )


def die_of_an_export_left_over(story: Story) -> None:
    """A volume goes while the exports are made anew."""
    _hold_the_watcher(story)
    turns = itertools.cycle(story.unfinished())
    story.until_dead(lambda: _release_and_let_go(story, next(turns)))


def _hold_the_watcher(story: Story) -> None:
    """While it makes lost exports anew; of two attachments it may have the lock of one."""
    for _ in range(2):
        story.attach(story.new_holder())
    story.hold()
    story.lose_exports()
    story.await_hold()


def _release_and_let_go(story: Story, holder: Holder) -> None:
    story.release(holder)
    story.let_go()
    wait_for(story.is_dead, what="its end", timeout_s=LIFE_S)


def live(story: Story) -> None:
    story.until_dead(story.go_round)


def die_of_a_reformat(story: Story) -> None:
    story.until_dead(lambda: _reformat(story))


def _reformat(story: Story) -> None:
    story.reformat()
    story.go_round()


def die_of_a_lost_object(story: Story) -> None:
    story.until_dead(lambda: _disturb(story, story.lose_object))


def die_of_a_stray_object(story: Story) -> None:
    story.until_dead(lambda: _disturb(story, story.leave_object))


def _disturb(story: Story, disturb: Callable[[], None]) -> None:
    disturb()
    wait_for(story.is_dead, what="its end", timeout_s=LIFE_S)


DEATHS: Mapping[str, Callable[[Story], None]] = {
    Point.WORK_FAILED: die_of_a_failed_import,
    Point.WORK_STOPPED: die_of_a_cancelled_import,
    Point.SCRUB_EMPTIED: die_of_a_reformat,
    Point.SCRUB_REMADE: die_of_a_reformat,
    # of what the death before left
    Point.SCRUB_BEGUN_AGAIN: die_of_a_reformat,
    Point.OBJECT_LOST: die_of_a_lost_object,
    Point.OBJECT_UNEXPORTED: die_of_a_lost_object,
    Point.ORPHAN_DUE: die_of_a_stray_object,
    Point.ORPHAN_UNEXPORTED: die_of_a_stray_object,
    Point.ORPHAN_DELETED: die_of_a_stray_object,
    Point.EXPORT_REMAKING: die_of_lost_exports,
    Point.EXPORT_REMADE: die_of_lost_exports,
    Point.EXPORT_TELLING: die_of_lost_exports,
    Point.EXPORTED_AGAIN: die_while_an_export_is_made_again,
    Point.EXPORT_LEFT_OVER: die_of_an_export_left_over,
}
HOLDS: Mapping[str, str] = {
    Point.WORK_STOPPED: f"{Point.WORK_UNDER_WAY}:import_image",
    Point.EXPORTED_AGAIN: Point.EXPORT_REMAKING,
    Point.EXPORT_LEFT_OVER: Point.EXPORT_REMAKING,
}


def test_killed_at_every_crash_point_the_engine_keeps_what_it_told() -> None:
    with new_story() as story:
        story.begin()
        story.build()
        story.engine.kill()
        for die_at in every_death():
            story.begin(die_at=die_at, hold_at=HOLDS.get(die_at, ""))
            # the last death is looked into as soon as this life has come to rest, if it gets there
            with suppress(ClonepoolError):
                story.check()
            if not story.is_dead():
                DEATHS.get(die_at, live)(story)
            story.end(die_at)
        story.begin()
        story.check()
        assert every_death() == story.died_at
        assert {point.value for point in Point} == {
            name.partition(":")[0] for name in story.died_at
        }


def test_a_served_engine_can_not_be_told_to_die_or_to_stop(tmp_path: Path) -> None:
    """`clonepool serve` reads none of the variables that the test's own program reads."""
    folder, hold = Path(tempfile.mkdtemp(prefix="cp-")), tmp_path / "hold"
    hold.touch()
    everywhere = str(Point.COMMITTED)
    variables = {DIE_AT: everywhere, HOLD_AT: f"{everywhere}={hold}", WITNESS: str(tmp_path / "w")}
    try:
        with (
            EngineProcess(folder / "e", variables=variables) as engine,
            engine.client(timeout_s=20) as client,
        ):
            Site(engine=engine, client=client, sources=folder / "sources").image()
            assert engine.is_running()
        assert [hold] == list(tmp_path.iterdir())
    finally:
        shutil.rmtree(folder)

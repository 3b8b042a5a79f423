"""When scrubbing begins: by number, bytes and age, in its windows, at its pace."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from clonepool.backends.memory import MemoryBackend
from clonepool.controllers.pace import Pace
from clonepool.domain.model import PageRequest, ScrubPolicy
from clonepool.domain.policy import Backlog, Stock, early_trigger, scrub_trigger
from clonepool.domain.states import ScrubMethod, ScrubRunState, Severity, VolumeState
from clonepool.testing.engines import DEFAULT_IMAGE_BYTES, EngineRig

V = VolumeState
HOUR = 3600.0
# the rig's clock starts at 2027-01-15 08:00 UTC, a Friday
CLOSED = ("22:00-06:00",)
_PAGE = PageRequest()


@pytest.mark.parametrize(
    ("backlog", "expected"),
    [
        (Backlog(), ""),
        (Backlog(volumes=4, size_bytes=99, oldest_age_s=59), ""),
        (Backlog(volumes=5), "threshold"),
        (Backlog(volumes=1, size_bytes=100), "bytes"),
        (Backlog(volumes=1, oldest_age_s=60), "age"),
        (Backlog(volumes=0, oldest_age_s=60), ""),
        (Backlog(volumes=5, size_bytes=100, oldest_age_s=60), "threshold"),
    ],
)
def test_each_cause_is_enough(backlog: Backlog, expected: str) -> None:
    policy = ScrubPolicy(threshold=5, max_bytes=100, max_age_s=60)
    assert expected == scrub_trigger(policy, backlog)


def test_what_is_left_out_is_no_cause() -> None:
    backlog = Backlog(volumes=1, size_bytes=2**60, oldest_age_s=1e9)
    assert "" == scrub_trigger(ScrubPolicy(threshold=2), backlog)


@pytest.mark.parametrize(
    ("stock", "fits", "expected"),
    [
        ({"ready": 3}, 0, ""),
        ({"ready": 2}, 0, "low_stock"),
        ({"ready": 2}, 1, ""),
        ({"ready": 2, "making": 1}, 0, ""),
        ({"ready": 2, "recycling": 1}, 0, ""),
        ({"ready": 2, "stale": 5}, 0, "low_stock"),
        ({"ready": 4, "held": 2}, 0, "low_stock"),
        ({"ready": 4, "waiting": 1}, 0, "low_space"),
        ({}, 0, "low_space"),
    ],
)
def test_stock_is_low_below_what_is_declared_and_only_for_want_of_space(
    stock: dict[str, int], fits: int, expected: str
) -> None:
    counted = {"ready": 0, "stale": 0, "making": 0, "recycling": 0, "occupied": 9, "waiting": 0}
    found = Stock(**{**counted, **stock})
    assert expected == early_trigger(ScrubPolicy(on_low_stock=3), found, fits=fits)
    assert expected.removeprefix("low_stock") == early_trigger(ScrubPolicy(), found, fits=fits)
    assert "low_space" != early_trigger(
        ScrubPolicy(on_low_stock=3, on_low_space=False), found, fits=fits
    )


def test_without_leave_for_space_or_stock_nothing_is_scrubbed_early() -> None:
    """However many wait."""
    empty = Stock(ready=0, stale=0, making=0, recycling=0, occupied=9, waiting=7)
    assert "" == early_trigger(ScrubPolicy(on_low_space=False), empty, fits=0)


def test_too_many_bytes_are_scrubbed_below_the_threshold(web: EngineRig) -> None:
    web.add_pool(min_ready=2, scrub=ScrubPolicy(threshold=99, max_bytes=2 * DEFAULT_IMAGE_BYTES))
    first, second = web.attach_and_wait("a"), web.attach_and_wait("b")
    web.release(first)
    web.wait_ready(2)
    assert [] == web.runs()
    web.release(second)
    (run,) = web.wait_runs_over()
    assert ("bytes", 2) == (run.trigger, run.volumes)
    assert "max_bytes is 512 KiB" in web.wait_event("SCRUB_STARTED").message


def test_the_oldest_takes_all_with_it(web: EngineRig) -> None:
    web.add_pool(min_ready=1, scrub=ScrubPolicy(threshold=99, max_age_s=HOUR))
    web.release(web.attach_and_wait("a"))
    web.advance(HOUR - 60)
    web.release(web.attach_and_wait("b"))
    web.wait_ready(1)
    assert [] == web.runs()
    web.advance(61)
    (run,) = web.wait_runs_over()
    assert ("age", 2) == (run.trigger, run.volumes)
    assert (
        "the oldest was released 1h 1s ago, max_age is 1h"
        in web.wait_event("SCRUB_STARTED").message
    )


def test_outside_its_window_a_run_waits_and_is_told_once(web: EngineRig) -> None:
    web.add_pool(min_ready=1, scrub=ScrubPolicy(threshold=1, windows=CLOSED))
    web.release(web.attach_and_wait("a"))
    assert "opens at 2027-01-15 22:00 UTC" in web.wait_event("SCRUB_PUT_OFF").message
    web.advance(13 * HOUR)
    web.wait_ready(1)
    assert (1, [], 1) == (web.count(V.RELEASED), web.runs(), len(web.events("SCRUB_PUT_OFF")))
    web.advance(HOUR + 1)
    (run,) = web.wait_runs_over()
    assert ("threshold", ScrubRunState.DONE) == (run.trigger, run.state)


def test_on_demand_no_window_is_waited_for(web: EngineRig) -> None:
    web.add_pool(min_ready=1, scrub=ScrubPolicy(threshold=9, windows=CLOSED))
    web.release(web.attach_and_wait("a"))
    assert web.engine.scrub.start(pool="web") is not None
    assert [ScrubRunState.DONE] == [run.state for run in web.wait_runs_over()]


def test_a_server_that_lacks_space_does_not_wait_for_a_window(rig: EngineRig) -> None:
    rig.close()
    rig.add_storage("default", MemoryBackend(thin=False, total_bytes=3 * DEFAULT_IMAGE_BYTES))
    rig.open()
    rig.add_image()
    rig.add_pool(min_ready=0, scrub=ScrubPolicy(threshold=9, windows=CLOSED))
    attached = [rig.attach_and_wait(name) for name in "ab"]
    rig.release(attached[0])
    rig.attach_and_wait("c")
    assert ["low_space"] == [run.trigger for run in rig.runs()]


def _short_of_space(rig: EngineRig, policy: ScrubPolicy) -> None:
    """Two ready of three, one attached, one released, and no room for another."""
    rig.close()
    rig.add_storage("default", MemoryBackend(thin=False, total_bytes=5 * DEFAULT_IMAGE_BYTES))
    rig.open()
    rig.add_image()
    rig.add_pool(min_ready=3, scrub=policy)
    first = rig.attach_and_wait("a")
    rig.wait_ready(3)
    rig.release(first)
    rig.attach_and_wait("b")


def test_low_stock_is_refilled_from_what_is_released(rig: EngineRig) -> None:
    """Nobody waits yet; what is released becomes stock, and an event says why it was early."""
    _short_of_space(rig, ScrubPolicy(threshold=9, on_low_stock=3))
    rig.wait_ready(3)
    (run,) = rig.wait_runs_over()
    assert ("low_stock", 1, 1) == (run.trigger, run.volumes, run.recycled)
    event = rig.wait_event("SCRUB_STARTED")
    assert "early, for stock: 2 to be had, on_low_stock is 3; storage default has" in event.message
    assert Severity.WARNING is event.severity
    assert 0 == rig.count(V.RELEASED)


def test_stock_that_is_not_low_keeps_what_is_released(rig: EngineRig) -> None:
    _short_of_space(rig, ScrubPolicy(threshold=9, on_low_stock=2))
    assert "clonepool scrub run web" in rig.wait_event("NO_SPACE").message
    rig.advance(HOUR)
    assert (1, 2, []) == (rig.count(V.RELEASED), rig.count(V.READY), rig.runs())
    rig.attach_and_wait("c")
    assert ["low_stock"] == [run.trigger for run in rig.wait_runs_over()]


def test_clones_that_fit_are_made_before_anything_is_scrubbed(web: EngineRig) -> None:
    web.add_pool(min_ready=3, scrub=ScrubPolicy(threshold=9, on_low_stock=3))
    web.release(web.attach_and_wait("a"))
    web.wait_ready(3)
    assert (1, []) == (web.count(V.RELEASED), web.runs())


def test_low_stock_waits_for_a_window_as_other_triggers_do(rig: EngineRig) -> None:
    policy = ScrubPolicy(threshold=9, on_low_stock=3, windows=CLOSED)
    _short_of_space(rig, policy)
    told = rig.wait_event("SCRUB_PUT_OFF").message
    assert "opens at 2027-01-15 22:00 UTC: early, for stock: 2 to be had" in told
    assert "1 released volumes are scrubbed from 2027-01-15 22:00 UTC on" in (
        rig.wait_event("NO_SPACE").message
    )
    rig.advance(13 * HOUR)
    assert (1, [], 1) == (rig.count(V.RELEASED), rig.runs(), len(rig.events("SCRUB_PUT_OFF")))
    rig.advance(HOUR + 1)
    rig.wait_ready(3)
    assert ["low_stock"] == [run.trigger for run in rig.wait_runs_over()]


def test_low_stock_does_not_end_an_undo_window(rig: EngineRig) -> None:
    policy = ScrubPolicy(threshold=9, on_low_stock=3, undo_window_s=HOUR)
    _short_of_space(rig, policy)
    assert "undo_window of its 1 released volumes is open" in rig.wait_event("NO_SPACE").message
    assert [] == rig.runs()
    rig.advance(HOUR + 1)
    rig.wait_ready(3)


def test_a_server_that_lacks_space_does_not_end_an_undo_window(rig: EngineRig) -> None:
    """What was promised to its last user comes first; the message says so."""
    rig.close()
    rig.add_storage("default", MemoryBackend(thin=False, total_bytes=3 * DEFAULT_IMAGE_BYTES))
    rig.open()
    rig.add_image()
    rig.add_pool(min_ready=0, scrub=ScrubPolicy(threshold=9, undo_window_s=HOUR))
    attached = [rig.attach_and_wait(name) for name in "ab"]
    rig.release(attached[0])
    assert "" == rig.attach("c").volume_id
    assert "undo_window of its 1 released volumes is open" in rig.wait_event("NO_SPACE").message
    assert [] == rig.runs()
    rig.advance(HOUR + 1)
    rig.attach_and_wait("c")


def test_a_run_that_outlasts_its_window_goes_on_in_the_next(web: EngineRig) -> None:
    """The volume at hand is finished, the next is not begun, and no attempt is counted."""
    assert isinstance(web.storage, MemoryBackend)
    web.close()
    web.settings = replace(web.settings, scrub_workers=1)
    web.open()
    policy = ScrubPolicy(threshold=2, windows=("08:00-09:00",), method=ScrubMethod.ZERO)
    web.add_pool(min_ready=2, scrub=policy)
    attached = [web.attach_and_wait(name) for name in "ab"]
    at_work, go_on = threading.Event(), threading.Event()

    def hold(step: str, _name: str) -> None:
        if step == "erase.begin":
            at_work.set()
            assert go_on.wait(20)

    web.storage.on_step = hold
    web.release(*attached)
    assert at_work.wait(20)
    web.advance(2 * HOUR)
    go_on.set()
    web.wait_for(lambda: web.runs()[0].scrubbed == 1, what=web.runs)
    web.advance(2 * HOUR)
    web.wait_for(
        lambda: any(
            "next opens later" in each.error and not each.attempt
            for each in web.engine.operations.list(page=_PAGE, open_only=True)[0]
        ),
        what=lambda: web.engine.operations.list(page=_PAGE, open_only=True),
    )
    assert (1, 1) == (web.runs()[0].scrubbed, web.count(V.SCRUBBING))
    web.clock.advance(20 * HOUR)
    web.pass_time_until(lambda: web.runs()[0].finished_at, what=web.runs)
    assert (2, 0) == (web.runs()[0].scrubbed, web.runs()[0].faulty)


def test_a_clock_that_was_set_back_keeps_nothing_released_for_ever(web: EngineRig) -> None:
    web.add_pool(min_ready=1, scrub=ScrubPolicy(threshold=1, undo_window_s=HOUR))
    web.release(web.attach_and_wait("a"))
    web.advance(-365 * 24 * HOUR)
    web.wait_runs_over()


@pytest.mark.parametrize(("scrub_workers", "workers", "most"), [(0, 4, 3), (2, 4, 2), (0, 1, 1)])
def test_no_more_scrubs_run_at_once_than_are_allowed(
    tmp_path: Path, scrub_workers: int, workers: int, most: int
) -> None:
    """And clones are made beside them."""
    with EngineRig(tmp_path, workers=workers) as rig:
        rig.close()
        rig.settings = replace(rig.settings, scrub_workers=scrub_workers)
        rig.open()
        rig.add_image()
        rig.add_pool(min_ready=5, scrub=ScrubPolicy(threshold=5, method=ScrubMethod.ZERO))
        attached = [rig.attach_and_wait(name) for name in "abcde"]
        rig.wait_ready(5)
        running, seen, go_on = [0], [0], threading.Event()
        lock = threading.Lock()

        def count(step: str, _name: str) -> None:
            if step == "erase.begin":
                with lock:
                    running[0] += 1
                    seen[0] = max(seen[0], running[0])
                assert go_on.wait(20)
                with lock:
                    running[0] -= 1

        assert isinstance(rig.storage, MemoryBackend)
        rig.storage.on_step = count
        rig.release(*attached)
        rig.wait_for(lambda: running[0] == most, what=lambda: running)
        if workers > most:
            rig.add_pool("beside", min_ready=3)
        assert most == seen[0]
        go_on.set()
        rig.wait_runs_over()
        assert most == seen[0]


def test_the_pace_is_kept_by_all_together() -> None:
    now = [100.0]
    pace = Pace(bytes_s=1000, clock=lambda: now[0])
    assert 0.5 == pace.delay_s(500)
    assert 1.5 == pace.delay_s(1000), "after the first"
    now[0] = 110.0
    assert 0.25 == pace.delay_s(250), "what was not used is not saved up"
    assert 0.0 == Pace(bytes_s=0).delay_s(10**12)


def test_a_paced_progress_waits_for_what_was_done_since() -> None:
    now, waited, told = [0.0], [], []
    pace = Pace(bytes_s=100, clock=lambda: now[0])
    report = pace.kept(told.append, wait=waited.append)
    for done_bytes in (50, 50, 200):
        report(done_bytes)
    assert ([50, 50, 200], [0.5, 2.0]) == (told, waited)


def test_a_scrub_goes_no_faster_than_it_may(tmp_path: Path) -> None:
    """Measured on the wall: 256 KiB in 64 KiB steps at 512 KiB a second is half a second."""
    with EngineRig(tmp_path) as rig:
        rig.close()
        rig.settings = replace(rig.settings, scrub_rate_bytes_s=2 * DEFAULT_IMAGE_BYTES)
        rig.open()
        rig.add_image()
        rig.add_pool(min_ready=1, scrub=ScrubPolicy(threshold=1, method=ScrubMethod.ZERO))
        attached = rig.attach_and_wait("a")
        began = time.monotonic()
        rig.release(attached)
        rig.wait_runs_over()
        assert time.monotonic() - began >= 0.4

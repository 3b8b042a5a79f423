"""How figures are made of rounds: alternating, by ratio, with the goal they are held to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks import machine, report, run
from benchmarks.callers import Order, Sizes, measure
from benchmarks.figures import NO_GOAL, Figure, Goal, percentile
from benchmarks.rounds import Burst, alternate, burst, wait_until


def figure(
    *, floor: Sequence[float] = (1.0,), subject: Sequence[float] = (1.0,), goal: Goal = NO_GOAL
) -> Figure:
    return Figure(
        benchmark="trial",
        name="a figure",
        unit="ms",
        floor_name="a floor",
        floor=floor,
        subject=subject,
        goal=goal,
    )


def test_floor_and_subject_take_turns_at_being_first() -> None:
    order: list[str] = []

    def side(name: str) -> Callable[[int], int]:
        def note(number: int) -> int:
            order.append(f"{name}{number}")
            return number

        return note

    pairs = alternate(rounds=3, floor=side("f"), subject=side("s"))
    assert ["f0", "s0", "s1", "f1", "f2", "s2"] == order
    assert ([0, 1, 2], [0, 1, 2]) == (pairs.floor, pairs.subject)


def test_the_ratio_is_taken_round_by_round() -> None:
    made = figure(floor=(1.0, 10.0, 2.0), subject=(2.0, 20.0, 6.0))
    assert [2.0, 2.0, 3.0] == made.ratios


@pytest.mark.parametrize(
    ("subject", "goal", "met"),
    [
        (2.0, Goal(ratio=2.0), True),
        (2.1, Goal(ratio=2.0), False),
        (1.9, Goal(ratio=2.0, limit=1.0), False),
        (0.9, Goal(limit=1.0), True),
        (9.0, NO_GOAL, None),
    ],
)
def test_a_goal_holds_the_median_ratio_and_the_median_itself(
    subject: float, goal: Goal, met: bool | None
) -> None:
    assert met is figure(subject=(subject,), goal=goal).is_met


def test_callers_do_each_number_once_and_side_by_side() -> None:
    seen: list[int] = []
    together = threading.Barrier(4)

    def operation(number: int) -> None:
        if number < 14:
            together.wait(timeout=10)
        seen.append(number)

    done = burst(operation, callers=4, first=10, count=20)
    assert list(range(10, 30)) == sorted(seen)
    assert 20 == len(done.latencies_s)
    assert done.elapsed_s / 20 * 1000 == done.each_ms


def test_an_error_of_one_call_is_raised() -> None:
    def operation(number: int) -> None:
        if number == 3:
            raise RuntimeError("the third failed")

    with pytest.raises(RuntimeError, match="third"):
        burst(operation, callers=2, first=0, count=5)


def test_waiting_ends_with_the_answer_or_says_what_was_missing() -> None:
    assert 7 == wait_until(lambda: 7, timeout_s=1, what="seven")
    with pytest.raises(TimeoutError, match="never not within"):
        wait_until(lambda: False, timeout_s=0.02, what="never")


@pytest.mark.parametrize(("fraction", "value"), [(0.0, 1.0), (0.5, 51.0), (0.99, 100.0)])
def test_percentiles_are_values_that_were_seen(fraction: float, value: float) -> None:
    assert value == percentile([float(number) for number in range(1, 101)], fraction)


class NotingSide:
    """Notes what it is asked."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name = name
        self._notes = notes

    def prepare(self, count: int) -> None:
        self._notes.append(f"{self._name} prepares {count}")

    def attach(self, order: Order) -> Burst:
        self._notes.append(f"{self._name} attaches from {order.first}")
        return Burst(elapsed_s=1.0, latencies_s=[1.0] * order.count)

    def settle(self) -> None:
        self._notes.append(f"{self._name} settles")

    def release(self, order: Order) -> Burst:
        self._notes.append(f"{self._name} releases from {order.first}")
        return Burst(elapsed_s=1.0, latencies_s=[1.0] * order.count)


def test_what_is_attached_in_a_round_is_released_in_it() -> None:
    notes: list[str] = []
    figures = measure(
        benchmark="trial",
        how="here",
        sizes=Sizes(rounds=2, operations={1: 3}),
        floor=NotingSide("floor", notes),
        subject=NotingSide("engine", notes),
        attach_floor="least",
        release_floor="least",
    )
    assert ["attach, here, 1 caller", "release, here, 1 caller"] == [each.name for each in figures]
    steps = ("prepares 3", "attaches from 0", "settles", "releases from 0")
    assert [f"{side} {step}" for step in steps for side in ("floor", "engine")] == notes[:8]
    later = ("prepares 3", "attaches from 3", "settles", "releases from 3")
    assert [f"{side} {step}" for step in later for side in ("engine", "floor")] == notes[8:]


def test_the_table_says_floor_ratio_spread_and_goal() -> None:
    goal = Goal(ratio=2.0)
    shown = report.table([figure(floor=(1.0, 2.0), subject=(3.0, 5.0), goal=goal)])
    assert (
        "figure    unit  floor  here  ratio  (spread)      goal\n"
        "a figure  ms    1.5    4     2.75x  (2.50..3.00)  <= 2x  MISSED" == shown
    )


def test_the_results_hold_every_round_and_the_machine(tmp_path: Path) -> None:
    content = report.document(
        [figure(floor=(1.0, 2.0), subject=(3.0, 5.0))],
        machine=machine.facts(tmp_path),
        skipped={"other": "no reason"},
        sizes="quick",
        taken_at="2026-01-01T00:00:00+00:00",
    )
    report.write(tmp_path / "results" / "one.json", content)
    read = json.loads((tmp_path / "results" / "one.json").read_text())
    assert [2.5, 3.0] == sorted(read["figures"][0]["ratio"]["rounds"])
    assert {"cores", "file_system", "kernel", "python", "packages"} <= read["machine"].keys()


def test_every_benchmark_has_a_name_and_three_sizes() -> None:
    for name in run.NAMES:
        module = run.load(name)
        assert name == module.NAME
        assert type(module.FULL) is type(module.QUICK) is type(module.SMOKE)

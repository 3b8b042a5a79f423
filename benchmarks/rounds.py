"""Rounds that alternate floor and subject, and callers that work side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from benchmarks.figures import percentile

Measured = TypeVar("Measured")
_POLL_S = 0.01


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """The sizes of a benchmark that has no other: how many rounds."""

    rounds: int


@dataclass(frozen=True, kw_only=True)
class Burst:
    """What a number of callers did: the time for all, and each operation's own."""

    elapsed_s: float
    latencies_s: Sequence[float]

    @property
    def each_ms(self) -> float:
        """Time for one operation, at the rate that all callers reached together."""
        return self.elapsed_s / len(self.latencies_s) * 1000


@dataclass(frozen=True, kw_only=True)
class Pairs(Generic[Measured]):
    """What the floor and the subject measured, round by round."""

    floor: Sequence[Measured]
    subject: Sequence[Measured]


def alternate(
    *,
    rounds: int,
    floor: Callable[[int], Measured],
    subject: Callable[[int], Measured],
) -> Pairs[Measured]:
    """Run both once a round; which one is first changes, so that drift favours neither.

    Each gets the round's number, counted from 0.
    """
    floors, subjects = [], []
    for number in range(rounds):
        if number % 2:
            subjects.append(subject(number))
            floors.append(floor(number))
        else:
            floors.append(floor(number))
            subjects.append(subject(number))
    return Pairs(floor=floors, subject=subjects)


def burst(operation: Callable[[int], Any], *, callers: int, first: int, count: int) -> Burst:
    """Call ``operation`` with ``first`` and the ``count - 1`` numbers after it.

    The callers are threads that wait for each other before the clock starts. An error of one
    call is raised once all are done.
    """
    numbers = iter(range(first, first + count))
    latencies: list[float] = []
    gate = threading.Barrier(callers + 1)

    def call() -> None:
        gate.wait()
        # next() on a range's iterator is atomic
        for number in numbers:
            began = time.perf_counter()
            operation(number)
            latencies.append(time.perf_counter() - began)

    with ThreadPoolExecutor(callers) as executor:
        futures = [executor.submit(call) for _ in range(callers)]
        gate.wait()
        began = time.perf_counter()
        for future in futures:
            future.result()
        elapsed_s = time.perf_counter() - began
    return Burst(elapsed_s=elapsed_s, latencies_s=latencies)


def latency_details(pairs: Pairs[Burst]) -> dict[str, float]:
    """Percentiles over all rounds in milliseconds, and the rates, of both sides."""
    details = {}
    for side, bursts in (("floor", pairs.floor), ("subject", pairs.subject)):
        latencies_s = [latency for each in bursts for latency in each.latencies_s]
        elapsed_s = sum(each.elapsed_s for each in bursts)
        details[f"{side}_p50_ms"] = percentile(latencies_s, 0.50) * 1000
        details[f"{side}_p99_ms"] = percentile(latencies_s, 0.99) * 1000
        details[f"{side}_per_s"] = len(latencies_s) / elapsed_s
    details["p50_ratio"] = details["subject_p50_ms"] / details["floor_p50_ms"]
    details["p99_ratio"] = details["subject_p99_ms"] / details["floor_p99_ms"]
    return details


def wait_until(condition: Callable[[], Any], *, timeout_s: float, what: str) -> Any:
    """Poll until ``condition`` is true, and return what it said. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} not within {timeout_s:g} s")
        time.sleep(_POLL_S)
    return answer

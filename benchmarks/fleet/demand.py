"""Who comes when: a day's servers, drawn from a seed. Pure."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

DAY_S = 86_400.0
_HOUR_S = 3600.0
# the busiest hour of the day, and how much more comes in it than on the average
_PEAK_HOUR = 14
_SWING = 0.6


@dataclass(frozen=True, kw_only=True)
class Demand:
    """A day's demand. ``burst_share`` of the servers come in bursts: within a minute, one pool."""

    servers: int
    pools: int
    burst_share: float = 0.3
    bursts: int = 48
    burst_s: float = 60.0
    stay_s: float = 7200.0
    seed: int = 1


@dataclass(frozen=True, kw_only=True, order=True)
class Arrival:
    """A server comes ``at_s`` after midnight and stays for ``stay_s``."""

    at_s: float
    number: int
    pool: int
    stay_s: float


def arrivals(demand: Demand) -> Iterator[Arrival]:
    """Every server of the day, in the order of time."""
    chance = random.Random(demand.seed)
    in_bursts = int(demand.servers * demand.burst_share)
    single = [
        (_time_of_day(chance), chance.randrange(demand.pools))
        for _ in range(demand.servers - in_bursts)
    ]
    merged = heapq.merge(sorted(single), sorted(_bursts(demand, chance, in_bursts)))
    for number, (at_s, pool) in enumerate(merged):
        stay_s = chance.expovariate(1 / demand.stay_s)
        yield Arrival(at_s=at_s, number=number, pool=pool, stay_s=stay_s)


def _time_of_day(chance: random.Random) -> float:
    """A time by the day's curve: most at the peak hour, least twelve hours from it."""
    while True:
        at_s = chance.random() * DAY_S
        angle = 2 * math.pi * (at_s / _HOUR_S - _PEAK_HOUR) / 24
        if chance.random() * (1 + _SWING) <= 1 + _SWING * math.cos(angle):
            return at_s


def _bursts(demand: Demand, chance: random.Random, servers: int) -> list[tuple[float, int]]:
    """Bursts begin on the quarter of an hour, as schedules do, in the curve of the day."""
    found: list[tuple[float, int]] = []
    for number in range(demand.bursts):
        quarter_s = _time_of_day(chance) // 900 * 900
        pool = chance.randrange(demand.pools)
        size = servers // demand.bursts + (number < servers % demand.bursts)
        found += [(quarter_s + chance.random() * demand.burst_s, pool) for _ in range(size)]
    return found

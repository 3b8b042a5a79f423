"""The fleet's simulator: the engine decides, and the limit that is there is the one named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fleet.__main__ import main
from benchmarks.fleet.demand import DAY_S, Demand, arrivals
from benchmarks.fleet.resources import Resource
from benchmarks.fleet.tally import Tally, limits

SMALL = (
    "--volumes 200 --nodes 2 --workers 2 --storages 2 --pools 2 --stock 20 --threshold 4 "
    "--servers 60 --bursts 2 --look-every 120"
)


def simulated(folder: Path, more: str = "") -> dict[str, Any]:
    """What a short day gives."""
    kept = folder / "day.json"
    assert 0 == main([*SMALL.split(), *more.split(), "--json", str(kept)])
    document: dict[str, Any] = json.loads(kept.read_text())
    return document


def test_a_day_with_stock_enough_misses_nobody_and_reaches_no_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = simulated(tmp_path, "--stock 40 --burst-share 0")
    assert 60 == day["day"]["servers"]
    assert (0, 0, []) == (day["day"]["misses"], day["day"]["refused"], day["limits"])
    assert "misses: 0 of" in capsys.readouterr().out


def test_a_burst_beyond_the_stock_is_missed_and_served_after_a_wait(tmp_path: Path) -> None:
    day = simulated(tmp_path, "--burst-share 1 --stock 10 --servers 80")["day"]
    assert 80 == day["servers"]
    assert day["misses"] > 0
    assert day["most_ms"] >= 5000
    assert day["misses"] < 80


@pytest.mark.parametrize(
    ("slow", "name"),
    [
        ("--clone-cost 400", "clones and deletions of storage-"),
        ("--attach-cost 2000", "the database's commits"),
        ("--look-cost 60", "the planner's looks"),
    ],
)
def test_the_thing_that_is_made_slow_is_the_limit_that_is_named(
    tmp_path: Path, slow: str, name: str
) -> None:
    day = simulated(tmp_path, slow)
    assert day["nearest"]["name"].startswith(name)
    assert day["limits"][0].startswith(name)


def test_a_pool_that_may_not_grow_is_named(tmp_path: Path) -> None:
    """Servers that stay for a day want more than max_replicas allows."""
    day = simulated(tmp_path, "--servers 60 --stay 1e6 --stock 2 --volumes 8 --hours 15")
    assert any(each.startswith("max_replicas") for each in day["limits"])
    assert day["day"]["starved"] > 0


def test_the_same_seed_is_the_same_day(tmp_path: Path) -> None:
    first, second = simulated(tmp_path, "--hours 9"), simulated(tmp_path, "--hours 9")
    other = simulated(tmp_path, "--hours 9 --seed 2")
    assert first["hours"] == second["hours"]
    assert first["hours"] != other["hours"]


def test_demand_is_all_of_the_day_in_order() -> None:
    demand = Demand(servers=1000, pools=7, bursts=3)
    found = list(arrivals(demand))
    assert 1000 == len(found)
    assert found == sorted(found)
    assert {each.pool for each in found} <= set(range(7))
    assert all(0 <= each.at_s < DAY_S + 60 for each in found)


def test_a_resource_serves_in_order_and_knows_its_busy_minutes() -> None:
    resource = Resource(name="storage")
    assert [30.0, 90.0, 130.0] == [
        resource.use(at=0.0, seconds=30.0),
        resource.use(at=10.0, seconds=60.0),
        resource.use(at=120.0, seconds=10.0),
    ]
    assert [1.0, 0.5, pytest.approx(1 / 6)] == [resource.share(minute) for minute in range(3)]
    assert 20.0 == resource.longest_s
    assert ["storage, first at 00:00"] == [str(each) for each in limits([resource], Tally())]

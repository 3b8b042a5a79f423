"""Simulate a day: `python -m benchmarks.fleet [--volumes 1e6 --nodes 100 ...]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.fleet.day import Day
from benchmarks.fleet.demand import DAY_S, Demand, arrivals
from benchmarks.fleet.resources import Costs
from benchmarks.fleet.site import Site, Size
from benchmarks.fleet.tally import Tally, limits, nearest, table


def number(text: str) -> int:
    """A whole number, also as 1e6."""
    return int(float(text))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="benchmarks.fleet", description=__doc__)
    made.add_argument("--volumes", type=number, default=1_000_000, help="in all, at midnight")
    made.add_argument("--nodes", type=number, default=100, help="engine nodes")
    made.add_argument("--workers", type=number, default=4, help="of each node")
    made.add_argument("--storages", type=number, default=10, help="clusters (or hosts)")
    made.add_argument("--pools", type=number, default=100)
    made.add_argument("--servers", type=number, default=100_000, help="that come in the day")
    made.add_argument("--stay", type=float, default=7200.0, help="seconds, on the average")
    made.add_argument("--bursts", type=number, default=48, help="in which a share comes")
    made.add_argument("--burst-share", type=float, default=0.3)
    made.add_argument("--stock", type=number, default=200, help="min_ready of each pool")
    made.add_argument("--threshold", type=number, default=50, help="of each pool's scrub")
    made.add_argument("--hours", type=float, default=24.0)
    made.add_argument("--look-every", type=float, default=30.0, help="seconds between two looks")
    made.add_argument("--seed", type=number, default=1)
    for name, seconds in vars(Costs()).items():
        flag = "--" + name.removesuffix("_s").replace("_", "-") + "-cost"
        made.add_argument(flag, type=float, default=seconds, help=f"seconds (default {seconds:g})")
    made.add_argument("--json", type=Path, metavar="FILE", help="where the results go besides")
    return made


def costs(asked: argparse.Namespace) -> Costs:
    """What each piece of work takes."""
    given = vars(asked)
    return Costs(**{name: given[name.removesuffix("_s") + "_cost"] for name in vars(Costs())})


def simulate(asked: argparse.Namespace) -> tuple[Tally, Day]:
    """The day, in a folder in memory that is removed at the end."""
    size = Size(
        volumes=asked.volumes,
        nodes=asked.nodes,
        workers=asked.workers,
        storages=asked.storages,
        pools=asked.pools,
        stock=asked.stock,
        threshold=asked.threshold,
    )
    demand = Demand(
        servers=asked.servers,
        pools=asked.pools,
        burst_share=asked.burst_share,
        bursts=asked.bursts,
        stay_s=asked.stay,
        seed=asked.seed,
    )
    site = Site(size)
    try:
        day = Day(
            site, costs(asked), workers=asked.nodes * asked.workers, look_every_s=asked.look_every
        )
        day.fill()
        tally = day.run(arrivals(demand), until_s=asked.hours / 24 * DAY_S)
    finally:
        site.close()
    return tally, day


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, print, and keep what was asked for."""
    asked = parser().parse_args(argv)
    began = time.monotonic()
    tally, day = simulate(asked)
    document = result(tally, day, asked)
    document["took_s"] = round(time.monotonic() - began, 1)
    show(document, tally)
    if asked.json:
        asked.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def result(tally: Tally, day: Day, asked: argparse.Namespace) -> dict[str, Any]:
    """Everything that was seen."""
    near = nearest(day.resources)
    return {
        "asked": {key: value for key, value in vars(asked).items() if key != "json"},
        "day": tally.total().document(),
        "hours": [hour.document() for hour in tally.hours],
        "busiest_minute": {each.name: round(each.busiest, 4) for each in day.resources},
        "longest_queue_s": {each.name: round(each.longest_s, 3) for each in day.resources},
        "limits": [str(limit) for limit in limits(day.resources, tally)],
        "nearest": {"name": near.name, "share": round(near.busiest, 4)},
    }


def show(document: dict[str, Any], tally: Tally) -> None:
    """For people."""
    rows = [{"hour": f"{at:02d}", **hour} for at, hour in enumerate(document["hours"])]
    say(table([*rows, {"hour": "day", **document["day"]}]))
    share = document["nearest"]["share"]
    say(f"\nbusiest: {document['nearest']['name']}, {share:.0%} of its busiest minute")
    total = tally.total()
    say(f"misses: {total.misses:,} of {total.servers:,} servers")
    found = document["limits"]
    say("limits reached: " + ("; ".join(found) if found else "none"))
    say(f"simulated in {document['took_s']:,.0f} s")


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())

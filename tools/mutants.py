"""Plants faults in copies of the engine, alone and in pairs, and has the tests look for each.

    python tools/mutants.py               all of them; prints found/planted
    python tools/mutants.py NAME [NAME]   some of them, each alone; with --pair together

Ends with 1 where a fault was not found, or where the tests find one and none is planted.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.crash.hunt import hunt
from tests.crash.mutants import BY_NAME, MUTANTS, PAIRS
from tests.crash.planting import Mutant

WORDS = {True: "found", False: "NOT FOUND", None: "NOT RUN"}


def chosen(names: Sequence[str], *, pair: bool) -> list[tuple[Mutant, ...]]:
    """What to plant: each alone where that does harm, then the pairs."""
    if names and pair:
        return [tuple(BY_NAME[name] for name in names)]
    if names:
        return [(BY_NAME[name],) for name in names]
    alone = [(mutant,) for mutant in MUTANTS if mutant.alone]
    return [*alone, *(tuple(BY_NAME[name] for name in pair) for pair in PAIRS)]


def report(mutants: Sequence[Mutant]) -> bool:
    """Plant, look, and print a line."""
    began_at = time.monotonic()
    result = hunt(mutants)
    took_s = time.monotonic() - began_at
    names = " + ".join(mutant.name for mutant in mutants)
    print(f"{WORDS[result.found]:9} {took_s:5.0f} s  {names}: {result.where}", flush=True)
    return result.found is True


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--pair", action="store_true", help="plant the names together")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    if not given.names:
        # without the schema's guards and without a fault there must be nothing to find
        nothing = hunt(())
        if nothing.found is not False:
            print(f"the tests fail though nothing is planted: {nothing.where}")
            return 1
    planted = chosen(given.names, pair=given.pair)
    with ThreadPoolExecutor(given.at_once) as executor:
        results = list(executor.map(report, planted))
    alone = sum(len(each) == 1 for each in planted)
    text = f"found {sum(results)} of {len(planted)} planted"
    print(f"{text} ({alone} alone, {len(planted) - alone} in pairs)")
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""The hot path stays flat: the database finds the oldest ready volume by an index alone."""

from __future__ import annotations

import re
from typing import Any

from clonepool.domain.states import VolumeState
from clonepool.store import allocation
from clonepool.store.writer import Transaction, Writer
from tests.store import seed

CLAIM = allocation._TAKE


def values(**known: Any) -> dict[str, Any]:
    """A value for each of the statement's parameters."""
    return dict.fromkeys(re.findall(r":(\w+)", CLAIM), 1) | known


def test_claiming_reads_indexes_and_sorts_nothing(sqlite_writer: Writer) -> None:
    plan = sqlite_writer.write(
        lambda transaction: transaction.sql(f"EXPLAIN QUERY PLAN {CLAIM}", values()).fetchall()
    )
    steps = [row[3] for row in plan]
    assert any("ix_volume_ready" in step for step in steps), steps
    assert any("ix_attachment_waiting" in step for step in steps), steps
    assert any("COVERING INDEX ix_hold_active" in step for step in steps), steps
    assert [] == [step for step in steps if re.search(r"TEMP B-TREE|^SCAN", step)]


def test_a_claim_costs_the_same_in_a_large_pool(sqlite_writer: Writer) -> None:
    """Steps of the database's machine, not time: ten ready volumes against a thousand."""
    seed.write_basics(sqlite_writer)
    taken: list[str] = []

    def claim(transaction: Transaction) -> int:
        steps: list[int] = []
        transaction._raw.set_progress_handler(lambda: steps.append(1), 1)
        names = {"pool": "pool-web", "version": "version-web", "attachment": f"a{len(taken)}"}
        taken.append(transaction.sql(CLAIM, values(**names)).fetchone()[0])
        transaction._raw.set_progress_handler(None, 0)
        return len(steps)

    sqlite_writer.write(lambda transaction: seed.ready_volumes(transaction, 10))
    small = sqlite_writer.write(claim)
    sqlite_writer.write(
        lambda transaction: [
            seed.volume_in(transaction, VolumeState.READY, f"w{number:04}", changed_at=100)
            for number in range(1000)
        ]
    )
    large = sqlite_writer.write(claim)
    assert ["v0000", "v0001"] == taken
    assert small > 0
    assert large <= small * 1.2


def test_tickets_of_other_pools_and_old_ones_cost_a_claim_nothing(sqlite_writer: Writer) -> None:
    """What is held of this pool is summed up; a thousand other rows are not even looked at."""
    seed.write_basics(sqlite_writer)
    sqlite_writer.write(lambda transaction: seed.pool(transaction, "front", image_id="image-web"))
    sqlite_writer.write(lambda transaction: seed.ready_volumes(transaction, 100))
    taken: list[str] = []

    def claim(transaction: Transaction) -> int:
        steps: list[int] = []
        names = {"pool": "pool-web", "version": "version-web", "attachment": f"a{len(taken)}"}
        known = names | {"now": seed.NOW, "hold": 2**62, "place": 2**62}
        transaction._raw.set_progress_handler(lambda: steps.append(1), 1)
        taken.append(transaction.sql(CLAIM, values(**known)).fetchone()[0])
        transaction._raw.set_progress_handler(None, 0)
        return len(steps)

    def others(transaction: Transaction) -> None:
        for number in range(1000):
            seed.hold(transaction, f"front-{number}", pool_id="pool-front")
            seed.hold(transaction, f"over-{number}", expires_at=seed.NOW - 1)
            seed.hold(transaction, f"used-{number}", remaining=0)

    before = sqlite_writer.write(claim)
    sqlite_writer.write(others)
    after = sqlite_writer.write(claim)
    assert ["v0000", "v0001"] == taken
    assert after <= before * 1.2
    sqlite_writer.write(lambda transaction: seed.hold(transaction, "web", count=3, remaining=3))
    sqlite_writer.write(claim)
    assert "v0005" == taken[-1]

"""Claiming work stays cheap, however many scrubs stand in front that may not run yet."""

from __future__ import annotations

from clonepool.store import operations
from clonepool.store.writer import Transaction, Writer

MANY = 20_000
NOW = 1000.0


def queue(transaction: Transaction) -> None:
    for number in range(MANY):
        operations.add_for_volume(
            transaction, kind="scrub_volume", volume_id=f"s{number}", node="n", now=NOW
        )
    for number in range(3):
        operations.add_for_volume(
            transaction, kind="clone_volume", volume_id=f"c{number}", node="n", now=NOW + 1
        )


def claim(writer: Writer, *, limit: int, scrubs: int) -> list[str]:
    return writer.write(
        lambda transaction: [
            each.key
            for each in operations.claim_due(
                transaction,
                places=("n",),
                owner="o",
                now=NOW + 2,
                limit=limit,
                scrubs=scrubs,
                lease_s=30,
            )
        ]
    )


def test_scrubs_come_first_as_they_were_asked_for_but_no_more_than_may_run(
    writer: Writer,
) -> None:
    writer.write(queue)
    assert ["s0", "s1", "c0", "c1"] == claim(writer, limit=4, scrubs=2)
    assert ["c2"] == claim(writer, limit=4, scrubs=0)
    assert ["s2", "s3"] == claim(writer, limit=2, scrubs=4)


def test_a_claim_does_not_look_through_all_of_them(sqlite_writer: Writer) -> None:
    """Steps of SQLite's machine, which no loaded machine makes more of."""
    sqlite_writer.write(queue)

    def steps(transaction: Transaction) -> int:
        counted = [0]

        def count() -> int:
            counted[0] += 1
            return 0

        transaction._raw.set_progress_handler(count, 100)
        operations.claim_due(
            transaction, places=("n",), owner="o", now=NOW + 2, limit=1, scrubs=0, lease_s=30
        )
        transaction._raw.set_progress_handler(None, 0)
        return counted[0] * 100

    assert sqlite_writer.write(steps) < 3000

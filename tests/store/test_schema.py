"""The schema refuses what must never be, whoever asks: each guard once with raw SQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clonepool.domain.states import VOLUME_MOVES, VolumeState
from clonepool.errors import Aborted
from clonepool.store.writer import Transaction, Writer
from tests.store import seed

Change = Callable[[Transaction], Any]


@pytest.fixture(autouse=True)
def _basics(writer: Writer) -> None:
    seed.write_basics(writer)


def refused(writer: Writer, change: Change) -> str:
    """What the guard said."""
    with pytest.raises(Aborted) as error:
        writer.write(change)
    assert "GUARD" == error.value.reason
    return str(error.value)


def update(statement: str) -> Change:
    return lambda transaction: transaction.sql(statement).rowcount


@pytest.mark.parametrize("old", VolumeState)
def test_a_volume_moves_exactly_as_the_table_of_moves_says(
    writer: Writer, old: VolumeState
) -> None:
    """Of a slot, which alone has all moves, with its generation erased and recorded."""
    moved = set()
    for new in set(VolumeState) - {old}:
        name = f"v-{new}"
        writer.write(
            lambda transaction, name=name: seed.volume_in(transaction, old, name, slot=True)
        )
        writer.write(lambda transaction, name=name: seed.record(transaction, name))
        try:
            writer.write(lambda transaction, name=name, new=new: seed.move(transaction, name, new))
        except Aborted as error:
            assert "no such move" in str(error)  # noqa: PT017 - which are refused is the question
        else:
            moved.add(new)
    assert VOLUME_MOVES[old] == moved


@pytest.mark.parametrize("state", [VolumeState.CLONING, VolumeState.DELETING])
def test_released_bytes_leave_only_through_a_scrub(writer: Writer, state: VolumeState) -> None:
    """A volume, other than a slot, can't go from its server straight to the next."""
    writer.write(lambda transaction: seed.volume_in(transaction, VolumeState.DETACHING))
    said = refused(writer, lambda transaction: seed.move(transaction, "v1", state))
    assert "must be scrubbed" in said


@pytest.mark.parametrize("state", [VolumeState.CLONING, VolumeState.DELETING])
def test_a_scrubbed_volume_needs_the_record_of_its_generation(
    writer: Writer, state: VolumeState
) -> None:
    writer.write(lambda transaction: seed.volume_in(transaction, VolumeState.SCRUBBING))
    writer.write(lambda transaction: seed.record(transaction, "v1", generation=2))
    said = refused(writer, lambda transaction: seed.move(transaction, "v1", state))
    assert "no scrub record" in said
    writer.write(lambda transaction: seed.record(transaction, "v1", generation=1))
    writer.write(lambda transaction: seed.move(transaction, "v1", state))


def test_a_reused_volume_needs_a_new_generation(writer: Writer) -> None:
    writer.write(lambda transaction: seed.volume_in(transaction, VolumeState.SCRUBBING))
    writer.write(lambda transaction: seed.record(transaction, "v1"))
    said = refused(writer, update("UPDATE volume SET state = 'cloning' WHERE id = 'v1'"))
    assert "new generation" in said


@pytest.mark.parametrize("state", [state for state in VolumeState if state != "planned"])
def test_a_new_volume_is_planned(writer: Writer, state: VolumeState) -> None:
    columns: dict[str, Any] = {"state": state.value, "scrub_run_id": "run"}
    if state in ("attaching", "allocated", "detaching"):
        columns["attachment_id"] = "a"
    said = refused(writer, lambda transaction: seed.volume(transaction, **columns))
    assert "is planned" in said


@pytest.mark.parametrize("state", [state for state in VolumeState if state != "deleting"])
def test_a_volume_is_forgotten_only_when_it_is_being_deleted(
    writer: Writer, state: VolumeState
) -> None:
    writer.write(lambda transaction: seed.volume_in(transaction, state))
    said = refused(writer, update("DELETE FROM volume"))
    assert "is forgotten" in said


@pytest.mark.parametrize(
    "change",
    ["last_user_name = 'other'", "last_user_kind = 'application'", "generation = 2"],
)
def test_released_bytes_go_back_only_to_who_had_them(writer: Writer, change: str) -> None:
    writer.write(lambda transaction: seed.volume_in(transaction, VolumeState.RELEASED))
    back = "UPDATE volume SET state = 'attaching', attachment_id = 'a'"
    assert "their own user only" in refused(writer, update(f"{back}, {change}"))
    writer.write(update(back))


def test_audit_entries_stay_as_they_are(writer: Writer) -> None:
    entry = {"n": 1, "at": 1.0, "body": "{}", "hash": "h"}
    writer.write(lambda transaction: seed.insert(transaction, "audit_entry", **entry))
    assert "never" in refused(writer, update("UPDATE audit_entry SET body = '[]'"))
    assert "never" in refused(writer, update("DELETE FROM audit_entry"))


def test_scrub_records_stay_as_they_are(writer: Writer) -> None:
    writer.write(lambda transaction: seed.record(transaction, "v1"))
    assert "never" in refused(writer, update("UPDATE scrub_record SET method = 'zero'"))
    assert "never" in refused(writer, update("DELETE FROM scrub_record"))
    refused(writer, lambda transaction: seed.record(transaction, "v1"))


@pytest.mark.parametrize(
    ("state", "attachment"),
    [(VolumeState.READY, "'a'"), (VolumeState.RELEASED, "'a'"), (VolumeState.ALLOCATED, "NULL")],
)
def test_a_volume_has_an_attachment_exactly_while_it_is_attached(
    writer: Writer, state: VolumeState, attachment: str
) -> None:
    writer.write(lambda transaction: seed.volume_in(transaction, state))
    said = refused(writer, update(f"UPDATE volume SET attachment_id = {attachment}"))  # noqa: S608
    assert "volume_has_one_attachment" in said


def test_an_attachment_holds_one_volume(writer: Writer) -> None:
    for name in ("v1", "v2"):
        writer.write(
            lambda transaction, name=name: seed.volume_in(transaction, VolumeState.ALLOCATED, name)
        )
    refused(writer, update("UPDATE volume SET attachment_id = 'attachment-v1' WHERE id = 'v2'"))


def test_a_volume_is_scrubbed_in_a_run(writer: Writer) -> None:
    writer.write(lambda transaction: seed.volume_in(transaction, VolumeState.RELEASED))
    said = refused(writer, update("UPDATE volume SET state = 'scrubbing'"))
    assert "volume_scrub_run" in said


@pytest.mark.parametrize(
    "columns",
    [
        {"state": "waiting", "volume_id": "v1"},
        {"state": "attached"},
        {"state": "detaching"},
        {"state": "gone", "volume_id": "v1"},
    ],
)
def test_an_attachment_holds_a_volume_unless_it_waits(
    writer: Writer, columns: dict[str, Any]
) -> None:
    refused(writer, lambda transaction: seed.attachment(transaction, **columns))


def test_initiator_names_are_lower_case_and_of_one_server(writer: Writer) -> None:
    taken = "iqn.2026-01.test:s1"
    refused(writer, lambda transaction: seed.server(transaction, "s2", initiator=taken))
    refused(writer, lambda transaction: seed.server(transaction, "s2", initiator=taken.upper()))
    for name in ("s3", "s4"):
        writer.write(lambda transaction, name=name: seed.server(transaction, name, initiator=None))


def test_a_servers_system_user_has_name_and_kind(writer: Writer) -> None:
    refused(writer, update("UPDATE server SET user_name = 'acme'"))
    refused(writer, update("UPDATE server SET user_kind = 'customer'"))


def test_a_pool_keeps_no_more_ready_than_it_may_have(writer: Writer) -> None:
    refused(writer, update("UPDATE pool SET min_ready = max_replicas + 1"))


def test_pools_names_are_unique_among_the_living_and_free_behind_a_tombstone(
    writer: Writer,
) -> None:
    refused(writer, lambda transaction: seed.pool(transaction, id="other"))
    writer.write(update("UPDATE pool SET deleted_at = 1"))
    writer.write(lambda transaction: seed.pool(transaction, id="other"))


def test_images_names_are_unique_among_the_living_and_free_behind_a_tombstone(
    writer: Writer,
) -> None:
    again = (
        "INSERT INTO image SELECT 'other', name, user_name, user_kind, storage, labels, token, "
        "token_digest, NULL, created_at, NULL FROM image"
    )
    refused(writer, update(again))
    writer.write(update("UPDATE image SET deleted_at = 1"))
    writer.write(update(again))


@pytest.mark.parametrize(
    "make",
    [
        lambda transaction: seed.server(transaction, id="other", initiator=None),
        lambda transaction: seed.attachment(transaction, id="other"),
        lambda transaction: seed.attachment(transaction, name="other", id="attachment-a1"),
        seed.volume,
        lambda transaction: seed.version(transaction, id="other", image_id="image-web"),
    ],
)
def test_names_ids_and_version_numbers_are_unique(writer: Writer, make: Change) -> None:
    writer.write(seed.attachment)
    writer.write(seed.volume)
    assert "unique" in refused(writer, make).lower()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM image",
        "DELETE FROM image_version",
        "DELETE FROM pool",
        "DELETE FROM server",
    ],
)
def test_nothing_goes_while_something_refers_to_it(writer: Writer, statement: str) -> None:
    writer.write(seed.attachment)
    writer.write(seed.volume)
    assert "foreign key" in refused(writer, update(statement)).lower()


def test_one_open_operation_for_each_kind_and_key(writer: Writer) -> None:
    def operation(transaction: Transaction, *, name: str, state: str) -> None:
        seed.insert(
            transaction,
            "operation",
            id=name,
            kind="clone_volume",
            subject="volume/v1",
            key="v1",
            state=state,
            node="node1",
            attempt=0,
            run_after=0,
            owner="",
            fence=0,
            lease_until=0,
            progress_bytes=0,
            total_bytes=0,
            error="",
            cancel=False,
            created_at=0,
        )

    writer.write(lambda transaction: operation(transaction, name="o1", state="running"))
    for state in ("queued", "running"):
        refused(
            writer,
            lambda transaction, state=state: operation(transaction, name="o2", state=state),
        )
    for number, state in enumerate(("done", "done", "failed")):
        writer.write(
            lambda transaction, number=number, state=state: operation(
                transaction, name=f"old{number}", state=state
            )
        )


@pytest.mark.parametrize(
    "columns",
    [
        {"count": 1, "remaining": 2},
        {"count": 1, "remaining": -1},
        {"count": 0, "remaining": 0},
    ],
    ids=str,
)
def test_a_hold_keeps_no_more_than_it_was_given(writer: Writer, columns: dict[str, int]) -> None:
    refused(writer, lambda transaction: seed.hold(transaction, **columns))


def test_a_ticket_holds_of_a_pool_once(writer: Writer) -> None:
    writer.write(seed.hold)
    refused(writer, seed.hold)

"""Events and operations: listed, waited for, and forgotten in the end."""

from __future__ import annotations

import threading
import time

import pytest

from clonepool.backends.memory import MemoryBackend
from clonepool.domain.model import PageRequest, Ref
from clonepool.domain.states import Severity
from clonepool.errors import FailedPrecondition, NotFound
from clonepool.store import events, operations
from clonepool.store.writer import Transaction
from clonepool.testing.engines import EngineRig
from tests.store import seed


def add_events(rig: EngineRig, count: int, *, subject: str = "pool/web") -> None:
    statement = """
        WITH RECURSIVE numbers(n) AS (
            VALUES (0) UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :count)
        INSERT INTO event(at, severity, subject, reason, message)
        SELECT n, 'warning', :subject, 'TOLD', CAST(n AS TEXT) FROM numbers
    """
    values = {"count": count, "subject": subject}
    rig.engine._state.write(lambda transaction: transaction.sql(statement, values))


def test_events_are_listed_oldest_first_and_page_by_page(rig: EngineRig) -> None:
    add_events(rig, 5)
    first = rig.engine.events.list(after_id=0, limit=3)
    rest = rig.engine.events.list(after_id=first[-1].id, limit=3)
    assert ["0", "1", "2", "3", "4"] == [event.message for event in (*first, *rest)]
    assert Severity.WARNING is first[0].severity


def test_events_are_filtered_by_the_beginning_of_their_subject(rig: EngineRig) -> None:
    add_events(rig, 1, subject="pool/web")
    add_events(rig, 1, subject="pool/w%b")
    add_events(rig, 1, subject="volume/1")
    listed = [
        [
            event.subject
            for event in rig.engine.events.list(after_id=0, limit=9, subject_prefix=each)
        ]
        for each in ("pool/", "pool/w%", "volume/1", "nothing")
    ]
    assert [["pool/web", "pool/w%b"], ["pool/w%b"], ["volume/1"], []] == listed


def test_a_very_long_message_is_cut(rig: EngineRig) -> None:
    change = lambda transaction: events.add(  # noqa: E731 - one change
        transaction, now=1, subject="pool/web", reason="TOLD", message="x" * 10_000
    )
    rig.engine._state.write(change)
    assert 2000 == len(rig.events("TOLD")[0].message)


def test_waiting_ends_with_the_next_event(rig: EngineRig) -> None:
    woken: list[bool] = []
    waiting = threading.Thread(
        target=lambda: woken.append(rig.engine.events.wait(after_id=0, timeout_s=20))
    )
    waiting.start()
    add_events(rig, 1)
    waiting.join(20)
    assert [True] == woken


def test_waiting_ends_when_its_time_is_over(rig: EngineRig) -> None:
    add_events(rig, 1)
    newest = rig.events()[-1].id
    began_at = time.monotonic()
    assert not rig.engine.events.wait(after_id=newest, timeout_s=0.05)
    assert time.monotonic() - began_at < 10


def test_the_oldest_events_are_forgotten_and_numbers_never_reused(rig: EngineRig) -> None:
    add_events(rig, events._KEEP + 10)
    rig.engine._state.write(events.prune)
    kept = rig.engine.events.list(after_id=0, limit=100_000)
    assert events._KEEP == len(kept)
    newest = kept[-1].id
    rig.engine._state.write(lambda transaction: transaction.sql("DELETE FROM event"))
    add_events(rig, 1)
    assert newest < rig.events()[-1].id


def test_the_engine_prunes_by_itself_now_and_then(rig: EngineRig) -> None:
    add_events(rig, events._KEEP + 10)

    def pruned() -> bool:
        rig.advance(301)
        return len(rig.engine.events.list(after_id=0, limit=100_000)) == events._KEEP

    rig.wait_for(pruned, what="pruning")


def add_operations(rig: EngineRig, count: int, *, state: str) -> None:
    def change(transaction: Transaction) -> None:
        for number in range(count):
            seed.insert(
                transaction,
                "operation",
                id=f"{state}{number}",
                kind="clone_volume",
                subject="volume/v",
                key=f"{state}{number}",
                state=state,
                node="another-node",
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

    rig.engine._state.write(change)


def test_operations_are_listed_newest_first_page_by_page(rig: EngineRig) -> None:
    add_operations(rig, 3, state="done")
    add_operations(rig, 1, state="queued")
    first, token = rig.engine.operations.list(page=PageRequest(size=2))
    rest, _end = rig.engine.operations.list(page=PageRequest(size=9, token=token))
    assert ["queued0", "done2", "done1", "done0"] == [each.id for each in (*first, *rest)]
    still_open, _token = rig.engine.operations.list(page=PageRequest(), open_only=True)
    assert ["queued0"] == [each.id for each in still_open]


def test_ended_operations_are_forgotten_and_open_ones_are_not(rig: EngineRig) -> None:
    add_operations(rig, 3, state="queued")
    add_operations(rig, operations._KEEP_ENDED + 100, state="done")
    rig.engine._state.write(operations.prune)
    found, _token = rig.engine.operations.list(page=PageRequest(size=100_000))
    states = [each.state for each in found]
    assert 3 == states.count("queued")
    assert operations._KEEP_ENDED <= states.count("done") <= operations._KEEP_ENDED + 1


def test_only_imports_can_be_cancelled(web: EngineRig) -> None:
    """Half a clone, deletion or scrub would be a volume that nobody finishes."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(step: str, _name: str) -> None:
        if step == "clone.begin":
            begun.set()
            assert go_on.wait(20)

    assert isinstance(web.storage, MemoryBackend)
    web.storage.on_step = hold
    web.add_pool(min_ready=1, filled=False)
    assert begun.wait(20)
    (operation,), _token = web.engine.operations.list(page=PageRequest(), open_only=True)
    with pytest.raises(FailedPrecondition, match="must finish"):
        web.engine.operations.cancel(ref=Ref(id=operation.id))
    go_on.set()
    web.wait_ready(1)
    with pytest.raises(NotFound):
        web.engine.operations.cancel(ref=Ref(id="nothing"))

"""Create, read, update and delete over a real client, with faults in the engine behind it."""

from __future__ import annotations

from typing import Any

import pytest
from clonepool.api.client import EngineClient
from clonepool.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Unavailable,
)
from clonepool_resources.check import check
from clonepool_resources.lifecycle import Lifecycle, NotSettled
from clonepool_resources.server_lifecycle import AttachmentLifecycle, ServerLifecycle
from clonepool_resources.storage_lifecycle import ImageLifecycle, PoolLifecycle
from clonepool_resources.types import Inputs
from clonepool_resources.waiting import Waiting

from tests.provider.faulty_engine import SECRET, FaultyEngine

IMAGE = {"name": "web", "writable": {"source": "/images/web.raw", "size": "1GiB"}}
POOL = {"name": "web", "master_image": "web", "min_ready": 3, "wait_for_ready": 3}
ATTACHMENT = {"name": "a1", "pool": "web", "server": "web1", "timeouts": {"create": "60s"}}


class Bench:
    """Makes lifecycles whose time passes only in their pauses; keeps what they reported."""

    def __init__(self, client: EngineClient) -> None:
        self.client = client
        self.lines: list[str] = []
        self.now = 0.0
        self.stopped = False

    def sleep(self, pause_s: float) -> None:
        self.now += pause_s

    def make(self, kind: type[Lifecycle], **more: Any) -> Lifecycle:
        waiting = Waiting(
            report=self.lines.append,
            stopped=lambda: self.stopped,
            clock=lambda: self.now,
            sleep=self.sleep,
        )
        return kind(client=self.client, waiting=waiting, **more)


@pytest.fixture
def bench(client: EngineClient) -> Bench:
    return Bench(client)


def checked(kind: type[Lifecycle], inputs: Inputs) -> dict[str, Any]:
    found = check(kind.resource, inputs, is_unknown=lambda _: False)
    assert not found.failures
    return found.inputs


CASES = [
    (ImageLifecycle, IMAGE),
    (PoolLifecycle, POOL),
    (ServerLifecycle, {"name": "web1", "initiator": "iqn.2026-01.com.example:web1"}),
    (AttachmentLifecycle, ATTACHMENT),
]


@pytest.mark.parametrize(("kind", "inputs"), CASES)
def test_a_create_that_is_repeated_finds_its_own_object(
    bench: Bench, kind: type[Lifecycle], inputs: Inputs
) -> None:
    lifecycle, written = bench.make(kind), checked(kind, inputs)

    first = lifecycle.create(written, token="p/s/t/n")

    assert first == lifecycle.create(written, token="p/s/t/n")
    assert first == lifecycle.read(first.id, prior=written)
    assert written == first.inputs


@pytest.mark.parametrize(("kind", "inputs"), CASES)
def test_a_name_that_someone_else_took_is_refused(
    bench: Bench, kind: type[Lifecycle], inputs: Inputs
) -> None:
    lifecycle, written = bench.make(kind), checked(kind, inputs)
    lifecycle.create(written, token="p/s/t/n")

    with pytest.raises(AlreadyExists, match="exists"):
        lifecycle.create(written, token="p/other/t/n")


@pytest.mark.parametrize(("kind", "inputs"), CASES)
def test_deleting_is_repeatable_and_reading_then_finds_nothing(
    bench: Bench, kind: type[Lifecycle], inputs: Inputs
) -> None:
    lifecycle, written = bench.make(kind), checked(kind, inputs)
    state = lifecycle.create(written, token="p/s/t/n")

    lifecycle.delete(state.id, prior=written)
    lifecycle.delete(state.id, prior=written)

    assert lifecycle.read(state.id, prior=written) is None


def test_a_retry_with_an_edited_program_brings_the_object_up_to_date(
    bench: Bench, engine: FaultyEngine
) -> None:
    lifecycle = bench.make(PoolLifecycle)
    first = lifecycle.create(checked(PoolLifecycle, POOL), token="p/s/t/n")
    edited = checked(PoolLifecycle, {**POOL, "min_ready": 5})

    second = lifecycle.create(edited, token="p/s/t/n")

    assert (first.id, 5) == (second.id, engine.pools.one().spec.min_ready)


def test_a_retry_that_would_need_another_object_says_how_to_go_on(bench: Bench) -> None:
    lifecycle = bench.make(PoolLifecycle)
    lifecycle.create(checked(PoolLifecycle, POOL), token="p/s/t/n")
    edited = checked(PoolLifecycle, {**POOL, "fabric": "local"})

    with pytest.raises(AlreadyExists, match="another fabric; set fabric back and run again"):
        lifecycle.create(edited, token="p/s/t/n")


def test_an_image_is_there_once_it_is_imported(bench: Bench, engine: FaultyEngine) -> None:
    engine.knobs.import_looks = 2

    state = bench.make(ImageLifecycle).create(checked(ImageLifecycle, IMAGE), token="t")

    assert {
        "version": 1,
        "digests": {"writable": "ab" * 32},
        "size_bytes": {"writable": 2**20},
    } == (state.outputs)
    assert ["master image web: importing 120 MiB of 1 GiB"] == bench.lines


def test_a_failed_first_import_is_told_in_the_engine_s_words_and_is_worth_nothing(
    bench: Bench, engine: FaultyEngine
) -> None:
    engine.knobs.import_error = "sha256 differs"
    lifecycle = bench.make(ImageLifecycle)

    with pytest.raises(NotSettled) as begun:
        lifecycle.create(checked(ImageLifecycle, IMAGE), token="t")

    assert "master image web: the import of version 1 failed: sha256 differs" in str(begun.value)
    assert begun.value.worthless
    lifecycle.undo(begun.value.state)
    assert [] == engine.images.names()


def test_a_new_version_that_fails_to_import_asks_for_another_update(
    bench: Bench, engine: FaultyEngine
) -> None:
    lifecycle = bench.make(ImageLifecycle)
    state = lifecycle.create(checked(ImageLifecycle, IMAGE), token="t")
    engine.knobs.import_error = "no such file"
    edited = checked(ImageLifecycle, {**IMAGE, "writable": {"source": "/images/web-2.raw"}})

    with pytest.raises(FailedPrecondition, match="version 2 failed: no such file"):
        lifecycle.update(state.id, inputs=edited)
    seen = lifecycle.read(state.id, prior=edited)
    assert seen is not None
    assert ("no such file", 1) == (seen.trouble, seen.outputs["version"])

    engine.knobs.import_error = ""
    assert "" == lifecycle.update(state.id, inputs=edited).trouble


def test_an_import_that_takes_too_long_is_left_to_go_on(bench: Bench, engine: FaultyEngine) -> None:
    engine.knobs.import_looks = 10_000
    lifecycle = bench.make(ImageLifecycle, timeout_s=30)

    with pytest.raises(NotSettled, match="still importing after 30s") as begun:
        lifecycle.create(checked(ImageLifecycle, IMAGE), token="t")

    assert not begun.value.worthless
    engine.knobs.import_looks = 0
    state = lifecycle.create(checked(ImageLifecycle, IMAGE), token="t")
    assert begun.value.state.id == state.id


def test_a_pool_is_there_once_enough_replicas_are_ready(bench: Bench, engine: FaultyEngine) -> None:
    engine.knobs.fill_looks = 3

    bench.make(PoolLifecycle).create(checked(PoolLifecycle, POOL), token="t")

    assert ["pool web: cloning 1/3", "pool web: cloning 2/3"] == bench.lines


def test_a_pool_without_stock_is_there_at_once(bench: Bench, engine: FaultyEngine) -> None:
    inputs = checked(PoolLifecycle, {"name": "web", "master_image": "web", "min_ready": 0})

    bench.make(PoolLifecycle).create(inputs, token="t")

    assert 0 == engine.asked("get pool")


def test_a_pool_that_stopped_filling_says_why_and_is_started_again_by_the_next_create(
    bench: Bench, engine: FaultyEngine
) -> None:
    engine.knobs.stopped_reason = "no space left on storage default"
    lifecycle = bench.make(PoolLifecycle)

    with pytest.raises(NotSettled, match=r"stopped filling \(0 of 3.*no space left") as begun:
        lifecycle.create(checked(PoolLifecycle, POOL), token="t")

    assert begun.value.worthless
    assert 1 == engine.asked("reset pool")
    engine.knobs.stopped_reason = ""
    assert begun.value.state.id == lifecycle.create(checked(PoolLifecycle, POOL), token="t").id


def test_a_pool_that_stopped_later_asks_for_an_update_which_starts_it_again(
    bench: Bench, engine: FaultyEngine
) -> None:
    lifecycle, written = bench.make(PoolLifecycle), checked(PoolLifecycle, POOL)
    state = lifecycle.create(written, token="t")
    engine.knobs.stopped_reason = "no space left"

    seen = lifecycle.read(state.id, prior=written)
    assert seen is not None
    assert "no space left" == seen.trouble
    lifecycle.update(state.id, inputs=written)

    assert 1 == engine.asked("reset pool")


def test_an_attachment_has_what_the_server_needs(bench: Bench) -> None:
    state = bench.make(AttachmentLifecycle).create(
        checked(AttachmentLifecycle, ATTACHMENT), token="t"
    )

    outputs = dict(state.outputs)
    connection = outputs.pop("connection")
    assert ["127.0.0.1:3260"] == connection["portals"]
    assert [("writable", 2), ("read_only", 1)] == [
        (volume["role"], volume["lun"]) for volume in connection["volumes"]
    ]
    assert (SECRET, "web1", True) == (
        outputs["chap_secret"],
        outputs["server"],
        outputs["warm"],
    )


def test_an_attachment_waits_for_its_predecessor_to_be_released(
    bench: Bench, engine: FaultyEngine
) -> None:
    engine.knobs.raises["create attachment"] = FailedPrecondition(
        "attachment a1 is being released", reason="DETACHING", retry_after_s=1
    )

    def finish_release(pause_s: float) -> None:
        bench.now += pause_s
        if bench.now > 5:
            engine.knobs.raises.clear()

    bench.sleep = finish_release  # type: ignore[method-assign]
    written = checked(AttachmentLifecycle, ATTACHMENT)
    state = bench.make(AttachmentLifecycle).create(written, token="t")

    assert state.outputs["volume"]
    assert ["attachment a1: its predecessor is being released"] == bench.lines


def test_a_server_of_another_system_user_is_refused_at_once(
    bench: Bench, engine: FaultyEngine
) -> None:
    engine.knobs.raises["create attachment"] = FailedPrecondition(
        "server web1 belongs to customer acme; release first, then run again", reason="IN_USE"
    )

    written = checked(AttachmentLifecycle, ATTACHMENT)

    with pytest.raises(FailedPrecondition, match="release first"):
        bench.make(AttachmentLifecycle).create(written, token="t")

    assert (1, 0.0) == (engine.asked("create attachment"), bench.now)


def test_an_attachment_waits_its_turn_and_shows_its_place(
    bench: Bench, engine: FaultyEngine
) -> None:
    engine.knobs.stock = 0
    lifecycle = bench.make(AttachmentLifecycle)

    def give_stock(pause_s: float) -> None:
        bench.now += pause_s
        engine.knobs.stock = 1 if bench.now > 10 else 0

    bench.sleep = give_stock  # type: ignore[method-assign]
    lifecycle = bench.make(AttachmentLifecycle)
    state = lifecycle.create(checked(AttachmentLifecycle, ATTACHMENT), token="t")

    assert ["attachment a1: waiting for a replica, 2nd in the queue"] == bench.lines
    assert state.outputs["volume"]


def test_an_attachment_that_waited_too_long_leaves_the_queue_and_says_the_ways_out(
    bench: Bench, engine: FaultyEngine
) -> None:
    engine.knobs.stock = 0
    lifecycle = bench.make(AttachmentLifecycle)

    with pytest.raises(NotSettled) as begun:
        lifecycle.create(checked(AttachmentLifecycle, ATTACHMENT), token="t")

    assert isinstance(begun.value.cause, DeadlineExceeded)
    for words in (
        "after 1m",
        "2nd in the queue of pool web",
        "max_replicas",
        "clonepool scrub run",
    ):
        assert words in str(begun.value)
    lifecycle.undo(begun.value.state)
    assert [] == engine.attachments.names()


def test_a_waiter_polls_well_within_its_lease(bench: Bench, engine: FaultyEngine) -> None:
    engine.knobs.stock = 0
    engine.attachments.lease_s = 3.0
    inputs = checked(AttachmentLifecycle, ATTACHMENT)

    with pytest.raises(NotSettled):
        bench.make(AttachmentLifecycle).create(inputs, token="t")

    assert engine.asked("create attachment") >= 60 / (3.0 / 3)


def test_a_server_that_is_logged_in_keeps_its_storage_unless_forced(
    bench: Bench, engine: FaultyEngine
) -> None:
    lifecycle = bench.make(AttachmentLifecycle)
    written = checked(AttachmentLifecycle, ATTACHMENT)
    state = lifecycle.create(written, token="t")
    engine.knobs.logged_in = True

    with pytest.raises(FailedPrecondition, match="log it out first, or set force_detach"):
        lifecycle.delete(state.id, prior=written)
    lifecycle.delete(state.id, prior={**written, "force_detach": True})

    assert [] == engine.attachments.names()


@pytest.mark.parametrize("error", [Unavailable, Aborted])
def test_a_release_whose_sessions_take_long_to_end_is_waited_for(
    bench: Bench, engine: FaultyEngine, error: type[Unavailable] | type[Aborted]
) -> None:
    lifecycle = bench.make(AttachmentLifecycle)
    written = checked(AttachmentLifecycle, ATTACHMENT)
    state = lifecycle.create(written, token="t")
    busy = error("sessions are ending", retry_after_s=0)
    # the client tries UNAVAILABLE again by itself; a short deadline hands it on
    bench.client._timeout_s = 0.05
    engine.knobs.raises["delete attachment"] = busy

    def end_sessions(pause_s: float) -> None:
        bench.now += pause_s
        if bench.now > 5:
            engine.knobs.raises.clear()

    bench.sleep = end_sessions  # type: ignore[method-assign]
    bench.make(AttachmentLifecycle).delete(state.id, prior=written)

    assert [] == engine.attachments.names()
    assert ["attachment a1: releasing (sessions are ending)"] == bench.lines


def test_a_new_chap_account_is_granted_in_place(bench: Bench, engine: FaultyEngine) -> None:
    lifecycle = bench.make(AttachmentLifecycle)
    state = lifecycle.create(checked(AttachmentLifecycle, ATTACHMENT), token="t")
    chap = {"mode": "given", "username": "web1", "secret": "open sesame!"}

    changed = lifecycle.update(
        state.id, inputs=checked(AttachmentLifecycle, {**ATTACHMENT, "chap": chap})
    )

    assert (state.id, chap) == (changed.id, changed.inputs["chap"])
    assert "open sesame!" == engine.attachments.one().spec.chap.secret


def test_waiting_ends_when_the_caller_has_gone(bench: Bench, engine: FaultyEngine) -> None:
    engine.knobs.stock = 0
    bench.stopped = True

    with pytest.raises(Cancelled, match="run it again"):
        bench.make(AttachmentLifecycle).create(checked(AttachmentLifecycle, ATTACHMENT), token="t")


def test_an_engine_that_comes_back_in_time_is_waited_for() -> None:
    answers: list[Any] = [Unavailable("away"), Unavailable("away"), "done"]
    lines: list[str] = []

    def look() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    waiting = Waiting(report=lines.append, clock=lambda: 0.0, sleep=lambda _: None)
    seen = waiting.watch(
        "open",
        look=look,
        is_open=lambda word: word == "open",
        progress=lambda word: word,
        timeout_s=60,
    )

    assert ("done", ["open", "the engine is away; waiting for it"]) == (
        seen,
        list(dict.fromkeys(lines)),
    )

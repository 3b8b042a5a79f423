"""The life of an attachment: its place in the queue, its CHAP account, and its release."""

from __future__ import annotations

import pytest

from clonepool.errors import (
    Aborted,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Unavailable,
)
from clonepool_resources.lifecycle import NotSettled
from clonepool_resources.server_lifecycle import AttachmentLifecycle
from tests.provider.bench import ATTACHMENT, Bench, checked
from tests.provider.faulty_engine import SECRET, FaultyEngine


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


def test_an_attachment_that_resumes_says_what(bench: Bench) -> None:
    written = checked(AttachmentLifecycle, {**ATTACHMENT, "resume_released": True})
    bench.make(AttachmentLifecycle).create(written, token="t")

    assert ["attachment a1: resumes the volume released 14m ago"] == bench.lines


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


def test_an_attachment_that_waits_for_want_of_space_says_so(
    bench: Bench, engine: FaultyEngine
) -> None:
    engine.knobs.stock = 0
    engine.knobs.wait_reason = "storage default has 0 B free; free space or lower min_ready"
    lifecycle = bench.make(AttachmentLifecycle)

    with pytest.raises(NotSettled) as begun:
        lifecycle.create(checked(AttachmentLifecycle, ATTACHMENT), token="t")

    why = "its pool can't be filled: storage default has 0 B free; free space or lower min_ready"
    assert f"2nd in the queue of pool web; {why}; raise" in str(begun.value)
    assert f"attachment a1: waiting for a replica, 2nd in the queue; {why}" in bench.lines


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
    bench.client._timeout_s = 0.5
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


def test_waiting_ends_when_the_caller_has_gone_with_what_was_begun(
    bench: Bench, engine: FaultyEngine
) -> None:
    engine.knobs.stock = 0
    bench.stopped = True
    lifecycle = bench.make(AttachmentLifecycle)

    with pytest.raises(NotSettled, match="run it again") as begun:
        lifecycle.create(checked(AttachmentLifecycle, ATTACHMENT), token="t")

    assert isinstance(begun.value.cause, Cancelled)
    told = "stopped waiting; its place in the queue is given back, so run it again"
    assert told == str(begun.value)
    assert engine.attachments.one().id == begun.value.state.id
    assert begun.value.worthless
    assert lifecycle.undo(begun.value.state)
    assert [] == engine.attachments.names()

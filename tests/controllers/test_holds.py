"""Tickets: who gets what is held, who does not, and how it comes back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from clonepool.config import HoldSettings
from clonepool.domain.holds import HeldStock, Hold, Wanted
from clonepool.domain.model import Attachment, PageRequest, ScrubPolicy
from clonepool.domain.states import AttachmentState, VolumeState, WhenEmpty
from clonepool.errors import AlreadyExists, InvalidArgument, NotFound, ResourceExhausted
from clonepool.testing.engines import EngineRig

V = VolumeState
WAITING, ATTACHED = AttachmentState.WAITING, AttachmentState.ATTACHED
PAGE = PageRequest()


def hold(rig: EngineRig, *counts: int, **changes: object) -> Hold:
    """Hold of pool ``web``, and of ``front`` with a second count."""
    wanted = [Wanted(pool=pool, count=n) for pool, n in zip(("web", "front"), counts, strict=False)]
    asked = {"wanted": wanted, "duration_s": 600, "owner": "ci", "token": "h1", **changes}
    return rig.engine.holds.create(**asked)


def attach(rig: EngineRig, name: str, *, hold: str = "", pool: str = "web") -> Attachment:
    spec = rig.spec(name, pool=pool)
    return rig.engine.attachments.create(spec=spec, token=f"token-{name}", hold=hold)


def left(rig: EngineRig, ticket: str) -> list[int]:
    return [stock.remaining for stock in rig.engine.holds.get(ticket=ticket).pools]


@pytest.fixture
def full(web: EngineRig) -> EngineRig:
    """A pool of four ready replicas that can't refill; waiters stay as long as they like."""
    web.add_pool(min_ready=4, max_replicas=4, scrub=ScrubPolicy(threshold=99))
    web.engine.attachments.lease_s = 1000
    return web


@pytest.fixture
def front(full: EngineRig) -> EngineRig:
    """A second pool of two."""
    full.add_pool("front", min_ready=2, max_replicas=4)
    return full


def test_held_replicas_are_for_the_ticket_and_for_nobody_else(full: EngineRig) -> None:
    ticket = hold(full, 2).id
    assert [ATTACHED, ATTACHED, WAITING] == [attach(full, name).state for name in "abc"]
    assert [ATTACHED, ATTACHED] == [attach(full, name, hold=ticket).state for name in "de"]
    assert [0] == left(full, ticket)
    assert WAITING is attach(full, "c").state


def test_a_pool_refills_beside_what_is_held(web: EngineRig) -> None:
    web.add_pool(min_ready=2, max_replicas=10)
    hold(web, 2)
    web.wait_ready(4)
    assert 2 == web.pool().counts.held
    assert {ATTACHED} == {attach(web, name).state for name in "ab"}


def test_held_stock_is_no_surplus(full: EngineRig) -> None:
    ticket = hold(full, 2)
    full.update_pool(min_ready=0)
    full.wait_ready(2)
    full.engine.holds.release(ticket=ticket.id)
    full.wait_ready(0)


def test_the_same_create_takes_from_its_ticket_once(full: EngineRig) -> None:
    ticket = hold(full, 2).id
    first = attach(full, "a", hold=ticket)
    assert first.volume_id == attach(full, "a", hold=ticket).volume_id
    assert first.volume_id == attach(full, "a").volume_id
    assert [1] == left(full, ticket)


def test_who_waited_before_and_who_holds_are_both_served(full: EngineRig) -> None:
    """A hold takes nothing that a waiter was going to get."""
    for name in "abcd":
        full.attach_and_wait(name)
    assert WAITING is attach(full, "first").state
    with pytest.raises(ResourceExhausted, match="0 ready, 0 held, 1 waited for"):
        hold(full, 1)
    full.update_pool(min_ready=0, max_replicas=6)
    full.wait_ready(1)
    with pytest.raises(ResourceExhausted, match="1 ready, 0 held, 1 waited for"):
        hold(full, 1)
    full.update_pool(min_ready=1, max_replicas=6)
    full.wait_ready(2)
    ticket = hold(full, 1, token="h2").id
    assert ATTACHED is attach(full, "held", hold=ticket).state
    assert ATTACHED is attach(full, "first").state


def test_who_waits_does_not_keep_a_ticket_from_its_stock(full: EngineRig) -> None:
    ticket = hold(full, 2).id
    assert [ATTACHED] * 2 + [WAITING] * 3 == [attach(full, name).state for name in "abcde"]
    assert [ATTACHED, ATTACHED] == [attach(full, name, hold=ticket).state for name in "fg"]


def test_the_next_replica_is_for_who_waits_and_not_for_the_ticket(web: EngineRig) -> None:
    """Holds do not starve who waits: what is made beside them is theirs."""
    web.add_pool(min_ready=2, max_replicas=5, scrub=ScrubPolicy(threshold=99))
    web.engine.attachments.lease_s = 1000
    ticket = hold(web, 2).id
    web.wait_ready(4)
    for name in "abc":
        web.attach_and_wait(name)
    assert [2] == left(web, ticket)
    # at max_replicas there is nothing left to make: only the ticket is served
    assert 2 == web.count(V.READY)
    assert WAITING is attach(web, "d").state
    assert ATTACHED is attach(web, "e", hold=ticket).state


def test_a_ticket_does_not_refill(full: EngineRig) -> None:
    """Who attached by it and gave it back has used it."""
    ticket = hold(full, 1).id
    taken = attach(full, "a", hold=ticket)
    full.release(taken)
    assert [0] == left(full, ticket)
    assert attach(full, "a", hold=ticket).hold_note


def test_what_expires_goes_to_who_waits(full: EngineRig) -> None:
    ticket = hold(full, 2, duration_s=60).id
    assert [ATTACHED, ATTACHED, WAITING] == [attach(full, name).state for name in "abc"]
    full.clock.advance(61)
    assert ATTACHED is attach(full, "c").state
    with pytest.raises(NotFound, match="or never was; `clonepool hold list` shows what there is"):
        full.engine.holds.get(ticket=ticket)
    full.wake()
    event = full.wait_event("HOLD_EXPIRED")
    assert f"hold/{ticket}" == event.subject
    assert "its time is over, with 2 of 2 of pool web not taken" == event.message


def test_what_is_released_goes_to_who_waits_and_once_is_enough(full: EngineRig) -> None:
    ticket = hold(full, 2).id
    assert [ATTACHED, ATTACHED, WAITING] == [attach(full, name).state for name in "abc"]
    full.engine.holds.release(ticket=ticket)
    full.engine.holds.release(ticket=ticket)
    assert ATTACHED is attach(full, "c").state
    assert ["gave back 2 of 2 of pool web"] == [e.message for e in full.events("HOLD_RELEASED")]


def test_a_used_up_ticket_ends_without_a_word(full: EngineRig) -> None:
    ticket = hold(full, 1, duration_s=60).id
    attach(full, "a", hold=ticket)
    assert [0] == left(full, ticket)
    full.advance(61)
    full.wait_for(lambda: not rows(full), what="the rows cleared")
    assert [] == full.events("HOLD_EXPIRED")


def rows(rig: EngineRig) -> int:
    count = rig.engine._state.write(
        lambda transaction: transaction.sql("SELECT count(*) FROM hold").fetchone()
    )
    return int(count[0])


@pytest.mark.parametrize("case", ["unknown", "expired", "cleared", "used", "other pool"])
def test_a_ticket_that_is_no_use_never_fails_an_attachment(front: EngineRig, case: str) -> None:
    ticket, said = "no-such-ticket", "is not known here"
    if case == "expired":
        ticket, said = hold(front, 1, duration_s=60).id, "not known here|has expired"
        front.clock.advance(61)
    elif case == "cleared":
        ticket = hold(front, 1).id
        front.engine.holds.release(ticket=ticket)
    elif case == "used":
        ticket, said = hold(front, 1).id, "is used up: its 1 of pool web are taken"
        attach(front, "x", hold=ticket)
    elif case == "other pool":
        wanted = [Wanted(pool="front", count=1)]
        ticket, said = hold(front, wanted=wanted).id, "is for other pools: front"
    made = attach(front, "a", hold=ticket)
    assert ATTACHED is made.state
    event = front.wait_event("HOLD_UNUSED")
    assert "attachment/a" == event.subject
    assert f"{made.hold_note}; it goes on as one without a ticket" == event.message
    assert any(word in made.hold_note for word in said.split("|"))
    # asked again it is the same attachment, and nothing is said twice
    assert "" == attach(front, "a", hold=ticket).hold_note
    assert 1 == len(front.events("HOLD_UNUSED"))


def test_a_used_up_ticket_gets_no_more_than_anybody(full: EngineRig) -> None:
    mine, other = hold(full, 1).id, hold(full, 1, token="h2").id
    assert ATTACHED is attach(full, "a", hold=mine).state
    assert [ATTACHED, ATTACHED, WAITING] == [attach(full, n, hold=mine).state for n in "bcd"]
    assert [1] == left(full, other)


def test_an_event_says_that_a_ticket_served_and_what_is_left(full: EngineRig) -> None:
    ticket = hold(full, 2).id
    attach(full, "a", hold=ticket)
    said = full.wait_event("ATTACHED").message
    assert said.endswith(f"by ticket {ticket}, which has 1 more of pool web")


def test_a_waiter_that_brings_a_ticket_later_is_served_by_it(full: EngineRig) -> None:
    ticket = hold(full, 2).id
    assert [ATTACHED, ATTACHED, WAITING] == [attach(full, name).state for name in "abc"]
    served = attach(full, "c", hold=ticket)
    assert (ATTACHED, False) == (served.state, served.warm)
    assert [1] == left(full, ticket)


def test_a_refusal_of_an_empty_pool_says_what_is_held(full: EngineRig) -> None:
    hold(full, 2)
    full.update_pool(when_empty=WhenEmpty.FAIL)
    assert [ATTACHED, ATTACHED] == [attach(full, name).state for name in "ab"]
    with pytest.raises(ResourceExhausted, match="2 held for tickets") as refused:
        attach(full, "c")
    assert "2" == refused.value.metadata["held"]


def test_a_new_version_is_made_for_tickets_at_once(full: EngineRig) -> None:
    """The held replicas are stale then; a ticket gets the current version or waits for it."""
    ticket = hold(full, 2).id
    full.update_image(writable=full.portion("second"))
    full.wait_for(lambda: attach(full, "a", hold=ticket).volume_id, what="served")
    assert 2 == attach(full, "a").image_version
    assert [1] == left(full, ticket)


def test_the_older_ticket_goes_first_where_stock_was_lost(full: EngineRig) -> None:
    old, new = hold(full, 1).id, hold(full, 1, token="h2").id
    taken = [volume.id for volume in full.volumes(state="ready")][:3]

    def lose(transaction):
        for volume in taken:
            transaction.sql("UPDATE volume SET state = 'deleting' WHERE id = ?", (volume,))

    full.engine._planner.stop()
    full.engine._state.write(lose)
    assert WAITING is attach(full, "b", hold=new).state
    assert ATTACHED is attach(full, "a", hold=old).state


def test_one_ticket_holds_of_several_pools(front: EngineRig) -> None:
    made = hold(front, 2, 1)
    assert {"web": 2, "front": 1} == {stock.pool: stock.remaining for stock in made.pools}
    attach(front, "a", pool="front", hold=made.id)
    attach(front, "b", pool="web", hold=made.id)
    assert [0, 1] == left(front, made.id)
    assert 1 == front.pool("web").counts.held
    assert 0 == front.pool("front").counts.held


def test_a_hold_is_all_or_nothing(front: EngineRig) -> None:
    with pytest.raises(ResourceExhausted, match="at most 2 of pool front"):
        hold(front, 1, 3)
    assert 0 == rows(front)
    with pytest.raises(NotFound, match="there is no pool gone"):
        hold(front, wanted=[Wanted(pool="web", count=1), Wanted(pool="gone", count=1)])
    assert 0 == rows(front)
    assert [] == front.events("HOLD_CREATED")


def test_a_partial_hold_leaves_out_what_it_can_not_have(front: EngineRig) -> None:
    made = hold(front, 1, 3, partial=True)
    assert (HeldStock(pool="web", count=1, remaining=1),) == made.pools
    assert [("front", "HOLD_QUOTA")] == [(each.pool, each.reason) for each in made.refused]
    again = hold(front, 1, 3, partial=True)
    assert (made.id, made.pools) == (again.id, again.pools)
    assert [("front", "HOLD_REFUSED")] == [(each.pool, each.reason) for each in again.refused]
    with pytest.raises(ResourceExhausted, match="at most 2 of pool"):
        hold(front, 9, 9, token="h2", partial=True)


def test_the_same_request_finds_its_ticket_and_another_by_its_token_is_refused(
    full: EngineRig,
) -> None:
    made = hold(full, 1)
    attach(full, "a", hold=made.id)
    again = hold(full, 1)
    assert (made.id, 0) == (again.id, again.remaining)
    assert 1 == rows(full)
    with pytest.raises(AlreadyExists, match=f"ticket {made.id} was made by this token"):
        hold(full, 2)
    full.clock.advance(601)
    assert made.id != hold(full, 1).id


def test_quotas_are_the_engines_settings(full: EngineRig) -> None:
    full.close()
    limits = HoldSettings(max_share_percent=25, max_duration_s=60, max_tickets=1)
    full.settings = replace(full.settings, holds=limits)
    full.open()
    with pytest.raises(ResourceExhausted, match="at most 1 of pool web may be held at once"):
        hold(full, 2, duration_s=60)
    with pytest.raises(InvalidArgument, match="duration_s: 1m 1s is longer than a hold may last"):
        hold(full, 1, duration_s=61)
    hold(full, 1, duration_s=60)
    with pytest.raises(ResourceExhausted, match="1 open tickets, and no more than 1"):
        hold(full, 1, duration_s=60, token="h2")


def test_deleting_a_pool_ends_its_holds(front: EngineRig) -> None:
    made = hold(front, 1, 1)
    front.engine.pools.delete(pool_id=front.pool("front").id)
    assert ["web"] == [stock.pool for stock in front.engine.holds.get(ticket=made.id).pools]
    said = [event.message for event in front.events("HOLD_RELEASED")]
    assert ["pool front was deleted, and with it the 1 replicas held of it"] == said
    front.wait_for(lambda: not front.volumes(pool="front"), what="the pool cleared out")


def test_a_listing_goes_page_by_page(front: EngineRig) -> None:
    made = [hold(front, 1, 1, token="h0"), hold(front, 1, token="h1")]
    engine = front.engine.holds
    assert made == engine.list(page=PAGE)[0]
    assert made[:1] == engine.list(page=PAGE, pool="front")[0]
    first, token = engine.list(page=PageRequest(size=1))
    second, _ = engine.list(page=PageRequest(size=1, token=token))
    assert made == [*first, *second]


def test_a_hold_survives_the_engine(full: EngineRig) -> None:
    ticket = hold(full, 2).id
    full.reopen()
    full.engine.attachments.lease_s = 1000
    assert [ATTACHED, ATTACHED, WAITING] == [attach(full, name).state for name in "abc"]
    assert ATTACHED is attach(full, "d", hold=ticket).state


def test_a_clock_that_is_set_back_does_not_prolong_a_hold(full: EngineRig) -> None:
    ticket = hold(full, 1, duration_s=600).id
    full.advance(-3600)

    def until() -> float:
        return full.engine.holds.get(ticket=ticket).expires_at - full.clock()

    full.wait_for(lambda: until() < 601, what="the hold ends as soon as before")
    assert until() > 500


def test_many_at_once_take_exactly_what_is_theirs(web: EngineRig) -> None:
    """Twenty without a ticket race six with one for twelve replicas, six of them held."""
    web.add_pool(min_ready=12, max_replicas=12, scrub=ScrubPolicy(threshold=99))
    web.engine.attachments.lease_s = 1000
    ticket = hold(web, 6).id
    asked = [(f"o{n}", "") for n in range(20)] + [(f"t{n}", ticket) for n in range(6)]
    asked = [asked[(7 * n) % 26] for n in range(26)]

    def one(each: tuple[str, str]) -> tuple[str, AttachmentState]:
        return each[0], attach(web, each[0], hold=each[1]).state

    with ThreadPoolExecutor(26) as pool:
        states = dict(pool.map(one, asked))
    held = [state for name, state in states.items() if name.startswith("t")]
    others = [state for name, state in states.items() if name.startswith("o")]
    assert [ATTACHED] * 6 == held
    assert 6 == others.count(ATTACHED)
    assert [0] == left(web, ticket)
    assert 0 == web.count(V.READY)

"""What a plan does not make because something before it fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from clonepool.domain.forecast import (
    Attach,
    AttachmentView,
    Change,
    Forecast,
    Outcome,
    Plan,
    PutImage,
    PutPool,
    PutServer,
    Remove,
    Thing,
)
from clonepool.domain.forecast_order import Order
from clonepool.domain.forecast_run import forecast
from clonepool.domain.model import ImageSpec, PoolSpec, ServerSpec
from tests.unit.test_forecast import attach, outcomes, pool, snapshot

WARM, WAITS, FAILS = Outcome.WARM, Outcome.WAITS, Outcome.FAILS


def put_pool(name: str, *, image: str = "web", after: str = "", create: bool = True) -> PutPool:
    spec = PoolSpec(name=name, master_image=image, min_ready=1, max_replicas=4)
    return PutPool(spec=spec, create=create, key=f"pool/{name}", after=keys(after))


def put_server(name: str, *, after: str = "") -> PutServer:
    return PutServer(
        spec=ServerSpec(name=name), create=True, key=f"server/{name}", after=keys(after)
    )


def one(name: str, *, after: str = "") -> Attach:
    (made,) = attach(name)
    return replace(made, key=f"attachment/{name}", after=keys(after))


def keys(after: str) -> frozenset[str]:
    return frozenset(after.split())


def come(*changes: Change) -> Iterator[list[str]]:
    order = Order(changes)
    while (stage := order.next()) or order.cut():
        if stage:
            yield [order.made[index].spec.name for index in stage]
        order.done(stage)


def play(*changes: Change) -> Forecast:
    return forecast(Plan(changes=changes), snapshot(pool()))


def failed(made: Forecast) -> dict[str, str]:
    return {each.subject: each.reason for each in made.failures}


def test_what_comes_after_a_failing_create_is_not_made_and_says_why() -> None:
    made = play(
        put_pool("bad", image="none"),
        one("a", after="pool/bad"),
        one("b", after="attachment/a"),
        one("c"),
    )
    assert [FAILS, FAILS, WARM] == outcomes(made)
    assert ["DEPENDENCY_FAILS", "DEPENDENCY_FAILS", ""] == [e.reason for e in made.attachments]
    texts = {each.subject: each.text for each in made.failures if each.subject != "pool/bad"}
    said = "not made: pool bad fails; mend that first"
    assert {"attachment/a": said, "attachment/b": said} == texts


def test_no_stock_is_taken_by_what_is_not_made() -> None:
    made = play(put_pool("bad", image="none"), *(one(n, after="pool/bad") for n in "abc"))
    assert [] == [each for each in made.pools if each.before != each.after]
    assert "attachment/a" in failed(made)


def test_a_pool_and_a_server_that_come_after_what_fails_are_not_made_either() -> None:
    made = play(
        put_pool("late", after="server/s"),
        put_server("s", after="pool/bad"),
        put_pool("bad", image="none"),
        put_pool("web", after="pool/bad", create=False),
    )
    expected = dict.fromkeys(("pool/late", "server/s", "pool/web"), "DEPENDENCY_FAILS")
    assert {**expected, "pool/bad": "NOT_FOUND"} == failed(made)
    assert {"web"} >= {each.name for each in made.pools}
    (text,) = [each.text for each in made.failures if each.subject == "pool/web"]
    assert text.startswith("not changed: pool bad fails")


def test_what_comes_after_one_that_waits_comes_when_that_is_served_or_has_failed() -> None:
    view = pool({"min_ready": 0, "max_replicas": 2}, ready={1: 1}, held={1: 1})
    plan = Plan(changes=(one("a"), one("b"), one("c", after="attachment/b")))
    made = forecast(plan, snapshot(view, attachments=HELD))
    assert ["", "MAX_REPLICAS", "DEPENDENCY_FAILS"] == [e.reason for e in made.attachments]


def test_no_time_passes_between_one_that_is_warm_and_what_comes_after_it() -> None:
    """They find what is ready now, just as those that come at once."""
    view = pool({"max_replicas": 9}, ready={1: 2})
    chain = (one("a"), one("b", after="attachment/a"), one("c", after="attachment/b"))
    made = forecast(Plan(changes=chain), snapshot(view))
    assert [WARM, WARM, WAITS] == outcomes(made)


HELD = (AttachmentView(name="old", pool="web", server="s", image_version=1, size_bytes=2**30),)


@pytest.mark.parametrize("thing", [Thing.POOL, Thing.IMAGE])
def test_a_replacement_of_what_is_in_use_fails_once_and_with_all_that_comes_after_it(
    thing: Thing,
) -> None:
    """Its create is not tried, so nothing is said of a name that is taken."""
    put: Change = put_pool("web")
    if thing is Thing.IMAGE:
        spec = ImageSpec(name="web", storage="default")
        put = PutImage(spec=spec, create=True, key="pool/web")
    plan = Plan(changes=(Remove(thing=thing, name="web", first=True), put, one("a", after=KEY)))
    made = forecast(plan, snapshot(pool(held={1: 1}), attachments=HELD))
    assert [FAILS] == outcomes(made)
    word = thing.value
    assert {f"{word}/web": f"{word.upper()}_IN_USE", "attachment/a": "DEPENDENCY_FAILS"} == failed(
        made
    )


KEY = "pool/web"


def test_things_are_made_in_the_order_of_what_they_need() -> None:
    """Where nothing is said: images, pools, servers, then all attachments at once."""
    changes = (
        one("b", after="attachment/a"),
        one("a"),
        one("z"),
        put_server("s"),
        put_pool("p", after="server/t"),
        put_server("t"),
    )
    names = list(come(*changes))
    assert [["s"], ["t"], ["p"], ["a", "z"], ["b"]] == names


def test_a_circle_ends_and_everything_is_made_once() -> None:
    changes = (
        put_pool("p", after="pool/q"),
        put_pool("q", after="pool/p"),
        put_server("s", after="server/s missing"),
        one("a", after="pool/q"),
    )
    names = [name for stage in come(*changes) for name in stage]
    assert ["s", "p", "q", "a"] == names


def test_of_several_with_one_key_each_must_be_made() -> None:
    """Such as the instances of one resource of Terraform's."""
    good, bad = put_pool("good"), put_pool("bad", image="none")
    changes = (replace(good, key="pool"), replace(bad, key="pool"), one("a", after="pool"))
    assert [FAILS] == outcomes(play(*changes))

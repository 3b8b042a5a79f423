"""What a forecast says, decided on a snapshot alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clonepool.domain.forecast import (
    Attach,
    AttachmentView,
    FabricView,
    Forecast,
    ImageView,
    Outcome,
    Plan,
    PoolView,
    PutImage,
    PutPool,
    ReleasedView,
    Remove,
    Snapshot,
    StorageView,
    Thing,
    VersionView,
)
from clonepool.domain.forecast_run import forecast
from clonepool.domain.model import (
    AttachmentSpec,
    ImageSpec,
    PoolSpec,
    PortionSpec,
    ScrubPolicy,
    ServerSpec,
    SystemUser,
)
from clonepool.domain.policy import Scrubbing
from clonepool.domain.states import ScrubMethod, SystemUserKind, WhenEmpty

GIB = 2**30
ACME = SystemUser(name="acme", kind=SystemUserKind.CUSTOMER)


def image(**changes: Any) -> ImageView:
    fields: dict[str, Any] = {
        "name": "web",
        "system_user": ACME,
        "storage": "default",
        "current": 1,
        "latest": 1,
        "content": "",
        "versions": (VersionView(number=1, writable_bytes=GIB),),
    }
    return ImageView(**{**fields, **changes})


def pool(spec: dict[str, Any] | None = None, **changes: Any) -> PoolView:
    fields: dict[str, Any] = {"min_ready": 2, "max_replicas": 6, "scrub": ScrubPolicy(threshold=3)}
    made = PoolSpec(name="web", master_image="web", **{**fields, **(spec or {})})
    return PoolView(spec=made, **{"ready": {1: 2}, **changes})


def snapshot(*pools: PoolView, left_bytes: int = 2**40, thin: bool = True, **more: Any) -> Snapshot:
    storage = StorageView(
        thin_clones=thin,
        scrubbing=Scrubbing(methods=frozenset(ScrubMethod)),
        left_bytes=left_bytes,
    )
    return Snapshot(
        images=(image(),),
        pools=pools,
        storages={"default": storage},
        fabrics={"iscsi": FabricView(needs_initiator=True, chap=True)},
        **more,
    )


def attach(*names: str, **changes: Any) -> tuple[Attach, ...]:
    return tuple(
        Attach(
            spec=AttachmentSpec(
                name=name,
                pool="web",
                inline_server=ServerSpec(name=f"s-{name}", initiator=f"iqn.2026-01.t:{name}"),
            ),
            **changes,
        )
        for name in names
    )


def held(count: int, *, version: int = 1) -> tuple[AttachmentView, ...]:
    return tuple(
        AttachmentView(
            name=f"a{n}", pool="web", server=f"s{n}", image_version=version, size_bytes=GIB
        )
        for n in range(count)
    )


def release(*numbers: int, first: bool = False) -> tuple[Remove, ...]:
    return tuple(Remove(thing=Thing.ATTACHMENT, name=f"a{n}", first=first) for n in numbers)


def outcomes(made: Forecast) -> list[Outcome]:
    return [each.outcome for each in made.attachments]


def test_more_than_are_ready_wait_in_the_order_of_the_plan() -> None:
    plan = Plan(changes=attach("x", "y", "z", "zz"))
    made = forecast(plan, snapshot(pool(clone_s=0.5, clones_seen=20)))
    assert [Outcome.WARM, Outcome.WARM, Outcome.WAITS, Outcome.WAITS] == outcomes(made)
    assert [0, 0, 1, 2] == [each.place for each in made.attachments]
    assert [None, None, 0.5, 1.0] == [each.wait_s for each in made.attachments]
    assert (
        "place 2 at 0.5 s a clone, the mean of the last 20 clones" == made.attachments[3].estimate
    )


def test_without_a_clone_to_go_by_no_time_is_guessed() -> None:
    last = forecast(Plan(changes=attach("x", "y", "z")), snapshot(pool())).attachments[2]
    assert (Outcome.WAITS, None) == (last.outcome, last.wait_s)
    assert "no rate to go by" in last.estimate


def test_who_waits_already_is_served_before() -> None:
    made = forecast(Plan(changes=attach("x", "y")), snapshot(pool(waiting=1)))
    assert [Outcome.WARM, Outcome.WAITS] == outcomes(made)
    assert 2 == made.attachments[1].place


def test_beyond_max_replicas_an_attachment_fails_even_if_the_plan_releases_some() -> None:
    """Creates come before deletes, so what is released in the same plan comes too late."""
    full = snapshot(pool(held={1: 4}), attachments=held(4))
    plan = Plan(changes=(*attach("x", "y", "z"), *release(0)), stop_at_failure=True)
    made = forecast(plan, full)
    assert ["", "", "MAX_REPLICAS"] == [each.reason for each in made.attachments]
    assert made.deletes_skipped
    (failure,) = made.failures
    assert "release first, then run again" in failure.text
    assert 6 == made.pools[0].after.allocated


def test_a_replacement_gives_its_place_back_first() -> None:
    full = snapshot(pool(held={1: 4}), attachments=held(4))
    made = forecast(Plan(changes=(*release(0, first=True), *attach("a0", "x"))), full)
    assert [Outcome.WARM, Outcome.WARM] == outcomes(made)
    assert 1 == made.pools[0].after.released


def test_an_empty_pool_that_does_not_wait_fails_at_once() -> None:
    made = forecast(
        Plan(changes=attach("x")), snapshot(pool({"when_empty": WhenEmpty.FAIL}, ready={}))
    )
    assert ["POOL_EMPTY"] == [each.reason for each in made.failures]


@pytest.mark.parametrize(
    ("releases", "scrubbed", "at_least"), [(2, 0, 0), (3, 3, 3), (5, 5, 3), (6, 6, 6)]
)
def test_a_threshold_is_reached_by_releases_at_once_or_one_by_one(
    releases: int, scrubbed: int, at_least: int
) -> None:
    """Which of both it will be depends on how fast they come: so both are said."""
    site = snapshot(pool({"max_replicas": 9}, held={1: 6}), attachments=held(6))
    (found,) = forecast(Plan(changes=release(*range(releases))), site).pools
    assert (scrubbed, at_least) == (found.scrubbed, found.scrubbed_at_least)
    assert (scrubbed > 0) is found.reaches_threshold
    assert scrubbed * GIB == found.scrubbed_bytes
    assert found.scrubbed == found.recycled + found.destroyed


def test_a_new_version_replaces_the_stock_and_leaves_servers_alone() -> None:
    spec = ImageSpec(name="web", system_user=ACME, writable=PortionSpec(source="/new"))
    site = snapshot(pool(held={1: 3}), attachments=held(3))
    made = forecast(Plan(changes=(PutImage(spec=spec), *attach("x"))), site)
    assert [(True, 2)] == [(each.new_version, each.version) for each in made.images]
    (found,) = made.pools
    assert (2, 3, 2) == (
        found.stale_replaced,
        found.servers_on_old_version,
        found.image_version,
    )
    assert [Outcome.WAITS] == outcomes(made)


def test_full_clones_that_do_not_fit_are_told_before_anything_is_cloned() -> None:
    spec = PoolSpec(name="more", master_image="web", min_ready=4)
    made = forecast(
        Plan(changes=(PutPool(spec=spec, create=True),)),
        snapshot(thin=False, left_bytes=3 * GIB),
    )
    assert ["NO_SPACE"] == [each.reason for each in made.failures]


def test_short_of_space_a_starving_pool_is_scrubbed_early() -> None:
    """Below the threshold: what was released gives its space to who waits."""
    starving = pool(ready={}, released=(ReleasedView(size_bytes=GIB),), full_clones=True)
    made = forecast(Plan(changes=attach("x")), snapshot(starving, thin=False, left_bytes=1))
    assert (1, False) == (made.pools[0].scrubbed, made.pools[0].reaches_threshold)
    assert [Outcome.WAITS] == outcomes(made)


def test_a_pool_and_an_image_in_use_are_not_deleted() -> None:
    gone = (Remove(thing=Thing.POOL, name="web"), Remove(thing=Thing.IMAGE, name="web"))
    made = forecast(Plan(changes=gone), snapshot(pool(held={1: 1}), attachments=held(1)))
    assert {"POOL_IN_USE", "IMAGE_IN_USE"} == {each.reason for each in made.failures}


def test_a_deleted_pool_scrubs_what_was_released_whatever_the_threshold() -> None:
    gone = (Remove(thing=Thing.POOL, name="web"), *release(0))
    made = forecast(Plan(changes=gone), snapshot(pool(held={1: 1}), attachments=held(1)))
    assert () == made.failures
    (found,) = made.pools
    assert (True, 1, 1) == (found.deleted, found.scrubbed, found.destroyed)


def test_a_server_that_is_logged_in_keeps_its_replacement_from_being_made() -> None:
    busy = tuple(
        AttachmentView(name="a0", pool="web", server="s0", image_version=1, busy=True)
        for _ in range(1)
    )
    made = forecast(
        Plan(changes=(*release(0, first=True), *attach("a0"))),
        snapshot(pool(held={1: 1}), attachments=busy),
    )
    assert ["SERVER_BUSY"] == [each.reason for each in made.failures]
    assert [Outcome.FAILS] == outcomes(made)


def test_a_pool_that_is_not_known_yet_is_not_guessed() -> None:
    made = forecast(Plan(changes=attach("x", unknown=frozenset({"pool"}))), snapshot(pool()))
    assert [Outcome.UNKNOWN] == outcomes(made)


def test_a_scrub_that_comes_in_time_may_change_what_else_is_touched() -> None:
    """With the engine looking after each release the replacement finds stock again, and the
    deletions are done; at once it fails, and they are not."""
    front = replace(pool(held={1: 1}), spec=replace(pool().spec, name="front"))
    web = pool(
        {"when_empty": WhenEmpty.FAIL, "min_ready": 1, "scrub": ScrubPolicy(threshold=1)},
        ready={},
        held={1: 1},
    )
    other = AttachmentView(name="b0", pool="front", server="s9", image_version=1, size_bytes=GIB)
    plan = Plan(
        changes=(
            *release(0, first=True),
            *attach("a0"),
            Remove(thing=Thing.ATTACHMENT, name="b0"),
        ),
        stop_at_failure=True,
    )
    made = forecast(plan, snapshot(web, front, attachments=(*held(1), other)))
    assert [Outcome.FAILS] == outcomes(made)
    assert made.deletes_skipped
    assert ["web"] == [each.name for each in made.pools]


def released_by(name: str, **more: Any) -> ReleasedView:
    fields = {"size_bytes": GIB, "attachment": name, "system_user": ACME, "image_version": 1}
    return ReleasedView(**{**fields, **more})


def test_what_can_be_resumed_is_warm_though_nothing_is_ready() -> None:
    waiting = pool(ready={}, held={}, released=(released_by("x"),))
    wants = Attach(spec=replace(attach("x")[0].spec, resume_released=True))
    made = forecast(Plan(changes=(wants,)), snapshot(waiting))
    assert [Outcome.WARM] == [each.outcome for each in made.attachments]
    assert 0 == made.pools[0].after.released


@pytest.mark.parametrize(
    "left",
    [
        released_by("y"),
        released_by("x", system_user=SystemUser(name="acme", kind=SystemUserKind.APPLICATION)),
        released_by(""),
    ],
)
def test_what_another_left_is_not_resumed(left: ReleasedView) -> None:
    wants = Attach(spec=replace(attach("x")[0].spec, resume_released=True))
    made = forecast(Plan(changes=(wants,)), snapshot(pool(ready={}, held={}, released=(left,))))
    assert [Outcome.WARM] != [each.outcome for each in made.attachments]


def test_an_open_undo_window_keeps_a_plan_from_scrubbing() -> None:
    left = tuple(released_by(f"a{number}", age_s=60.0) for number in range(3))
    for window_s, scrubbed in ((0, 3), (30, 3), (3600, 0)):
        policy = ScrubPolicy(threshold=3, undo_window_s=window_s)
        spec = replace(pool().spec, scrub=policy)
        made = forecast(Plan(changes=(PutPool(spec=spec),)), snapshot(pool(released=left, held={})))
        assert scrubbed == made.pools[0].scrubbed, window_s


@pytest.mark.parametrize(("window", "scrubbed"), [("00:00-01:00", 3), ("01:00-02:00", 0)])
def test_outside_its_window_a_pool_is_not_scrubbed(window: str, scrubbed: int) -> None:
    """The snapshot is of midnight."""
    left = tuple(released_by(f"a{number}") for number in range(3))
    spec = replace(pool().spec, scrub=ScrubPolicy(threshold=3, windows=(window,)))
    made = forecast(Plan(changes=(PutPool(spec=spec),)), snapshot(pool(released=left, held={})))
    assert scrubbed == made.pools[0].scrubbed

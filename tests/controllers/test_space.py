"""Space is promised once: before a clone or an import is begun, in the storage's own figures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clonepool.backends.memory import CHUNK_BYTES, MemoryBackend
from clonepool.domain.forecast import Plan, PutPool
from clonepool.domain.model import PoolSpec, PortionSpec, Ref, ScrubPolicy
from clonepool.domain.states import AfterScrub, VersionState, VolumeState, WhenEmpty
from clonepool.errors import ResourceExhausted
from clonepool.testing.engines import DEFAULT_IMAGE_BYTES, EngineRig

IMAGE_BYTES = 8 * CHUNK_BYTES
Make = Callable[..., EngineRig]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Engines on a storage of so many images' size (of 256 KiB), each with image ``web``."""
    rigs: list[EngineRig] = []

    def made(images: float, *, thin: bool = True, **limits: str) -> EngineRig:
        backend = MemoryBackend(thin=thin, total_bytes=int(images * DEFAULT_IMAGE_BYTES))
        rig = EngineRig(tmp_path / f"engine{len(rigs)}", storage=backend, **limits)
        rig.folder.mkdir()
        rigs.append(rig)
        rig.open()
        rig.add_image()
        return rig

    yield made
    for rig in rigs:
        rig.close()


def memory(rig: EngineRig) -> MemoryBackend:
    assert isinstance(rig.storage, MemoryBackend)
    return rig.storage


def write_all(rig: EngineRig, volume_id: str) -> None:
    """The server writes its volume full."""
    volume = rig.volume(volume_id)
    name = f"vol-{volume_id}-g{volume.generation}"
    memory(rig).open(name=name).write_at(0, b"x" * volume.size_bytes)


def test_what_a_server_wrote_is_not_promised_to_it_a_second_time(tmp_path: Path) -> None:
    """One chunk of eight has data: a fresh full clone is owed seven, a written one none."""
    source = tmp_path / "sparse.img"
    source.write_bytes(b"golden".ljust(CHUNK_BYTES, b"."))
    with source.open("r+b") as file:
        file.truncate(IMAGE_BYTES)
    backend = MemoryBackend(thin=False, total_bytes=3 * IMAGE_BYTES + 2 * CHUNK_BYTES)
    with EngineRig(tmp_path / "engine", storage=backend) as rig:
        rig.add_image(writable=PortionSpec(source=str(source), format="raw"))
        rig.add_pool("written", min_ready=1, max_replicas=1)
        attachment = rig.attach_and_wait("a", pool="written")
        name = f"vol-{attachment.volume_id}-g1"
        backend.open(name=name).write_at(0, b"x" * IMAGE_BYTES)

        rig.add_pool("next", min_ready=2)

    assert 2 == sum(
        info.used_bytes == CHUNK_BYTES and not info.read_only for info in backend.list()
    )


def test_thin_clones_may_promise_what_they_like_where_nothing_is_said(make: Make) -> None:
    assert make(2).add_pool(min_ready=9).clone_kind == "thin"


def test_a_pool_of_thin_clones_that_would_promise_too_much_is_refused_with_figures(
    make: Make,
) -> None:
    """Six images' size, one of them the image: at 1.5 there is room for eight thin clones."""
    rig = make(6, overcommit="1.5")
    with pytest.raises(ResourceExhausted) as refused:
        rig.add_pool(min_ready=9)
    assert "NO_SPACE" == refused.value.reason
    assert (
        "256 KiB are promised, used ones included, of the 2.2 MiB that overcommit 1.5 allows; a "
        "thin clone is of 256 KiB: 9 more are asked for, 8 fit; add space, raise "
        "storages.default.overcommit or lower min_ready"
    ) in str(refused.value)
    rig.add_pool(min_ready=8)


def test_with_overcommit_1_every_server_can_write_all_that_it_has(make: Make) -> None:
    rig = make(5, reserve="10%", overcommit="1")
    rig.add_pool(min_ready=1, max_replicas=9)
    attached = [rig.attach_and_wait(name) for name in "abc"]
    rig.wait_event("NO_SPACE")
    for each in attached:
        write_all(rig, each.volume_id)
    space = memory(rig).space()
    assert space.free_bytes >= space.total_bytes // 10
    assert 3 == len(rig.volumes())


def test_a_pool_that_can_not_be_filled_says_so_and_so_do_those_who_wait(make: Make) -> None:
    rig = make(3, overcommit="1")
    rig.add_pool(min_ready=1, max_replicas=9)
    rig.attach_and_wait("a")
    rig.attach_and_wait("b")
    event = rig.wait_event("NO_SPACE")
    rig.attach("c")
    rig.wait_for(lambda: rig.pool().short_of_space, what=rig.pool)
    assert rig.attach("c").wait_reason == rig.pool().short_of_space
    assert "raise storages.default.overcommit or lower min_ready" in rig.pool().short_of_space
    assert event.message.startswith("pool web can't be filled: storage default has ")
    # it is told of once, and the figures on the pool are renewed now and then
    rig.advance(3600)
    rig.wake()
    assert 1 == len(rig.events("NO_SPACE"))


def test_who_does_not_wait_is_told_why_nothing_is_being_made(make: Make) -> None:
    rig = make(2, overcommit="1")
    rig.add_pool(min_ready=1, max_replicas=9, when_empty=WhenEmpty.FAIL)
    rig.attach_and_wait("a")
    rig.wait_event("NO_SPACE")
    with pytest.raises(ResourceExhausted, match="can't be filled: storage default") as refused:
        rig.attach("b")
    assert "POOL_EMPTY" == refused.value.reason


def test_it_goes_on_by_itself_when_there_is_space_again(make: Make) -> None:
    rig = make(3, overcommit="1")
    policy = ScrubPolicy(threshold=1, then=AfterScrub.DESTROY)
    rig.add_pool(min_ready=1, max_replicas=9, scrub=policy)
    attached = rig.attach_and_wait("a")
    rig.attach_and_wait("b")
    rig.wait_event("NO_SPACE")
    rig.release(attached)
    rig.wait_event("SPACE_FOUND")
    rig.wait_ready(1)
    assert "" == rig.pool().short_of_space


def test_what_lies_there_of_others_is_not_promised(make: Make) -> None:
    """Something else fills the storage: the promises shrink with it."""
    rig = make(6, overcommit="1")
    (rig.folder / "other").write_bytes(b"y" * 2 * DEFAULT_IMAGE_BYTES)
    memory(rig).import_image(name="other", source=rig.folder / "other")
    with pytest.raises(ResourceExhausted, match="3 fit"):
        rig.add_pool(min_ready=4)


def test_an_import_that_would_take_what_is_promised_is_refused_before_it_begins(
    make: Make,
) -> None:
    rig = make(5, overcommit="1")
    rig.add_pool(min_ready=4)
    portion = rig.portion("next", fill=b"other")
    spec = replace(rig.image().spec, name="next", writable=portion)
    rig.engine.images.create(spec=spec, token="t")

    def has_failed() -> bool:
        rig.advance(5)  # what is full may be free again: it is tried some times
        return rig.image("next").latest.state is VersionState.FAILED

    rig.wait_for(has_failed, what=lambda: rig.image("next"))
    latest = rig.image("next").latest
    assert "the import needs 256 KiB, and 0 B can be had: storage default has" in latest.error
    assert not [each for each in memory(rig).list() if latest.id in each.name]


def test_what_is_being_imported_is_promised_to_no_clone(make: Make) -> None:
    """Five images' size, one used, one on its way: three clones fit."""
    rig = make(5, overcommit="1")
    go_on, begun = threading.Event(), threading.Event()

    def hold(step: str, _name: str) -> None:
        if step == "import.work":
            begun.set()
            assert go_on.wait(20)

    memory(rig).on_step = hold
    spec = replace(rig.image().spec, writable=rig.portion("more", fill=b"other"))
    rig.engine.images.update(image_id=rig.image().id, spec=spec)
    assert begun.wait(20)
    with pytest.raises(ResourceExhausted, match=r"256 KiB are being imported, .* 3 fit"):
        rig.add_pool(min_ready=4, filled=False)
    go_on.set()
    rig.wait_imported("web", number=2)


def test_a_clone_that_was_planned_is_not_begun_on_a_storage_that_filled_up_since(
    make: Make,
) -> None:
    rig = make(6, reserve="20%")
    writer = threading.Event()

    def fill(step: str, name: str) -> None:
        # the first clone's volume is written by somebody before the second is begun
        if step == "clone.done" and not writer.is_set():
            writer.set()
            (rig.folder / "other").write_bytes(b"y" * 4 * DEFAULT_IMAGE_BYTES)
            memory(rig).import_image(name="other", source=rig.folder / "other")

    memory(rig).on_step = fill
    rig.settings = replace(rig.settings, workers=1)
    rig.reopen()
    rig.add_pool(min_ready=2, filled=False)
    rig.wait_for(lambda: any(each.error for each in rig.volumes()), what=rig.volumes)
    (error,) = {each.error for each in rig.volumes() if each.error}
    assert "is not begun: storage default has 256 KiB free, and keeps 307.2 KiB in reserve" in error
    assert 0 == rig.pool().failures, "it comes back by itself: no reason to stop"
    memory(rig).delete(name="other")
    rig.advance(120)
    rig.wait_count(VolumeState.READY, 2)


@pytest.mark.parametrize("thin", [True, False])
def test_capacity_says_what_fits_and_that_is_what_is_let_in(make: Make, *, thin: bool) -> None:
    rig = make(8, thin=thin, overcommit="1", reserve="10%")
    rig.add_pool(min_ready=2, max_replicas=20)
    found = rig.engine.capacities.get()
    (web,), (default,) = found.pools, found.storages
    assert ("web", "thin" if thin else "full", 18, 4, 4) == (
        web.name,
        web.kind,
        web.room,
        web.fits,
        web.can_make,
    )
    assert default.capacity is not None
    assert 3 * DEFAULT_IMAGE_BYTES == default.capacity.promised_bytes
    assert found == rig.engine.capacities.get(pool="web")
    with pytest.raises(ResourceExhausted):
        rig.add_pool("more", min_ready=5)
    rig.add_pool("more", min_ready=4)


def test_a_forecast_of_a_pool_that_does_not_fit_is_what_its_creation_answers(make: Make) -> None:
    rig = make(6, overcommit="1.5")
    answers: list[Any] = []
    for ready in (9, 8):
        spec = PoolSpec(name=f"p{ready}", master_image="web", min_ready=ready, fabric="iscsi")
        plan = Plan(changes=(PutPool(spec=spec, create=True),))
        said = [each.reason for each in rig.engine.forecasts.make(plan=plan).failures]
        try:
            rig.engine.pools.create(spec=spec, token="t")
        except ResourceExhausted as refused:
            answers.append((said, [refused.reason]))
        else:
            answers.append((said, []))
    assert [(["NO_SPACE"], ["NO_SPACE"]), ([], [])] == answers


def test_a_storage_that_fills_up_is_told_of_before_it_is_full(make: Make) -> None:
    """Ten images' size: warned of below two, nothing cloned at one, told again when roomy."""
    rig = make(10, reserve="10%", warn_below="20%", overcommit="9")
    rig.add_pool(min_ready=1, max_replicas=20)
    attached = [rig.attach_and_wait(f"a{number}") for number in range(8)]
    seen = []
    for each in attached:
        write_all(rig, each.volume_id)
        rig.engine.reconcile.run_once()
        rig.wake()
        seen.append([event.reason for event in rig.events() if event.subject == "storage/default"])
    assert [[]] * 6 + [["STORAGE_LOW"], ["STORAGE_LOW", "STORAGE_RESERVE"]] == seen
    rig.release(*attached[:4])
    rig.engine.scrub.start(pool="web")
    rig.wait_runs_over()
    rig.engine.reconcile.run_once()
    event = rig.wait_event("STORAGE_ROOMY")
    assert "storage default has 1.2 MiB free of 2.5 MiB again" == event.message


def test_a_setting_that_can_not_be_kept_is_refused_at_the_start(tmp_path: Path) -> None:
    for limits in ({"overcommit": "0.5"}, {"overcommit": "much"}, {"warn_below": "200%"}):
        rig = EngineRig(tmp_path, storage=MemoryBackend(), **limits)
        with pytest.raises(Exception, match=f"storages.default.{next(iter(limits))}"):
            rig.open()


def test_an_image_that_is_gone_gives_back_what_it_used(make: Make) -> None:
    rig = make(3, overcommit="1")
    rig.add_image("old", writable=rig.portion("old", fill=b"old"))
    with pytest.raises(ResourceExhausted, match="1 fit"):
        rig.add_pool(min_ready=2)
    rig.engine.images.delete(image_id=rig.engine.images.get(ref=Ref(name="old")).id)
    rig.wait_for(
        lambda: len([each for each in memory(rig).list() if each.read_only]) == 1,
        what=lambda: list(memory(rig).list()),
    )
    rig.add_pool(min_ready=2)

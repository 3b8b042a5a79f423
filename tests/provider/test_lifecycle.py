"""Create, read, update and delete over a real client, with faults in the engine behind it."""

from __future__ import annotations

from typing import Any

import pytest

from clonepool.errors import AlreadyExists, FailedPrecondition, Unavailable
from clonepool_resources.lifecycle import Lifecycle, NotSettled
from clonepool_resources.server_lifecycle import AttachmentLifecycle, ServerLifecycle
from clonepool_resources.storage_lifecycle import ImageLifecycle, PoolLifecycle
from clonepool_resources.types import Inputs
from clonepool_resources.waiting import Waiting
from tests.provider.bench import ATTACHMENT, Bench, checked
from tests.provider.faulty_engine import FaultyEngine

IMAGE = {"name": "web", "writable": {"source": "/images/web.raw", "size": "1GiB"}}
POOL = {"name": "web", "master_image": "web", "min_ready": 3, "wait_for_ready": 3}
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

    with pytest.raises(NotSettled, match="not there after 30s") as begun:
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
        left="it goes on",
        timeout_s=60,
    )

    assert ("done", ["open", "the engine is away; waiting for it"]) == (
        seen,
        list(dict.fromkeys(lines)),
    )

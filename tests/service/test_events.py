"""Events are listed by page and watched by a bounded number of callers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.config import Settings
from clonepool.errors import InvalidArgument, ResourceExhausted, Unavailable
from clonepool.service.server import EngineServer
from tests.service.fake_engine import FakeEngine
from tests.service.serving import make_server


@pytest.fixture
def small_server(engine: FakeEngine, settings: Settings) -> Iterator[EngineServer]:
    """A server with room for one watcher."""
    running = make_server(engine, settings, watchers_limit=1)
    running.start()
    yield running
    running.drain(grace_s=0)


def watch(client: EngineClient, **request: Any) -> Iterator[Any]:
    return client.watch("WatchEvents", pb.ListEventsRequest(**request))


def eventually(attempt: Callable[[], Any], *, unless: type[Exception]) -> Any:
    """The first answer that is not ``unless``, within the client's ten seconds."""
    for _ in range(1000):
        try:
            return attempt()
        except unless:
            continue
    pytest.fail(f"{unless.__name__} to the end")


def test_a_page_begins_after_the_last_id(client: EngineClient, engine: FakeEngine) -> None:
    for _ in range(5):
        engine.events.add("pool/web")

    request = pb.ListEventsRequest(after_id=1, page_size=2)
    found = client.call("ListEvents", request).events

    assert [event.id for event in found] == [2, 3]


def test_a_watcher_sees_old_events_and_then_new_ones(
    client: EngineClient, engine: FakeEngine
) -> None:
    engine.events.add("pool/web", "old")
    stream = watch(client)
    assert next(stream).message == "old"

    engine.events.add("pool/web", "new")

    assert next(stream).message == "new"
    stream.close()


def test_a_watcher_of_one_subject_sees_no_others(client: EngineClient, engine: FakeEngine) -> None:
    engine.events.add("pool/other")
    stream = watch(client, subject_prefix="pool/web")
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(next, stream)
        engine.events.add("pool/other")
        engine.events.add("pool/web", "mine")
        assert first.result(10).message == "mine"
    stream.close()


def test_one_watcher_too_many_is_refused_and_a_place_comes_free(
    small_server: EngineServer, engine: FakeEngine
) -> None:
    engine.events.add("pool/web")
    with EngineClient.connect(endpoint=str(small_server.endpoint)) as client:
        first = watch(client)
        next(first)
        with pytest.raises(ResourceExhausted, match="1 callers watch") as refused:
            next(watch(client))
        assert refused.value.reason == "TOO_MANY_WATCHERS"

        first.close()

        second = eventually(lambda: _started(client), unless=ResourceExhausted)
        second.close()


def _started(client: EngineClient) -> Iterator[Any]:
    stream = watch(client)
    next(stream)
    return stream


def test_a_drain_ends_watchers_at_once(engine: FakeEngine, settings: Settings) -> None:
    """Else each shutdown would last for as long as its grace."""
    engine.events.add("pool/web")
    server = make_server(engine, settings)
    server.start()
    with EngineClient.connect(endpoint=settings.listen) as client:
        stream = watch(client)
        next(stream)
        with ThreadPoolExecutor(1) as threads:
            drained = threads.submit(server.drain, grace_s=60)
            with pytest.raises(Unavailable, match="shutting down"):
                next(stream)
            drained.result(10)


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(2**53 + 1, 1), (-(2**60), 0), (0, -1), (0, 10**9), (253402300800, 0)]
)
def test_an_audit_since_what_is_no_time_is_refused(
    client: EngineClient, seconds: int, nanos: int
) -> None:
    request = pb.ExportAuditRequest()
    request.since.seconds, request.since.nanos = seconds, nanos

    with pytest.raises(InvalidArgument) as refused:
        list(client.watch("ExportAudit", request))

    assert ["since"] == [violation.field for violation in refused.value.violations]

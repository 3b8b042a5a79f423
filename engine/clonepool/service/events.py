"""RPCs that stream, to a bounded number of callers: events as they happen, and the audit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from typing import TYPE_CHECKING, Final

import grpc

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.work import Event
from clonepool.errors import InvalidArgument, ResourceExhausted, Unavailable
from clonepool.service import convert, validate
from clonepool.service.dispatch import Handler

if TYPE_CHECKING:
    from clonepool.controllers.audit import Audit
    from clonepool.controllers.events import Events

_PAGE_LIMIT: Final = 1000
# how soon a watcher notices that its caller has gone or the engine is draining
_WAIT_S: Final = 0.5


class EventHandlers:
    """Events over the wire. Each watcher holds a thread, so their number has a bound."""

    def __init__(
        self,
        *,
        events: Events,
        audit: Audit,
        watchers_limit: int,
        draining: Callable[[], bool],
    ) -> None:
        self._events = events
        self._audit = audit
        self._limit = watchers_limit
        self._places = threading.BoundedSemaphore(watchers_limit)
        self._draining = draining

    def methods(self) -> Mapping[str, Handler]:
        """The RPCs by name, without the streaming one."""
        return {"ListEvents": self.list}

    def list(self, request: pb.ListEventsRequest) -> pb.ListEventsResponse:
        """One page of events."""
        validate.event_list(request)
        found = self._page(request, after_id=request.after_id)
        return pb.ListEventsResponse(events=[convert.event(event) for event in found])

    def watch(
        self, request: pb.ListEventsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Event]:
        """Events as they happen, until the caller goes or the engine drains."""
        validate.event_list(request)
        with self._place("read pages with ListEvents"):
            yield from self._follow(request, context)

    def export(
        self, request: pb.ExportAuditRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.AuditLine]:
        """The audit, line by line; it takes a watcher's place, since it holds a thread as long."""
        since = _since(request)
        with self._place("read the audit again later"):
            for line in self._audit.export(since=since):
                if not context.is_active():
                    return
                yield pb.AuditLine(text=line)

    @contextmanager
    def _place(self, way_out: str) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise ResourceExhausted(
                f"{self._limit} callers watch events already, the most this engine serves; end "
                f"one, or {way_out}",
                reason="TOO_MANY_WATCHERS",
                metadata={"watchers": str(self._limit)},
            )
        try:
            yield
        finally:
            self._places.release()

    def _follow(
        self, request: pb.ListEventsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Event]:
        seen_id = request.after_id
        while context.is_active():
            if self._draining():
                raise Unavailable("the engine is shutting down", reason="DRAINING")
            page = self._page(request, after_id=seen_id)
            for event in page:
                yield convert.event(event)
                seen_id = event.id
            if not page and self._events.wait(after_id=seen_id, timeout_s=_WAIT_S):
                seen_id = self._skip_others(request, seen_id=seen_id)

    def _skip_others(self, request: pb.ListEventsRequest, *, seen_id: int) -> int:
        """Move past events of other subjects, or waiting would return at once for ever."""
        if not request.subject_prefix:
            return seen_id
        newer = self._events.list(after_id=seen_id, limit=_PAGE_LIMIT)
        for event in newer:
            if event.subject.startswith(request.subject_prefix):
                break
            seen_id = event.id
        return seen_id

    def _page(self, request: pb.ListEventsRequest, *, after_id: int) -> Sequence[Event]:
        return self._events.list(
            after_id=after_id,
            limit=min(request.page_size or _PAGE_LIMIT, _PAGE_LIMIT),
            subject_prefix=request.subject_prefix,
        )


def _since(request: pb.ExportAuditRequest) -> float:
    """POSIX seconds. Raises InvalidArgument for what is no time."""
    if not request.HasField("since"):
        return 0.0
    try:
        return request.since.ToDatetime(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        raise InvalidArgument.field(
            "since", "must be a time of the years 1 to 9999, with nanos from 0 to 999999999"
        ) from None

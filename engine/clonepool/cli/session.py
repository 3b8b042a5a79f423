"""Talking to the engine from a command: connecting, naming things, reading every page, waiting."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import DeadlineExceeded, NotFound
from clonepool.units import format_duration

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FIRST_POLL_S: Final = 0.05
_LARGEST_POLL_S: Final = 1.0


def connect() -> EngineClient:
    """The engine that the environment names; one that is away is said at once."""
    return EngineClient.connect(connect_wait_s=0)


def looks_like_id(text: str) -> bool:
    """Whether a text is written as ids are; a name may be, too."""
    return _UUID.fullmatch(text) is not None


def find(client: EngineClient, method: str, name: str, **more: Any) -> Any:
    """A thing by its name or, where it looks like one, its id. Raises NotFound."""
    request_class = pb.GetAttachmentRequest if method == "GetAttachment" else pb.GetRequest
    if looks_like_id(name):
        try:
            return client.call(method, request_class(id=name, **more))
        except NotFound:
            # a name may look like an id
            return client.call(method, request_class(name=name, **more))
    return client.call(method, request_class(name=name, **more))


def pages(client: EngineClient, method: str, field: str, request: Any) -> Iterator[Any]:
    """Every item of a listing; ``field`` is where a page has them."""
    while True:
        page = client.call(method, request)
        yield from getattr(page, field)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def filtered(client: EngineClient, method: str, field: str, request: Any) -> list[Any]:
    """Every item of a listing. Raises NotFound for none of a pool or server that is not there.

    What is left of a deleted pool (its records, say) is listed all the same.
    """
    found = list(pages(client, method, field, request))
    if not found:
        for filtering, ask in (("pool", "GetPool"), ("server", "GetServer")):
            name = getattr(request, filtering, "")
            if name:
                client.call(ask, pb.GetRequest(name=name))
    return found


def request_token(kind: str, name: str) -> str:
    """The same command again finds what it made before, also after Ctrl-C."""
    return f"clonepool-cli/{kind}/{name}"


def wait_until(
    poll: Callable[[], Any],
    *,
    done: Callable[[Any], bool],
    timeout_s: float,
    waiting_for: Callable[[Any], str],
    way_out: str,
) -> Any:
    """Poll, ever more slowly, until ``done``; the last answer.

    Raises DeadlineExceeded, with what was waited for and the way out, after ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = _FIRST_POLL_S
    while True:
        answer = poll()
        if done(answer):
            return answer
        if time.monotonic() + pause_s > deadline:
            text = f"{waiting_for(answer)} after {format_duration(timeout_s)}"
            raise DeadlineExceeded(f"{text}; {way_out}", reason="TIMEOUT")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LARGEST_POLL_S)

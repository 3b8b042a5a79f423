"""`clonepool events`: what the engine has to tell an operator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import output
from clonepool.cli.documents import document, documents, seconds
from clonepool.cli.session import connect
from clonepool.errors import Unavailable

_PAGE: Final = 1000
_RECONNECT_S: Final = 1.0


def events(*, follow: bool = False, subject: str = "", after: int = 0, json: bool = False) -> None:
    """Show events, oldest first.

    Parameters
    ----------
    follow
        Go on with each new one as it happens, until Ctrl-C; also over a restart of the engine.
    subject
        Only of subjects that begin so, such as pool/web.
    after
        Only those after this event's id.
    json
        Print a JSON list of Event; with --follow one JSON object a line.

    """
    request = pb.ListEventsRequest(after_id=after, subject_prefix=subject, page_size=_PAGE)
    with connect() as client:
        if follow:
            _follow(client, request, json=json)
            return
        found = list(_all(client, request))
    if json:
        output.print_json(documents(found))
        return
    for event in found:
        _print(event)
    if not found:
        print("no events")


def _all(client: EngineClient, request: pb.ListEventsRequest) -> Iterator[Any]:
    while True:
        page = client.call("ListEvents", request).events
        yield from page
        if len(page) < _PAGE:
            return
        request.after_id = page[-1].id


def _follow(client: EngineClient, request: pb.ListEventsRequest, *, json: bool) -> None:
    """Watch; when an engine that answered before goes away, wait for it and go on."""
    client.call("GetEngineInfo", pb.GetEngineInfoRequest())
    while True:
        try:
            for event in client.watch("WatchEvents", request):
                request.after_id = event.id
                if json:
                    output.print_json_line(document(event))
                else:
                    _print(event)
        except Unavailable as away:
            output.note(f"{away}; waiting for it")
            time.sleep(_RECONNECT_S)


def _print(event: Any) -> None:
    at = datetime.fromtimestamp(seconds(event.at)).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    print(f"{at}  {event.severity:<7}  {event.subject}  {event.message}", flush=True)

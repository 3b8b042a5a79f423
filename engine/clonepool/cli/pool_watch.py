"""`clonepool pool watch`: a line for each change of a pool's volumes."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Final

from clonepool.cli import output
from clonepool.cli.documents import document
from clonepool.cli.session import connect, find
from clonepool.errors import DeadlineExceeded
from clonepool.units import parse_duration

_INTERVAL_S: Final = 0.25


def watch_pool(
    name: str, /, *, until_ready: int = 0, timeout: str = "", json: bool = False
) -> None:
    """Print a pool's volumes by state, now and at each change, until Ctrl-C.

    Parameters
    ----------
    name
        The pool's name or id.
    until_ready
        End as soon as so many replicas are ready.
    timeout
        Give up after this time, such as 5m.
    json
        Print one JSON object a line, ReplicaPool.

    """
    deadline = time.monotonic() + parse_duration(timeout, field="--timeout") if timeout else None
    with connect() as client:
        before = None
        while True:
            pool = find(client, "GetPool", name)
            if pool.counts != before:
                _print(pool, json=json)
                before = pool.counts
            if until_ready and pool.counts.ready >= until_ready:
                return
            if deadline is not None and time.monotonic() > deadline:
                raise DeadlineExceeded(f"pool {name} was watched for {timeout}")
            time.sleep(_INTERVAL_S)


def _print(pool: Any, *, json: bool) -> None:
    if json:
        output.print_json_line(document(pool))
        return
    shown = (
        f"{field.name} {getattr(pool.counts, field.name)}"
        for field in type(pool.counts).DESCRIPTOR.fields
        if getattr(pool.counts, field.name) or field.name == "ready"
    )
    now = datetime.now().astimezone().strftime("%H:%M:%S")
    print(f"{now}  {pool.spec.name}  {'  '.join(shown)}", flush=True)

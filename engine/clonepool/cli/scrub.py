"""`clonepool scrub`: erase released volumes now, and see what was erased."""

from __future__ import annotations

import contextlib
from typing import Any

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import output, words
from clonepool.cli.documents import document, documents
from clonepool.cli.session import connect, filtered, wait_until
from clonepool.errors import FailedPrecondition, NotFound
from clonepool.units import format_duration, parse_duration


def run_scrub(pool: str, /, *, wait: bool = False, timeout: str = "1h", json: bool = False) -> None:
    """Scrub a pool's released volumes now, without waiting for the threshold.

    Parameters
    ----------
    pool
        The pool's name.
    wait
        Wait until the run has ended.
    timeout
        How long to wait (default 1h).
    json
        Print one JSON document, ScrubRun; its id is "" when nothing was released.

    """
    timeout_s = parse_duration(timeout, field="--timeout")
    with connect() as client:
        run = client.call("StartScrub", pb.StartScrubRequest(pool=pool))
        if run.id and wait:
            run = wait_until(
                lambda: client.call("GetScrubRun", pb.GetRequest(id=run.id)),
                done=lambda found: found.state != "running",
                timeout_s=timeout_s,
                waiting_for=lambda found: f"scrub run {found.id} is still {_state(found)}",
                way_out=f"it goes on; see clonepool scrub runs --pool {pool}",
            )
    if json:
        output.print_json(document(run))
    elif run.id:
        print(f"scrub run {run.id} of {run.volumes} volumes: {_state(run)}")
    else:
        print(f"pool {pool} has no released volumes{_still_undoable(pool)}")
    if run.state == "failed":
        raise FailedPrecondition(
            f"{run.faulty} volumes of pool {pool} could not be scrubbed; see "
            f"clonepool volume list --pool {pool} --state faulty"
        )


def _still_undoable(pool: str) -> str:
    """What is left alone, since its release can still be undone."""
    with connect() as client, contextlib.suppress(NotFound):
        found = client.call("GetPool", pb.GetRequest(name=pool))
        if found.counts.released:
            window = format_duration(found.spec.scrub.undo_window_s)
            return (
                f" that may be scrubbed now: the undo window ({window}) of "
                f"{words.count(found.counts.released, 'released volume')} is open"
            )
    return ""


def list_runs(*, pool: str = "", json: bool = False) -> None:
    """List scrub runs, newest first.

    Parameters
    ----------
    pool
        Only those of this pool.
    json
        Print a JSON list of ScrubRun.

    """
    with connect() as client:
        found = filtered(client, "ListScrubRuns", "runs", pb.ListScrubRunsRequest(pool=pool))
    if json:
        output.print_json(documents(found))
        return
    columns = ("run", "pool", "trigger", "method", "state", "volumes", "started", "finished")
    rows = [
        (
            run.id,
            run.pool,
            run.trigger,
            run.method,
            _state(run),
            str(run.volumes),
            words.ago(run.started_at),
            words.ago(run.finished_at),
        )
        for run in found
    ]
    output.print_table(columns, rows, empty="no scrub runs")


def list_records(*, pool: str = "", volume: str = "", json: bool = False) -> None:
    """List who had which volume, and when and how its bytes were erased; newest first.

    Parameters
    ----------
    pool
        Only those of this pool.
    volume
        Only those of this volume (its id).
    json
        Print a JSON list of ScrubRecord.

    """
    request = pb.ListScrubRecordsRequest(pool=pool, volume_id=volume)
    with connect() as client:
        found = filtered(client, "ListScrubRecords", "records", request)
    if json:
        output.print_json(documents(found))
        return
    columns = (
        "volume",
        "generation",
        "system user",
        "server",
        "method",
        "read back",
        "then",
        "scrubbed",
    )
    rows = [
        (
            record.volume_id,
            str(record.generation),
            words.user(record.system_user),
            record.server_name,
            record.method,
            _read_back(record),
            record.then,
            words.ago(record.finished_at),
        )
        for record in found
    ]
    output.print_table(columns, rows, empty="no scrub records")


def _read_back(record: Any) -> str:
    if record.result != "passed":
        return record.result if record.verify != "none" else ""
    return f"{record.verify}, {words.size(record.bytes_read)}"


def _state(run: Any) -> str:
    done = [
        f"{getattr(run, what)} {what}"
        for what in ("scrubbed", "recycled", "destroyed", "faulty")
        if getattr(run, what)
    ]
    return f"{run.state} ({', '.join(done)})" if done else str(run.state)

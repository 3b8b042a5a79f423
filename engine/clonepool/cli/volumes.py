"""`clonepool volume`: replicas, and what became of them."""

from __future__ import annotations

from typing import Any

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import output, words
from clonepool.cli.documents import document, documents
from clonepool.cli.session import connect, filtered


def list_volumes(*, pool: str = "", state: str = "", json: bool = False) -> None:
    """List volumes.

    Parameters
    ----------
    pool
        Only those of this pool.
    state
        Only those in this state: planned, cloning, ready, attaching, allocated, detaching,
        released, scrubbing, deleting or faulty.
    json
        Print a JSON list of Volume.

    """
    request = pb.ListVolumesRequest(pool=pool, state=state)
    with connect() as client:
        found = filtered(client, "ListVolumes", "volumes", request)
    if json:
        output.print_json(documents(found))
        return
    columns = ("volume", "generation", "pool", "version", "state", "clone", "size", "changed")
    output.print_table(columns, [_row(volume) for volume in found], empty="no volumes")


def show_volume(volume_id: str, /, *, json: bool = False) -> None:
    """Show one volume.

    Parameters
    ----------
    volume_id
        The volume's id.
    json
        Print one JSON document, Volume.

    """
    with connect() as client:
        volume = client.call("GetVolume", pb.GetRequest(id=volume_id))
    if json:
        output.print_json(document(volume))
        return
    output.print_fields(
        [
            ("volume", volume.id),
            ("generation", str(volume.generation)),
            ("pool", volume.pool),
            ("image version", str(volume.image_version)),
            ("state", volume.state),
            ("changed", words.ago(volume.changed_at)),
            ("size", "none: a slot" if volume.slot else words.size(volume.size_bytes)),
            ("clone", volume.clone_kind),
            ("storage", f"{volume.storage} on {volume.node}, {volume.object_name}"),
            ("fabric", volume.fabric),
            ("attachment", volume.attachment_id),
            ("last attachment", volume.last_attachment_id),
            ("last system user", words.user(volume.last_system_user)),
            ("scrub run", volume.scrub_run_id),
            ("error", volume.error),
        ]
    )


def retry_volume(volume_id: str, /) -> None:
    """Scrub a faulty volume once more; it is reused if its pool needs it.

    Parameters
    ----------
    volume_id
        The volume's id.

    """
    _scrub("RetryVolume", volume_id)


def destroy_volume(volume_id: str, /) -> None:
    """Erase a faulty volume and destroy it; what can't be erased stays faulty.

    Parameters
    ----------
    volume_id
        The volume's id.

    """
    _scrub("DestroyVolume", volume_id)


def _scrub(method: str, volume_id: str) -> None:
    with connect() as client:
        run = client.call(method, pb.GetRequest(id=volume_id))
    if run.id:
        print(f"volume {volume_id} is being scrubbed; see clonepool scrub runs --pool {run.pool}")
    else:
        print(f"volume {volume_id} is gone")


def _row(volume: Any) -> tuple[str, ...]:
    return (
        volume.id,
        str(volume.generation),
        volume.pool,
        str(volume.image_version),
        volume.state,
        volume.clone_kind,
        "slot" if volume.slot else words.size(volume.size_bytes),
        words.ago(volume.changed_at),
    )

"""`clonepool capacity`: what fits now, per storage and pool."""

from __future__ import annotations

from typing import Any

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import output, words
from clonepool.cli.session import connect


def capacity(*, storage: str = "", pool: str = "", json: bool = False) -> None:
    """Show what fits now: what each storage has and may promise, and what pools can still make.

    Used is what lies on a storage now, owed what servers may still write into its volumes beyond
    what these hold; both together are promised. Each pool's figures are as if it were alone.

    Parameters
    ----------
    storage
        Only this storage and its pools.
    pool
        Only this pool and its storage.
    json
        Print one JSON document, CapacityResponse.

    """
    with connect() as client:
        found = client.call("GetCapacity", pb.GetCapacityRequest(storage=storage, pool=pool))
    if json:
        from clonepool.cli.documents import document  # noqa: PLC0415 - for JSON only

        output.print_json(document(found))
        return
    _print_storages(found.storages)
    print()
    _print_pools(found.pools)
    for line in _remarks(found):
        print(line)


def _print_storages(storages: Any) -> None:
    columns = ("storage", "total", "free", "reserve", "owed", "promised", "may promise", "can take")
    rows = [_storage_row(each) for each in storages if not each.error]
    output.print_table(columns, rows, empty="no storage answers")


def _storage_row(storage: Any) -> tuple[str, ...]:
    limit = "any"
    if storage.HasField("limit_bytes"):
        limit = f"{words.size(storage.limit_bytes)} (x{storage.overcommit:g})"
    return (
        storage.name,
        words.size(storage.total_bytes),
        words.size(storage.free_bytes),
        words.size(storage.reserve_bytes),
        words.size(storage.owed_full_bytes + storage.owed_thin_bytes),
        words.size(storage.promised_bytes),
        limit,
        words.size(max(0, storage.writable_bytes)),
    )


def _print_pools(pools: Any) -> None:
    columns = ("pool", "storage", "clones", "of", "fit", "room", "can make")
    rows = [
        (
            pool.name,
            pool.storage,
            pool.clone_kind,
            words.size(pool.clone_bytes) if pool.clone_bytes else "",
            str(pool.fits) if pool.HasField("fits") else "any",
            str(pool.room),
            str(pool.can_make),
        )
        for pool in pools
    ]
    output.print_table(columns, rows, empty="no pools")


def _remarks(found: Any) -> list[str]:
    """What an operator should know of it, each with the way out."""
    said = [f"storage {each.name}: {each.error}" for each in found.storages if each.error]
    for storage in found.storages:
        if storage.error:
            continue
        if storage.free_bytes < storage.warn_bytes:
            said.append(
                f"storage {storage.name} is nearly full: free some space or add some before its "
                "servers' writes fail"
            )
        if storage.overcommitted:
            said.append(
                f"storage {storage.name} has promised more than it has: its servers can fill it "
                f"up; with storages.{storage.name}.overcommit 1 they can't"
            )
    said += [
        f"pool {each.name}: {each.short_of_space}" for each in found.pools if each.short_of_space
    ]
    return said

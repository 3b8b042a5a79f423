"""`clonepool status`: what the engine is, how it is, and its pools."""

from __future__ import annotations

from typing import Any

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import output, words
from clonepool.cli.session import connect, pages


def status(*, json: bool = False) -> None:
    """Show the engine, its storages and fabrics, and its pools.

    Parameters
    ----------
    json
        Print one JSON document with the keys engine and pools.

    """
    with connect() as client:
        info = client.call("GetEngineInfo", pb.GetEngineInfoRequest())
        pools = list(pages(client, "ListPools", "pools", pb.ListRequest()))
    if json:
        from clonepool.cli.documents import document, documents  # noqa: PLC0415 - for JSON only

        output.print_json({"engine": document(info), "pools": documents(pools)})
        return
    _print(info, pools, endpoint=str(client.endpoint))


def _print(info: Any, pools: list[Any], *, endpoint: str) -> None:
    print(
        f"clonepool {info.version} at {endpoint}, node {info.node}, "
        f"started {words.ago(info.started_at)}"
    )
    kinds = ("image", "pool", "server", "attachment", "volume")
    print(", ".join(words.count(getattr(info, f"{kind}s"), kind) for kind in kinds))
    print()
    for storage in info.storages:
        print(f"storage {storage.name}: {_storage(storage)}")
    for fabric in info.fabrics:
        print(f"fabric {fabric.name}: {fabric.error or _fabric(fabric)}")
    if pools:
        print()
        print_pools(pools)


def print_pools(pools: list[Any]) -> None:
    """A table of pools; also for `pool list`."""
    columns = (
        "pool", "image", "version", "ready", "held", "allocated", "released", "waiting", "state"
    )  # fmt: skip
    rows = [
        (
            pool.spec.name,
            pool.spec.master_image,
            str(pool.image_version or ""),
            f"{pool.counts.ready}/{pool.spec.min_ready}",
            str(pool.counts.held),
            str(pool.counts.allocated),
            f"{pool.counts.released}/{pool.spec.scrub.threshold}",
            str(pool.counts.waiting),
            pool_state(pool),
        )
        for pool in pools
    ]
    output.print_table(columns, rows, empty="no pools")


def pool_state(pool: Any) -> str:
    """One or a few words: what a pool is doing, or why it stopped."""
    counts = pool.counts
    if pool.stopped_reason:
        return f"stopped: {pool.stopped_reason}"
    busy = [
        f"{getattr(counts, state)} {state}"
        for state in ("cloning", "scrubbing", "deleting", "faulty")
        if getattr(counts, state)
    ]
    if pool.short_of_space:
        busy.append("short of space")
    if busy:
        return ", ".join(busy)
    if counts.ready >= pool.spec.min_ready:
        return "ready"
    held = counts.planned + counts.ready + counts.attaching + counts.allocated + counts.detaching
    return "filling" if held < pool.spec.max_replicas else "at max_replicas"


def _storage(storage: Any) -> str:
    if storage.error:
        return f"{storage.driver}, {storage.error}"
    clones = "thin clones" if storage.thin_clones else "full clones"
    promises = f"overcommit {storage.overcommit:g}" if storage.HasField("overcommit") else ""
    low = "nearly full, see `clonepool capacity`" if storage.free_bytes < storage.warn_bytes else ""
    parts = (
        storage.driver,
        f"{clones} ({storage.thin_reason})",
        f"{words.size(storage.free_bytes)} free of {words.size(storage.total_bytes)}",
        f"{words.size(storage.reserve_bytes)} reserved",
        promises,
        low,
    )
    return ", ".join(part for part in parts if part)


def _fabric(fabric: Any) -> str:
    chap = "CHAP" if fabric.chap else "no CHAP"
    return f"{fabric.driver}, {fabric.notes or chap}"

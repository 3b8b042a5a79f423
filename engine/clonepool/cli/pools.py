"""`clonepool pool`: replica pools."""

from __future__ import annotations

from typing import Annotated, Any, Final

from cyclopts import Parameter

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import output, words
from clonepool.cli.counts import Count, MaybeCount
from clonepool.cli.documents import document, documents
from clonepool.cli.scrub_options import ScrubOptions, scrub_text
from clonepool.cli.session import connect, find, pages, request_token, wait_until
from clonepool.cli.status import pool_state, print_pools
from clonepool.errors import FailedPrecondition
from clonepool.units import parse_duration

_NO_SCRUB_OPTIONS: Final = ScrubOptions()


def list_pools(*, json: bool = False) -> None:
    """List replica pools with what is ready, allocated and released.

    Parameters
    ----------
    json
        Print a JSON list of ReplicaPool.

    """
    with connect() as client:
        found = list(pages(client, "ListPools", "pools", pb.ListRequest()))
    if json:
        output.print_json(documents(found))
    else:
        print_pools(found)


def show_pool(name: str, /, *, json: bool = False) -> None:
    """Show one replica pool.

    Parameters
    ----------
    name
        The pool's name or id.
    json
        Print one JSON document, ReplicaPool.

    """
    with connect() as client:
        pool = find(client, "GetPool", name)
    if json:
        output.print_json(document(pool))
    else:
        _print_pool(pool)


def create_pool(  # noqa: PLR0913 - one parameter an option
    name: str,
    /,
    *,
    image: str,
    min_ready: Count = 1,
    max_replicas: Count = 0,
    fabric: str = "",
    image_version: Count = 0,
    clone_mode: str = "",
    when_empty: str = "",
    wait_for_ready: MaybeCount = None,
    max_unavailable: Count = 0,
    scrub: Annotated[
        ScrubOptions, Parameter(name="*", show_default=False, negative=())
    ] = _NO_SCRUB_OPTIONS,
    no_wait: bool = False,
    timeout: str = "10m",
) -> None:
    """Make a replica pool and wait until it has ready replicas.

    Again with the same arguments it finds the same pool.

    Parameters
    ----------
    name
        The pool's name.
    image
        The master image's name.
    min_ready
        How many replicas to keep ready (default 1).
    max_replicas
        How many there may be at once, allocated ones included (default 100).
    fabric
        How servers reach their volumes: iscsi (the default), local, or one you configured.
    image_version
        Stay at this version; without it the pool follows the current one.
    clone_mode
        auto (the default), thin or full.
    when_empty
        What an attachment does when nothing is ready: wait (the default) or fail.
    wait_for_ready
        How many ready replicas to wait for here (default 1).
    max_unavailable
        How many stale replicas to replace at once when the image changes (default 1).
    scrub
        When and how released volumes are erased.
    no_wait
        Return at once; the filling goes on.
    timeout
        How long to wait (default 10m).

    """
    spec = pb.PoolSpec(
        name=name,
        master_image=image,
        image_version=image_version,
        fabric=fabric,
        min_ready=min_ready,
        max_replicas=max_replicas,
        clone_mode=clone_mode,
        when_empty=when_empty,
        max_unavailable=max_unavailable,
        scrub=scrub.policy(),
    )
    if wait_for_ready is not None:
        spec.wait_for_ready = wait_for_ready
    timeout_s = parse_duration(timeout, field="--timeout")
    with connect() as client:
        token = request_token("pool", name)
        pool = client.call("CreatePool", pb.CreatePoolRequest(spec=spec, request_token=token))
        if not no_wait:
            pool = _wait_for_stock(client, name, timeout_s=timeout_s)
    _print_pool(pool)


def delete_pool(name: str, /) -> None:
    """Delete a pool without attachments; its volumes are scrubbed and destroyed behind.

    Parameters
    ----------
    name
        The pool's name or id.

    """
    with connect() as client:
        pool = find(client, "GetPool", name)
        client.call("DeletePool", pb.DeleteRequest(id=pool.id))
    print(f"pool {pool.spec.name} deleted; its volumes are scrubbed and destroyed behind")


def reset_pool(name: str, /) -> None:
    """Start again a pool that repeated failures stopped.

    Parameters
    ----------
    name
        The pool's name or id.

    """
    with connect() as client:
        pool = find(client, "ResetPool", name)
    print(f"pool {pool.spec.name}: {pool_state(pool)}")


def _wait_for_stock(client: EngineClient, name: str, *, timeout_s: float) -> Any:
    pool = wait_until(
        lambda: find(client, "GetPool", name),
        # allocated at once counts: somebody was served
        done=lambda found: bool(found.stopped_reason) or _served(found),
        timeout_s=timeout_s,
        waiting_for=lambda found: (
            f"pool {name} has {found.counts.ready} of {found.spec.wait_for_ready} replicas ready "
            f"({pool_state(found)})"
        ),
        way_out=f"the cloning goes on; see clonepool pool show {name}",
    )
    if pool.stopped_reason:
        raise FailedPrecondition(
            f"pool {name} stopped filling: {pool.stopped_reason}; mend it, then run "
            f"clonepool pool reset {name}"
        )
    return pool


def _served(pool: Any) -> bool:
    stock = pool.counts.ready + pool.counts.attaching + pool.counts.allocated
    return bool(stock >= pool.spec.wait_for_ready)


def _print_pool(pool: Any) -> None:
    spec, counts = pool.spec, pool.counts
    shown = [
        f"{getattr(counts, field.name)} {field.name}"
        for field in type(counts).DESCRIPTOR.fields
        if getattr(counts, field.name)
    ]
    version = "current" if not spec.image_version else "pinned"
    output.print_fields(
        [
            ("pool", spec.name),
            ("id", pool.id),
            ("image", f"{spec.master_image}, version {pool.image_version or '-'} ({version})"),
            ("fabric", spec.fabric),
            ("replicas", f"keep {spec.min_ready} ready, at most {spec.max_replicas}"),
            ("clones", pool.clone_kind or f"none yet ({spec.clone_mode})"),
            ("when empty", spec.when_empty),
            ("scrub", scrub_text(spec.scrub)),
            ("scrub windows", ", ".join(spec.scrub.windows)),
            ("volumes", ", ".join(shown) or "none"),
            ("state", pool_state(pool)),
            ("short of space", pool.short_of_space),
            ("failures", str(pool.failures or "")),
            ("created", words.ago(pool.created_at)),
        ]
    )

"""An engine in a process of its own, with an image and a pool of it, made over its API."""

from __future__ import annotations

from pathlib import Path

from benchmarks.rounds import wait_until
from benchmarks.site import IMAGE_BYTES, NEVER, sparse_source
from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb

_TIMEOUT_S = 900.0


def add_image(client: EngineClient, name: str, *, folder: Path) -> None:
    """Import an image with a sparse writable portion and a read-only one; waits for it."""
    portions = {
        role: pb.PortionSpec(
            source=str(sparse_source(folder / f"{name}.{role}", size_bytes=IMAGE_BYTES)),
            format="raw",
        )
        for role in ("writable", "read_only")
    }
    spec = pb.ImageSpec(
        name=name,
        system_user=pb.SystemUser(name="acme", kind=pb.SYSTEM_USER_KIND_CUSTOMER),
        writable=portions["writable"],
        read_only=portions["read_only"],
    )
    client.call("CreateImage", pb.CreateImageRequest(spec=spec, request_token=name))

    def is_imported() -> bool:
        image = client.call("GetImage", pb.GetRequest(name=name))
        if image.latest.error:
            raise RuntimeError(image.latest.error)
        return bool(image.HasField("current"))

    wait_until(is_imported, timeout_s=_TIMEOUT_S, what=f"image {name} is imported")


def add_pool(
    client: EngineClient,
    name: str,
    *,
    image: str,
    ready: int,
    fabric: str = "iscsi",
    scrub_threshold: int = NEVER,
) -> None:
    """Make a pool of exactly ``ready`` replicas and wait for them; none is made beyond."""
    spec = pb.PoolSpec(
        name=name,
        master_image=image,
        fabric=fabric,
        min_ready=ready,
        max_replicas=max(ready, 1),
        wait_for_ready=0,
        scrub=pb.ScrubPolicy(threshold=scrub_threshold),
    )
    client.call("CreatePool", pb.CreatePoolRequest(spec=spec, request_token=name))
    wait_ready(client, name, ready=ready)


def resize_pool(client: EngineClient, name: str, *, ready: int) -> None:
    """Change how many replicas it keeps; does not wait."""
    pool = client.call("GetPool", pb.GetRequest(name=name))
    pool.spec.min_ready = ready
    pool.spec.max_replicas = max(ready, 1)
    client.call("UpdatePool", pb.UpdatePoolRequest(id=pool.id, spec=pool.spec))


def wait_ready(client: EngineClient, name: str, *, ready: int) -> None:
    """Wait until exactly so many replicas are ready."""

    def is_ready() -> bool:
        pool = client.call("GetPool", pb.GetRequest(name=name))
        if pool.stopped_reason:
            raise RuntimeError(pool.stopped_reason)
        return bool(pool.counts.ready == ready)

    wait_until(is_ready, timeout_s=_TIMEOUT_S, what=f"{ready} replicas of {name} are ready")


def wait_idle(client: EngineClient) -> None:
    """Wait until no background work is left."""

    def is_idle() -> bool:
        request = pb.ListOperationsRequest(page_size=1, open_only=True)
        return not client.call("ListOperations", request).operations

    wait_until(is_idle, timeout_s=_TIMEOUT_S, what="the engine is idle")

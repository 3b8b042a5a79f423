"""RPCs of replica pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.model import Ref, ReplicaPool
from clonepool.errors import NotFound
from clonepool.service import convert, specs, validate
from clonepool.service.dispatch import Handler

if TYPE_CHECKING:
    from clonepool.controllers.images import Images
    from clonepool.controllers.pools import Pools


class PoolHandlers:
    """Pools over the wire; images are asked which version a pool's new replicas have."""

    def __init__(self, *, pools: Pools, images: Images) -> None:
        self._pools = pools
        self._images = images

    def methods(self) -> Mapping[str, Handler]:
        """The RPCs by name."""
        return {
            "CreatePool": self.create,
            "GetPool": self.get,
            "ListPools": self.list,
            "UpdatePool": self.update,
            "DeletePool": self.delete,
            "ResetPool": self.reset,
        }

    def create(self, request: pb.CreatePoolRequest) -> pb.ReplicaPool:
        """Declare a pool."""
        validate.create_pool(request)
        spec = specs.pool(request.spec)
        return self._message(self._pools.create(spec=spec, token=request.request_token))

    def get(self, request: pb.GetRequest) -> pb.ReplicaPool:
        """One pool with its counts."""
        validate.reference(request)
        return self._message(self._pools.get(ref=specs.ref(request)))

    def list(self, request: pb.ListRequest) -> pb.ListPoolsResponse:
        """One page of pools."""
        validate.page(size=request.page_size)
        page = specs.page(
            size=request.page_size, token=request.page_token, name_prefix=request.name_prefix
        )
        found, next_token = self._pools.list(page=page)
        return pb.ListPoolsResponse(
            pools=[self._message(pool) for pool in found], next_page_token=next_token
        )

    def update(self, request: pb.UpdatePoolRequest) -> pb.ReplicaPool:
        """Change a pool."""
        validate.update_pool(request)
        spec = specs.pool(request.spec)
        return self._message(self._pools.update(pool_id=request.id, spec=spec))

    def delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """Delete a pool."""
        validate.object_id(request.id)
        self._pools.delete(pool_id=request.id)
        return pb.DeleteResponse()

    def reset(self, request: pb.GetRequest) -> pb.ReplicaPool:
        """Start a stopped pool again."""
        validate.reference(request)
        return self._message(self._pools.reset(ref=specs.ref(request)))

    def _message(self, pool: ReplicaPool) -> pb.ReplicaPool:
        version = pool.spec.image_version or self._current_version(pool.image_id)
        return convert.pool(pool, image_version=version)

    def _current_version(self, image_id: str) -> int:
        try:
            current = self._images.get(ref=Ref(id=image_id)).current
        except NotFound:
            # the pool was deleted, and its image with it, since it was read
            return 0
        return current.number if current else 0

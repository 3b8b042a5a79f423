"""Replica pools: declare, change, delete; filling runs behind."""

from __future__ import annotations

from collections.abc import Sequence

from clonepool.domain.model import PageRequest, PoolSpec, Ref, ReplicaPool


class Pools:
    """Replica pools: declare, change, delete; filling runs behind."""

    def create(self, *, spec: PoolSpec, token: str) -> ReplicaPool:
        """Declare a pool."""
        raise NotImplementedError

    def get(self, *, ref: Ref) -> ReplicaPool:
        """One pool. Raises NotFound."""
        raise NotImplementedError

    def list(self, *, page: PageRequest) -> tuple[Sequence[ReplicaPool], str]:
        """One page and the next page's token."""
        raise NotImplementedError

    def update(self, *, pool_id: str, spec: PoolSpec) -> ReplicaPool:
        """Change a pool in place."""
        raise NotImplementedError

    def delete(self, *, pool_id: str) -> None:
        """Free the name; its volumes are scrubbed and destroyed behind."""
        raise NotImplementedError

    def reset(self, *, ref: Ref) -> ReplicaPool:
        """Start again a pool that repeated failures stopped."""
        raise NotImplementedError

"""Master images: declare, change, delete; the import runs behind."""

from __future__ import annotations

from collections.abc import Sequence

from clonepool.domain.model import ImageSpec, ImageVersion, MasterImage, Operation, PageRequest, Ref


class Images:
    """Master images: declare, change, delete; the import runs behind."""

    def create(self, *, spec: ImageSpec, token: str) -> MasterImage:
        """Declare an image; see CreateImage in engine.proto for idempotency and errors."""
        raise NotImplementedError

    def get(self, *, ref: Ref) -> MasterImage:
        """One image. Raises NotFound."""
        raise NotImplementedError

    def list(self, *, page: PageRequest) -> tuple[Sequence[MasterImage], str]:
        """One page and the next page's token ("" at the end)."""
        raise NotImplementedError

    def update(self, *, image_id: str, spec: ImageSpec) -> MasterImage:
        """Change labels in place, content as a new version."""
        raise NotImplementedError

    def delete(self, *, image_id: str) -> None:
        """Free the name; stored versions go when nothing refers to them."""
        raise NotImplementedError

    def versions(self, *, image_id: str) -> Sequence[tuple[ImageVersion, Operation | None, int]]:
        """Each live version with its import and the number of volumes that refer to it."""
        raise NotImplementedError

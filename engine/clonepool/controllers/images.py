"""Master images: declare, change, delete; the import runs behind."""

from __future__ import annotations

from collections.abc import Sequence

from clonepool.controllers.context import Context
from clonepool.domain.content import digest, image_content
from clonepool.domain.model import (
    ImageSpec,
    ImageVersion,
    MasterImage,
    Operation,
    PageRequest,
    Ref,
)
from clonepool.store import events, images, operations
from clonepool.store.writer import Transaction


class Images:
    """The use cases of master images."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def create(self, *, spec: ImageSpec, token: str) -> MasterImage:
        """Declare an image; see CreateImage in engine.proto for idempotency and errors."""
        node = self._context.home_of(spec.storage)
        token_digest = _token_digest(spec)

        def change(transaction: Transaction) -> str:
            return images.create(
                transaction,
                spec=spec,
                token=token,
                token_digest=token_digest,
                node=node,
                now=self._context.now(),
            )

        image_id = self._context.state.write(change)
        self._context.signals.changed()
        return self.get(ref=Ref(id=image_id))

    def get(self, *, ref: Ref) -> MasterImage:
        """One image. Raises NotFound."""
        with self._context.state.read() as session:
            return images.get(session, ref=ref)

    def list(self, *, page: PageRequest) -> tuple[Sequence[MasterImage], str]:
        """One page and the next page's token ("" at the end)."""
        with self._context.state.read() as session:
            return images.list_page(session, page=page)

    def update(self, *, image_id: str, spec: ImageSpec) -> MasterImage:
        """Change labels in place, content as a new version."""

        def change(transaction: Transaction) -> None:
            images.change(
                transaction,
                image_id=image_id,
                spec=spec,
                token_digest=_token_digest(spec),
                now=self._context.now(),
            )

        self._context.state.write(change)
        self._context.signals.changed()
        return self.get(ref=Ref(id=image_id))

    def delete(self, *, image_id: str) -> None:
        """Free the name; stored versions go when nothing refers to them."""

        def change(transaction: Transaction) -> None:
            now = self._context.now()
            name = images.delete(transaction, image_id=image_id, now=now)
            if name is not None:
                events.add(
                    transaction,
                    now=now,
                    subject=f"image/{name}",
                    reason="IMAGE_DELETED",
                    message="deleted; its stored versions go when no volume refers to them",
                )

        self._context.state.write(change)
        self._context.signals.changed()

    def versions(self, *, image_id: str) -> Sequence[tuple[ImageVersion, Operation | None, int]]:
        """Each live version with its import and the number of volumes that refer to it."""
        with self._context.state.read() as session:
            images.get(session, ref=Ref(id=image_id))
            return [
                (
                    version,
                    operations.find_open(session, kind="import_image", key=version.id),
                    images.volumes_of(session, version_id=version.id),
                )
                for version in images.versions(session, image_id=image_id)
            ]

    def retire_unused(self) -> None:
        """Planner's step: begin to delete versions that nothing refers to."""

        def change(transaction: Transaction) -> int:
            return images.retire_unused(transaction, now=self._context.now())

        if (
            self._context.nodes.takes_work
            and self._has_unused()
            and self._context.state.write(change)
        ):
            self._context.signals.work.set()

    def _has_unused(self) -> bool:
        with self._context.state.read() as session:
            return images.has_unused(session)


def _token_digest(spec: ImageSpec) -> str:
    return digest([image_content(spec), str(spec.system_user), spec.storage])

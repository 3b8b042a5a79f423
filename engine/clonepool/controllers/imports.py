"""The work behind images: importing a version's portions, deleting those of an old one."""

from __future__ import annotations

from clonepool.controllers import space
from clonepool.controllers.context import Context
from clonepool.controllers.worker import Control, Finish
from clonepool.crash_points import Point, reach
from clonepool.domain import names
from clonepool.domain.model import ImagePortion, ImageSpec, ImageVersion, PortionSpec
from clonepool.domain.policy import backoff_s
from clonepool.domain.states import PortionRole, Severity, VersionState
from clonepool.domain.work import Operation
from clonepool.errors import Aborted, ClonepoolError, ResourceExhausted, Unavailable
from clonepool.importer.limits import ImportLimits, admit_all
from clonepool.importer.pipeline import import_portion
from clonepool.store import images
from clonepool.store.writer import Transaction

# what may pass by itself is tried again so often; anything else is the declaration's fault
_MAX_ATTEMPTS = 4


class ImportImage:
    """Imports each portion of a version; a killed import is begun anew from its staging."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def begin(self, transaction: Transaction, operation: Operation) -> None:
        """The state was written with the operation."""

    def run(self, operation: Operation, control: Control) -> Finish:
        """Import; returns the change that makes the version serve."""
        with self._context.state.read() as session:
            version = images.get_version(session, version_id=operation.key)
            spec = images.spec_of_version(session, version_id=operation.key)
        read_only = self._portion(version, spec, PortionRole.READ_ONLY, control)
        reach(Point.IMPORT_STORED)
        writable = self._portion(version, spec, PortionRole.WRITABLE, control)

        def finish(transaction: Transaction) -> None:
            images.finish_import(
                transaction, version_id=version.id, read_only=read_only, writable=writable
            )
            text = f"version {version.number} of master image {spec.name} is imported"
            self._context.note(
                transaction,
                subject=operation.subject,
                reason="IMAGE_IMPORTED",
                message=text,
            )

        return finish

    def _portion(
        self, version: ImageVersion, spec: ImageSpec, role: PortionRole, control: Control
    ) -> ImagePortion | None:
        portion: PortionSpec | None = (
            spec.read_only if role is PortionRole.READ_ONLY else spec.writable
        )
        if portion is None:
            return None
        drivers, storage = self._context.drivers, version.storage
        staging = drivers.staging_dir(storage)
        staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        object_name = names.portion_object(version_id=version.id, role=role)
        on_storage = drivers.stages_on_itself(storage)
        with space.incoming(self._context, storage=storage, key=object_name) as admit:
            return import_portion(
                spec=portion,
                preconfigure=[item for item in spec.preconfigure if item.portion is role],
                backend=drivers.backend(storage),
                object_name=object_name,
                staging_dir=staging,
                import_roots=self._context.settings.import_roots,
                # what is staged on the storage takes of its space before it is stored
                limits=ImportLimits(admit=admit if on_storage else admit_all),
                admit=admit_all if on_storage else admit,
                progress=control.progress,
                notify=lambda text: self._tell(spec.name, text),
            )

    def _tell(self, image: str, text: str) -> None:
        self._context.tell(subject=f"image/{image}", reason="IMAGE_ADJUSTED", message=text).result()

    def failed(
        self, transaction: Transaction, operation: Operation, error: ClonepoolError
    ) -> float | None:
        """Try again what may pass; else the version failed, with the error to read."""
        passing = isinstance(error, Aborted | ResourceExhausted | Unavailable)
        passing = passing or error.reason == "SOURCE_TRUNCATED"
        if passing and operation.attempt < _MAX_ATTEMPTS:
            return self._context.now() + backoff_s(attempt=operation.attempt)
        images.fail_import(transaction, version_id=operation.key, error=str(error))
        self._context.note(
            transaction,
            subject=operation.subject,
            reason="IMPORT_FAILED",
            message=str(error),
            severity=Severity.ERROR,
        )
        return None


class DeleteVersion:
    """Deletes the objects of a version that nothing refers to."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def begin(self, transaction: Transaction, operation: Operation) -> None:
        """The state was written with the operation."""

    def run(self, operation: Operation, control: Control) -> Finish:  # noqa: ARG002 - Work's shape
        """Delete both portions."""
        with self._context.state.read() as session:
            version = images.get_version(session, version_id=operation.key)
        if version.state is VersionState.DELETING:
            backend = self._context.drivers.backend(version.storage)
            for role in PortionRole:
                backend.delete(name=names.portion_object(version_id=version.id, role=role))
                reach(Point.VERSION_PORTION_DELETED)
        return lambda transaction: images.forget_version(transaction, version_id=version.id)

    def failed(
        self, transaction: Transaction, operation: Operation, error: ClonepoolError
    ) -> float | None:
        """Space that can't be given back is never given up on."""
        del transaction, error
        return self._context.now() + backoff_s(attempt=operation.attempt)

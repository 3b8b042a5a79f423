"""The life of master images and of replica pools."""

from __future__ import annotations

from google.protobuf.message import Message

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import ClonepoolError, DeadlineExceeded, FailedPrecondition
from clonepool.units import format_duration, format_size
from clonepool_resources import convert
from clonepool_resources.image_fields import MASTER_IMAGE
from clonepool_resources.lifecycle import Lifecycle, NotSettled
from clonepool_resources.pool_fields import REPLICA_POOL
from clonepool_resources.types import Inputs, Value


class ImageLifecycle(Lifecycle):
    """A master image is there once its newest version is imported."""

    resource = MASTER_IMAGE
    noun = "Image"

    def _create_request(self, inputs: Inputs, token: str) -> Message:
        return pb.CreateImageRequest(spec=convert.image_spec(inputs), request_token=token)

    def _update_request(self, resource_id: str, inputs: Inputs) -> Message:
        return pb.UpdateImageRequest(id=resource_id, spec=convert.image_spec(inputs))

    def _inputs_of(self, message: pb.MasterImage) -> dict[str, Value]:
        return convert.image_inputs(message.spec)

    def _outputs_of(self, message: pb.MasterImage) -> dict[str, Value]:
        return convert.image_outputs(message)

    def _trouble(self, message: pb.MasterImage) -> str:
        return message.latest.error if message.latest.state == "failed" else ""

    def _settle_new(self, begun: pb.MasterImage, inputs: Inputs, _token: str) -> pb.MasterImage:
        image = self._import(begun, inputs)
        error = self._import_error(image)
        if error is None:
            return image
        # of a failed first import nothing is left that anyone could use
        lost = image.latest.state == "failed" and not image.HasField("current")
        raise NotSettled(error, state=self._state(image, prior=inputs), worthless=lost)

    def _settle_changed(self, changed: pb.MasterImage, inputs: Inputs) -> pb.MasterImage:
        image = self._import(changed, inputs)
        error = self._import_error(image)
        if error is not None:
            raise error
        return image

    def _import(self, begun: pb.MasterImage, inputs: Inputs) -> pb.MasterImage:
        def progress(image: pb.MasterImage) -> str:
            return f"{self._title(inputs)}: {_importing(image.latest)}"

        return self._waiting.watch(
            begun,
            look=lambda: self._get(begun.id),
            is_open=lambda image: image.latest.state == "importing",
            progress=progress,
            left="the import goes on in the engine",
            timeout_s=self._timeout_s,
        )

    def _import_error(self, image: pb.MasterImage) -> ClonepoolError | None:
        title, version = f"master image {image.spec.name}", image.latest
        if version.state == "ready":
            return None
        if version.state == "importing":
            return DeadlineExceeded(
                f"{title} is not there after {format_duration(self._timeout_s)} "
                f"({_importing(version)}); the import goes on, so run it again"
            )
        return FailedPrecondition(
            f"{title}: the import of version {version.number} {version.state}: "
            f"{version.error or 'no reason given'}; mend it and run again"
        )


class PoolLifecycle(Lifecycle):
    """A pool is there once as many replicas are ready as the program waits for."""

    resource = REPLICA_POOL
    noun = "Pool"

    def _create_request(self, inputs: Inputs, token: str) -> Message:
        return pb.CreatePoolRequest(spec=convert.pool_spec(inputs), request_token=token)

    def _update_request(self, resource_id: str, inputs: Inputs) -> Message:
        return pb.UpdatePoolRequest(id=resource_id, spec=convert.pool_spec(inputs))

    def _inputs_of(self, message: pb.ReplicaPool) -> dict[str, Value]:
        return convert.pool_inputs(message.spec)

    def _outputs_of(self, _message: pb.ReplicaPool) -> dict[str, Value]:
        return {}

    def _trouble(self, message: pb.ReplicaPool) -> str:
        return message.stopped_reason

    def _settle_changed(self, changed: pb.ReplicaPool, _inputs: Inputs) -> pb.ReplicaPool:
        return self._start_again(changed)

    def _settle_new(self, begun: pb.ReplicaPool, inputs: Inputs, _token: str) -> pb.ReplicaPool:
        awaited = min(int(inputs["wait_for_ready"]), int(inputs["min_ready"]))
        pool = self._fill(self._start_again(begun), awaited=awaited, title=self._title(inputs))
        error = self._fill_error(pool, awaited=awaited, title=self._title(inputs))
        if error is None:
            return pool
        unused = bool(pool.stopped_reason) and _in_stock(pool) + pool.counts.released == 0
        raise NotSettled(error, state=self._state(pool, prior=inputs), worthless=unused)

    def _start_again(self, pool: pb.ReplicaPool) -> pb.ReplicaPool:
        """Applying the program again is the user's way to say that the cause is mended."""
        if not pool.stopped_reason:
            return pool
        started: pb.ReplicaPool = self._client.call("ResetPool", pb.GetRequest(id=pool.id))
        return started

    def _fill(self, begun: pb.ReplicaPool, *, awaited: int, title: str) -> pb.ReplicaPool:
        return self._waiting.watch(
            begun,
            look=lambda: self._get(begun.id),
            is_open=lambda pool: _in_stock(pool) < awaited and not pool.stopped_reason,
            progress=lambda pool: f"{title}: cloning {_in_stock(pool)}/{awaited}",
            left="the cloning goes on in the engine",
            timeout_s=self._timeout_s,
        )

    def _fill_error(
        self, pool: pb.ReplicaPool, *, awaited: int, title: str
    ) -> ClonepoolError | None:
        if _in_stock(pool) >= awaited:
            return None
        stock = f"{_in_stock(pool)} of {awaited} replicas ready"
        if pool.stopped_reason:
            return FailedPrecondition(
                f"{title} stopped filling ({stock}): {pool.stopped_reason}; mend it and run again"
            )
        return DeadlineExceeded(
            f"{title} has {stock} after {format_duration(self._timeout_s)}; "
            "the cloning goes on, so run it again"
        )


def _in_stock(pool: pb.ReplicaPool) -> int:
    """Replicas that were made ready, those included that a server took since."""
    return pool.counts.ready + pool.counts.attaching + pool.counts.allocated


def _importing(version: pb.ImageVersion) -> str:
    done, total = version.progress_bytes, version.total_bytes
    if not done:
        return "importing"
    return f"importing {format_size(done)}{f' of {format_size(total)}' if total else ''}"

"""What is there now, as the declaration's functions give it: nothing of it belongs in a state."""

from __future__ import annotations

from clonepool.api.v1 import engine_pb2 as pb
from clonepool_resources import convert
from clonepool_resources.types import Value


def pool_value(pool: pb.ReplicaPool) -> dict[str, Value]:
    """What ``get_pool`` gives."""
    counts = pool.counts
    return {
        "id": pool.id,
        "name": pool.spec.name,
        "master_image": pool.spec.master_image,
        "image_version": pool.image_version,
        "fabric": pool.spec.fabric,
        "min_ready": pool.spec.min_ready,
        "max_replicas": pool.spec.max_replicas,
        "ready": counts.ready,
        "cloning": counts.planned + counts.cloning,
        "allocated": counts.attaching + counts.allocated + counts.detaching,
        "released": counts.released,
        "scrubbing": counts.scrubbing,
        "faulty": counts.faulty,
        "stale": counts.stale,
        "held": counts.held,
        "waiting": counts.waiting,
        "clone_kind": pool.clone_kind,
        "stopped_reason": pool.stopped_reason,
        "short_of_space": pool.short_of_space,
    }


def attachment_value(attachment: pb.Attachment) -> dict[str, Value]:
    """What ``get_attachment`` gives; ``connection`` is absent while it waits."""
    value: dict[str, Value] = {
        "id": attachment.id,
        "name": attachment.spec.name,
        "state": attachment.state,
        "pool": attachment.spec.pool,
        "server": attachment.server_name,
        "system_user": convert.system_user_value(attachment.system_user),
        "volume": attachment.volume_id,
        "image_version": attachment.image_version,
        "warm": attachment.warm,
        "chap_username": attachment.chap_username,
        "allocated_at": convert.allocated_at(attachment),
    }
    if attachment.HasField("connection"):
        value["connection"] = convert.connection_value(attachment.connection)
    return value


def image_value(image: pb.MasterImage) -> dict[str, Value]:
    """What ``get_image`` gives; digests and sizes are absent before the first version."""
    outputs = convert.image_outputs(image)
    value: dict[str, Value] = {
        "id": image.id,
        "name": image.spec.name,
        "storage": image.spec.storage,
        "labels": dict(image.spec.labels),
        "version": 0,
        "latest_version": image.latest.number,
        "latest_state": image.latest.state,
        "latest_error": image.latest.error,
        **outputs,
    }
    if image.spec.HasField("system_user"):
        value["system_user"] = convert.system_user_value(image.spec.system_user)
    return value
